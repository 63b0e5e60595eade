"""Unique voxels by hashing: one pass over the points, no sort. The twin is `_voxels_numpy`."""

from __future__ import annotations

import numpy as np
from numba import njit

# Odd numbers near 2^64 / g^k with g^4 = g + 1: multiples of three numbers that no whole-numbered sum relates fill the
# table evenly, whatever the direction in which cells are neighbours. Powers of the golden ratio are so related.
_SPREAD_Z = np.uint64(0xD1B54A32D192ED03)
_SPREAD_Y = np.uint64(0xABC98388FB8FAC03)
_SPREAD_X = np.uint64(0x8CB92BA72F3D8DD7)


@njit(cache=True, nogil=True)
def unique_voxels(cells):  # type: ignore[no-untyped-def]
    """Numbers the distinct cells in the order in which they first appear.

    Args:
        cells: (3, N) int32 z, y, x.

    Returns:
        voxel: (N,) int64 number of each point's voxel, from 0.
        first_point: (M,) int64 first point of each voxel.
    """
    num_points = cells.shape[1]
    bits = 4
    # At most two thirds full: page faults of a larger table cost more than the collisions of a smaller one.
    while (1 << bits) < num_points + num_points // 2:
        bits += 1
    shift = np.uint64(64 - bits)
    last_slot = (1 << bits) - 1
    empty = num_points
    # A slot holds the number of a voxel, and that voxel's first point tells its cell: a small table stays in cache.
    table = np.full(1 << bits, empty, np.int32)

    voxel = np.empty(num_points, np.int64)
    first_point = np.empty(num_points, np.int32)
    num_voxels = 0
    for i in range(num_points):
        z, y, x = cells[0, i], cells[1, i], cells[2, i]
        mixed = np.uint64(z) * _SPREAD_Z + np.uint64(y) * _SPREAD_Y + np.uint64(x) * _SPREAD_X
        slot = np.int64(mixed >> shift)
        while True:
            occupant = table[slot]
            if occupant == empty:
                table[slot] = num_voxels
                first_point[num_voxels] = i
                voxel[i] = num_voxels
                num_voxels += 1
                break
            j = first_point[occupant]
            if cells[0, j] == z and cells[1, j] == y and cells[2, j] == x:
                voxel[i] = occupant
                break
            slot = (slot + 1) & last_slot
    return voxel, first_point[:num_voxels].astype(np.int64)
