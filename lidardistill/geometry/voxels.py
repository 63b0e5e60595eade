"""From points to sparse voxels, in the order and alignment that the sparse network needs."""

from __future__ import annotations

import math
import threading
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lidardistill.geometry import _voxels_numba, _voxels_numpy

_MAX_SIDE = 2**31 - 1


class Voxels(NamedTuple):
    """The occupied voxels of one scan, in the order in which its points first enter them.

    Attributes:
        voxel_coords: (M, 3) int32 z, y, x, or z, phi, rho when cylindrical; from 0, below `spatial_shape`.
        spatial_shape: cells along z, y, x, multiples of `align`.
        point2voxel: (N,) int64 row in `voxel_coords`; meaningless where `point_mask` is False.
        point_mask: (N,) bool, False for points outside `point_cloud_range`.
        voxel_points: (M,) int64 first point of each voxel, a row in `points`.
    """

    voxel_coords: np.ndarray
    spatial_shape: tuple[int, int, int]
    point2voxel: np.ndarray
    point_mask: np.ndarray
    voxel_points: np.ndarray


def voxelize(
    points: np.ndarray,
    voxel_size: ArrayLike,
    *,
    kind: Literal["cylindrical", "cartesian"],
    rounding: Literal["floor", "round"] = "floor",
    point_cloud_range: ArrayLike | None = None,
    align: int = 16,
    implementation: Literal["numba", "numpy"] = "numba",
) -> Voxels:
    """Finds the voxel of every point and the occupied voxels.

    The network halves its grid four times and pairs cell c with cell c // 2 of the coarser grid. Cells are
    therefore shifted to zero and above by whole multiples of `align` = 2^4 alone, so that the grid halves as it
    would without the shift; and the shape is made of such multiples, because spconv drops the last cell of an odd side.

    Args:
        points: (N, >=3) LiDAR frame, metres; columns after z are not read.
        voxel_size: (3,) x, y, z in metres, or rho in metres, phi in degrees, z in metres when cylindrical.
        kind: "cylindrical": cells of rho = sqrt(x^2 + y^2), phi = atan2(y, x), z; phi is not wrapped, so the grid
            has a seam behind the vehicle at 180 degrees. "cartesian": cells of x, y, z.
        rounding: "floor": cell c holds [c, c + 1) voxel sizes; "round": it is centred at c.
        point_cloud_range: (6,) x_min y_min z_min x_max y_max z_max, metres, a half-open box outside which points
            get no voxel. A cartesian grid starts at its minimum and spans it; without it the grid starts at the
            frame's origin, spans the points, and every point gets a voxel.
        align: power of two, see above; 1 for none.
        implementation: "numba", which hashes, or "numpy", which sorts.

    Returns:
        The voxels; without points, no voxels in a grid of at least `align` cells a side.

    Raises:
        ValueError: wrong shapes, points that are not finite, a voxel size or range out of order, an unknown option,
            or points so far out that cells do not fit 32 bits.

    Source: SLidR, Sautier et al., CVPR 2022, supplementary: 0.1 m, 1 degree, 0.1 m, floor; SuperFlow and BEVContrast
        round. The alignment stands for MinkowskiEngine's absolute coordinates in spconv's grid.
    Differs from the paper in: cells are computed in float64. A voxel is represented by its first point in file order,
        as MinkowskiEngine does on the CPU, where SLidR's loader calls it.
    """
    points = _check_points(points)
    size = np.asarray(voxel_size, dtype=np.float64)
    if size.shape != (3,) or not np.all((size > 0) & np.isfinite(size)):
        raise ValueError(f"voxel_size: expected three numbers above zero, got {size.tolist()}")
    if isinstance(align, bool) or align < 1 or align & (align - 1):
        raise ValueError(f"align: expected a power of two, got {align}")
    for name, value, choices in (
        ("kind", kind, ("cylindrical", "cartesian")),
        ("rounding", rounding, ("floor", "round")),
        ("implementation", implementation, ("numba", "numpy")),
    ):
        if value not in choices:
            raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")

    twin = _voxels_numba if implementation == "numba" else _voxels_numpy
    # Nothing that lies in `_SCRATCH` may be returned: fresh memory for each step would cost more than the sums.
    xyz, phi = _SCRATCH.array("xyz", (3, len(points)), np.float64), None
    if not twin.copy_xyz(points, xyz):
        raise _not_finite(points)
    point_mask = np.ones(len(points), dtype=bool)
    lower, extent = np.zeros(3), None
    if point_cloud_range is not None:
        low, high = _check_range(point_cloud_range)
        point_mask = ((xyz >= low[:, None]) & (xyz < high[:, None])).all(axis=0)
        xyz = twin.keep(xyz, point_mask, _SCRATCH.array("inside", (3, int(point_mask.sum())), np.float64))
        if kind == "cartesian":
            lower, extent = low, high - low
    if kind == "cylindrical":
        # Numpy's for both: another library's may differ in the last bit, and with it a point's cell.
        phi = np.arctan2(xyz[1], xyz[0], out=_SCRATCH.array("phi", xyz.shape[1:], np.float64))
    least, most = twin.make_cells(xyz, phi, lower, size, rounding == "round")
    cells = xyz

    if extent is None:
        origin, shape = _grid_of_cells(least, most, align)
    else:
        origin, shape = _grid_of_range(extent / size, rounding, align)
        # A point just below the far side can be rounded onto it.
        np.minimum(cells, shape[:, None] - 1, out=cells)
    if (shape > _MAX_SIDE).any():
        raise ValueError(
            f"points: they span {tuple(int(n) for n in shape)} voxels of {size.tolist()}, more than 32 bits "
            "number. Give point_cloud_range, or drop the stray points."
        )
    if implementation == "numba" and (shape <= _voxels_numba.MAX_SIDE).all():
        voxel_coords, point2voxel, first_point = _hash(cells, origin)
    else:
        voxel_coords, point2voxel, first_point = _voxels_numpy.unique_voxels(cells, origin)
    voxel_points = first_point
    if point_cloud_range is not None:
        point2voxel, place = twin.spread(point2voxel, point_mask)
        voxel_points = place[first_point]
    return Voxels(
        voxel_coords=voxel_coords,
        spatial_shape=(int(shape[2]), int(shape[1]), int(shape[0])),
        point2voxel=point2voxel,
        point_mask=point_mask,
        voxel_points=voxel_points,
    )


