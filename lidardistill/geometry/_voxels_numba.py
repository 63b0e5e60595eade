"""Cells in one pass over the points, and unique voxels by hashing, no sort. The twin is `_voxels_numpy`."""

from __future__ import annotations

import numpy as np
from numba import njit

# Odd numbers near 2^64 / g^k with g^4 = g + 1: multiples of three numbers that no whole-numbered sum relates fill the
# table evenly, whatever the direction in which cells are neighbours. Powers of the golden ratio are so related.
_SPREAD_Z = np.uint64(0xD1B54A32D192ED03)
_SPREAD_Y = np.uint64(0xABC98388FB8FAC03)
_SPREAD_X = np.uint64(0x8CB92BA72F3D8DD7)


MAX_SIDE = 1 << 21
"""Cells along each axis that fit a third of 64 bits."""


_BLOCK = 512  # points whose positions stay in the nearest cache while they turn into cells


@njit(cache=True, nogil=True)
def copy_xyz(points, xyz):  # type: ignore[no-untyped-def]
    """Copies the columns x, y, z of (N, >=3) `points` into (3, N) float64; whether all are finite."""
    amiss = 0
    for i in range(len(points)):
        x, y, z = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
        xyz[0, i], xyz[1, i], xyz[2, i] = x, y, z
        # Infinity and NaN less themselves are NaN.
        amiss |= not ((x - x) + (y - y) + (z - z) == 0.0)
    return amiss == 0


def make_cells(
    xyz: np.ndarray, phi: np.ndarray | None, size: np.ndarray, nearest: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Turns positions in place into the cells that hold them, see `_voxels_numpy.make_cells`."""
    least, most = np.full(3, np.inf), np.full(3, -np.inf)
    _make_cells(xyz, np.empty(0) if phi is None else phi, phi is not None, size, nearest, least, most)
    return least, most


@njit(cache=True, nogil=True, error_model="numpy")
def _make_cells(xyz, phi, cylindrical, size, nearest, least, most):  # type: ignore[no-untyped-def]
    num_points = xyz.shape[1]
    for begin in range(0, num_points, _BLOCK):
        end = min(num_points, begin + _BLOCK)
        if cylindrical:
            for i in range(begin, end):
                xyz[0, i] = np.sqrt(xyz[0, i] * xyz[0, i] + xyz[1, i] * xyz[1, i])
                xyz[1, i] = phi[i] * (180.0 / np.pi)
        for axis in range(3):
            row, side = xyz[axis], size[axis]
            low, high = least[axis], most[axis]
            for i in range(begin, end):
                ratio = row[i] / side
                cell = np.rint(ratio) if nearest else np.floor(ratio)
                row[i] = cell
                low = cell if cell < low else low
                high = cell if cell > high else high
            least[axis], most[axis] = low, high


def table_size(num_points: int) -> int:
    """Slots for so many points: a power of two, 16 or more, that is at most two thirds full.

    Page faults of a larger table cost more than the collisions of a smaller one.
    """
    return 1 << max(4, (num_points + num_points // 2 - 1).bit_length())


@njit(cache=True, nogil=True)
def unique_voxels(cells, origin, table, keys, coords, first_point):  # type: ignore[no-untyped-def]
    """Numbers the distinct cells in the order in which they first appear.

    Args:
        cells: (3, N) float64 whole numbers x, y, z.
        origin: (3,) float64 cell that becomes zero; no cell lies below it, or `MAX_SIDE` and more above.
        table: (table_size(N),) int32, overwritten.
        keys: (N,) int64, overwritten.
        coords: (N, 3) int32 whose first M rows become z, y, x of the voxels.
        first_point: (N,) int64 whose first M become the first point of each voxel.

    Returns:
        voxel: (N,) int64 number of each point's voxel, from 0.
        num_voxels: M.
    """
    num_points = cells.shape[1]
    last_slot = len(table) - 1
    bits = 0
    while (1 << bits) <= last_slot:
        bits += 1
    shift = np.uint64(64 - bits)
    # A slot holds the number of a voxel, and its key lies with those of its neighbours: what is looked at stays in cache.
    table[:] = -1

    voxel = np.empty(num_points, np.int64)
    num_voxels = 0
    for i in range(num_points):
        x = np.int64(cells[0, i] - origin[0])
        y = np.int64(cells[1, i] - origin[1])
        z = np.int64(cells[2, i] - origin[2])
        key = (z << 42) | (y << 21) | x
        mixed = np.uint64(z) * _SPREAD_Z + np.uint64(y) * _SPREAD_Y + np.uint64(x) * _SPREAD_X
        slot = np.int64(mixed >> shift)
        while True:
            occupant = table[slot]
            if occupant < 0:
                table[slot] = num_voxels
                keys[num_voxels] = key
                coords[num_voxels, 0] = z
                coords[num_voxels, 1] = y
                coords[num_voxels, 2] = x
                first_point[num_voxels] = i
                voxel[i] = num_voxels
                num_voxels += 1
                break
            if keys[occupant] == key:
                voxel[i] = occupant
                break
            slot = (slot + 1) & last_slot
    return voxel, num_voxels
