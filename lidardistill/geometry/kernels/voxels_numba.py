"""Cells in one pass over the points, and unique voxels by hashing, no sort. The twin is `voxels_numpy`."""

from __future__ import annotations

import numpy as np
from numba import njit

# Odd numbers near 2^64 / g^k with g^4 = g + 1. No sum with whole coefficients relates the three numbers, so
# their multiples fill the table evenly in every direction. Powers of the golden ratio are related by such a
# sum.
_SPREAD_Z = np.uint64(0xD1B54A32D192ED03)
_SPREAD_Y = np.uint64(0xABC98388FB8FAC03)
_SPREAD_X = np.uint64(0x8CB92BA72F3D8DD7)


MAX_SIDE = 1 << 21
"""Cells along each axis that fit a third of 64 bits."""


_BLOCK = 512  # points whose positions stay in the nearest cache while they turn into cells


@njit(cache=True, nogil=True)
def copy_xyz(points, xyz):  # type: ignore[no-untyped-def]
    """Copies the columns x, y, z of (N, >=3) `points` into (3, N) float64; returns whether all are finite."""
    x, y, z = xyz[0], xyz[1], xyz[2]
    for i in range(len(points)):
        x[i], y[i], z[i] = points[i, 0], points[i, 1], points[i, 2]
    amiss = np.int64(0)
    for i in range(len(x)):
        # Infinity and NaN less themselves are NaN.
        amiss |= np.int64(x[i] - x[i] + (y[i] - y[i]) + (z[i] - z[i]) != 0.0)
    return amiss == 0


@njit(cache=True, nogil=True)
def keep(xyz, mask, out):  # type: ignore[no-untyped-def]
    """Writes the columns of (3, N) `xyz` where (N,) `mask` is True to (3, n) `out`, which is returned."""
    for axis in range(3):
        row, kept = xyz[axis], out[axis]
        count = np.uint64(0)
        for i in range(len(row)):
            if mask[i]:
                kept[count] = row[i]
                count += np.uint64(1)
    return out


@njit(cache=True, nogil=True)
def spread(values, mask):  # type: ignore[no-untyped-def]
    """Puts (n,) values where (N,) `mask` is True, see `voxels_numpy.spread`."""
    out, places = np.empty(len(mask), np.int64), np.empty(len(values), np.int64)
    count = np.uint64(0)
    for i in range(len(mask)):
        out[i] = 0
        if mask[i]:
            out[i] = values[count]
            places[count] = i
            count += np.uint64(1)
    return out, places


def make_cells(
    xyz: np.ndarray, phi: np.ndarray | None, lower: np.ndarray, size: np.ndarray, nearest: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Turns positions in place into the cells that hold them, see `voxels_numpy.make_cells`."""
    least, most = np.full(3, np.inf), np.full(3, -np.inf)
    turn = np.empty(0) if phi is None else phi
    _make_cells(xyz, turn, phi is not None, lower, size, nearest, least, most)
    return least, most


# No value is NaN and the sign of zero does not matter; with these flags LLVM vectorises minimum and maximum.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "nsz"})
def _make_cells(xyz, phi, cylindrical, lower, size, nearest, least, most):  # type: ignore[no-untyped-def]
    for begin in range(0, xyz.shape[1], _BLOCK):
        end = min(xyz.shape[1], begin + _BLOCK)
        # Slices, whose indices are seen not to be negative: LLVM turns only such loops into SIMD.
        x, y, z = xyz[0, begin:end], xyz[1, begin:end], xyz[2, begin:end]
        if cylindrical:
            turn = phi[begin:end]
            for i in range(len(x)):
                x[i] = np.sqrt(x[i] * x[i] + y[i] * y[i])
            for i in range(len(x)):
                y[i] = turn[i] * (180.0 / np.pi)
        else:
            for i in range(len(x)):
                x[i] -= lower[0]
                y[i] -= lower[1]
                z[i] -= lower[2]
        for axis in range(3):
            row, side = xyz[axis, begin:end], size[axis]
            if nearest:
                for i in range(len(row)):
                    row[i] = np.rint(row[i] / side)
            else:
                for i in range(len(row)):
                    row[i] = np.floor(row[i] / side)
            low, high = least[axis], most[axis]
            for i in range(len(row)):
                low = min(low, row[i])
                high = max(high, row[i])
            least[axis], most[axis] = low, high


def table_size(num_points: int) -> int:
    """Slots for so many points: a power of two, 16 or more, that is at most two thirds full.

    Page faults of a larger table cost more than the collisions of a smaller one.
    """
    return 1 << max(4, (num_points + num_points // 2 - 1).bit_length())


@njit(cache=True, nogil=True)
def unique_voxels(cells, origin, table, keys, first_point):  # type: ignore[no-untyped-def]
    """Numbers the distinct cells in the order in which they first appear.

    Args:
        cells: (3, N) float64 whole numbers x, y, z.
        origin: (3,) float64 cell that becomes zero; no cell lies below it, or `MAX_SIDE` and more above.
        table: (table_size(N),) int32, overwritten.
        keys: (N,) int64, overwritten.
        first_point: (N,) int32, overwritten.

    Returns:
        coords: (M, 3) int32 z, y, x of the voxels.
        voxel: (N,) int64 number of each point's voxel, from 0.
        first_point: (M,) int64 first point of each voxel.
    """
    num_points = cells.shape[1]
    last_slot = np.uint64(len(table) - 1)
    bits = 0
    while (1 << bits) < len(table):
        bits += 1
    shift = np.uint64(64 - bits)
    # A slot holds the number of a voxel; keys are stored by voxel, so the keys of neighbours share cache
    # lines.
    table[:] = -1

    voxel = np.empty(num_points, np.int64)
    one = np.uint64(1)
    num_voxels = np.uint64(0)  # unsigned, as the slots: a signed index costs a test of its sign
    block_keys, block_slots = np.empty(_BLOCK, np.int64), np.empty(_BLOCK, np.uint64)
    for begin in range(0, num_points, _BLOCK):
        end = min(num_points, begin + _BLOCK)
        rows = cells[:, begin:end]
        for i in range(end - begin):
            x = np.int64(rows[0, i] - origin[0])
            y = np.int64(rows[1, i] - origin[1])
            z = np.int64(rows[2, i] - origin[2])
            block_keys[i] = (z << 42) | (y << 21) | x
            mixed = np.uint64(z) * _SPREAD_Z + np.uint64(y) * _SPREAD_Y + np.uint64(x) * _SPREAD_X
            block_slots[i] = mixed >> shift
        of_block = voxel[begin:end]
        for i in range(end - begin):
            key, slot = block_keys[i], block_slots[i]
            # The next voxel's row is written before it is known whether there will be one: a branch on that
            # would be guessed wrong for every third point.
            keys[num_voxels] = key
            first_point[num_voxels] = begin + i
            while True:
                occupant = table[slot]
                found = num_voxels if occupant < 0 else np.uint64(occupant)
                if keys[found] == key:
                    break
                slot = (slot + one) & last_slot
            table[slot] = found
            of_block[i] = found
            num_voxels += np.uint64(found == num_voxels)
    side = np.int64(MAX_SIDE - 1)
    coords = np.empty((np.int64(num_voxels), 3), np.int32)
    for i in range(len(coords)):
        key = keys[i]
        coords[i, 0] = key >> 42
        coords[i, 1] = (key >> 21) & side
        coords[i, 2] = key & side
    return coords, voxel, first_point[:num_voxels].astype(np.int64)
