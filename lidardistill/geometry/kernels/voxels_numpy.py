"""Cells, an operation at a time, and unique voxels by sorting. The twin of `voxels_numba`."""

from __future__ import annotations

import numpy as np


def copy_xyz(points: np.ndarray, xyz: np.ndarray) -> bool:
    """Copy the columns x, y, z of (N, >=3) `points` into (3, N) float64; returns whether all are finite."""
    xyz[:] = points[:, :3].T
    return bool(np.isfinite(xyz).all())


def keep(xyz: np.ndarray, mask: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Write the columns of (3, N) `xyz` where (N,) `mask` is True to (3, n) `out`, which is returned."""
    return np.compress(mask, xyz, axis=1, out=out)


def spread(values: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put (n,) values where (N,) `mask` is True.

    Returns:
        (N,) int64, 0 where the mask is False; (n,) int64 places where it is True.
    """
    out = np.zeros(len(mask), np.int64)
    out[mask] = values
    return out, np.flatnonzero(mask)


def make_cells(
    xyz: np.ndarray, phi: np.ndarray | None, lower: np.ndarray, size: np.ndarray, nearest: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Turns positions in place into the cells that hold them.

    Args:
        xyz: (3, N) float64 metres, finite; becomes whole numbers: cells along x, y, z, or rho, phi, z.
        phi: (N,) float64 atan2(y, x) for cylindrical cells; None for cartesian ones.
        lower: (3,) float64 where cell 0 of cartesian cells is, metres.
        size: (3,) float64 of a cell: metres, and degrees along phi.
        nearest: cells are centred at whole numbers; otherwise they begin there.

    Returns:
        (3,) least and (3,) most cell along each axis; infinity and minus infinity without points.
    """
    if phi is None:
        xyz -= lower[:, None]
    else:
        np.sqrt(xyz[0] * xyz[0] + xyz[1] * xyz[1], out=xyz[0])
        np.multiply(phi, 180.0 / np.pi, out=xyz[1])
    xyz /= size[:, None]
    (np.rint if nearest else np.floor)(xyz, out=xyz)
    return xyz.min(axis=1, initial=np.inf), xyz.max(axis=1, initial=-np.inf)


def unique_voxels(cells: np.ndarray, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers the distinct cells in the order in which they first appear.

    Args:
        cells: (3, N) float64 whole numbers x, y, z.
        origin: (3,) float64 cell that becomes zero; no cell lies below it.

    Returns:
        coords: (M, 3) int32 z, y, x of the voxels.
        voxel: (N,) int64 number of each point's voxel, from 0.
        first_point: (M,) int64 first point of each voxel.
    """
    zyx = (cells - origin[:, None])[::-1].astype(np.int32)
    _, first_point, sorted_voxel = np.unique(zyx, axis=1, return_index=True, return_inverse=True)
    by_appearance = np.argsort(first_point)
    number = np.empty(len(first_point), np.int64)
    number[by_appearance] = np.arange(len(first_point))
    first_point = first_point[by_appearance]
    return np.ascontiguousarray(zyx[:, first_point].T), number[sorted_voxel.reshape(-1)], first_point