class _Scratch(threading.local):
    """Arrays that each thread keeps from call to call: the page faults of fresh ones take a third of a call's time."""

    def __init__(self) -> None:
        self.bytes: dict[str, np.ndarray] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """An array whose content is that of the last call, or none."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if name not in self.bytes or self.bytes[name].nbytes < size:
            self.bytes[name] = np.empty(size, np.uint8)
        return self.bytes[name][:size].view(dtype).reshape(shape)


_SCRATCH = _Scratch()


def _hash(cells: np.ndarray, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `_voxels_numpy.unique_voxels` returns, by `_voxels_numba`."""
    num_points = cells.shape[1]
    table = _SCRATCH.array("table", (_voxels_numba.table_size(num_points),), np.int32)
    keys = _SCRATCH.array("keys", (num_points,), np.int64)
    first_point = _SCRATCH.array("first_point", (num_points,), np.int32)
    return _voxels_numba.unique_voxels(cells, origin, table, keys, first_point)


def _grid_of_cells(least: np.ndarray, most: np.ndarray, align: int) -> tuple[np.ndarray, np.ndarray]:
    """Origin and shape, multiples of `align`, of the smallest such grid from cell `least` to cell `most`."""
    if least[0] > most[0]:  # no cells
        return np.zeros(3), np.full(3, float(align))
    origin = [math.floor(low / align) * align for low in least.tolist()]
    shape = [
        (math.floor((high - low) / align) + 1) * align
        for low, high in zip(origin, most.tolist(), strict=True)
    ]
    return np.array(origin, np.float64), np.array(shape, np.float64)


def _grid_of_range(num_cells: np.ndarray, rounding: str, align: int) -> tuple[np.ndarray, np.ndarray]:
    """Origin and shape of the grid that spans a range of so many voxels."""
    # A range of 1024 voxels in decimal metres is 1024.0000000001 of them.
    whole = np.ceil(num_cells - 1e-6) + (rounding == "round")
    return np.zeros(3), np.ceil(whole / align) * align


def _check_points(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] < 3:
        raise ValueError(f"points: expected (N, >=3) as x, y, z, ..., got shape {points.shape}")
    if points.dtype not in (np.float32, np.float64):
        points = points.astype(np.float64)
    return points


def _not_finite(points: np.ndarray) -> ValueError:
    bad = np.flatnonzero(~np.isfinite(points[:, :3]).all(axis=1))
    return ValueError(
        f"points: expected finite x, y, z, got {len(bad)} of {len(points)} rows with NaN or infinity, "
        f"row {bad[0]} first. Drop these rows, or the file if it is damaged."
    )


def _check_range(point_cloud_range: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    bounds = np.asarray(point_cloud_range, dtype=np.float64)
    if bounds.shape != (6,) or not np.all(bounds[:3] < bounds[3:]) or not np.all(np.isfinite(bounds)):
        raise ValueError(
            f"point_cloud_range: expected x_min y_min z_min x_max y_max z_max with min < max, got {bounds.tolist()}"
        )
    return bounds[:3], bounds[3:]
