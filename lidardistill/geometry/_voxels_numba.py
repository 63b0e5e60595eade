"""Unique voxels by hashing: one pass over the points, no sort. The twin is `_voxels_numpy`."""

from __future__ import annotations

import numpy as np
from numba import njit

# 2^64 / golden ratio: multiplying by it spreads neighbouring keys over the table (Knuth, TAOCP 3, 6.4).
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True, nogil=True)
def unique_voxels(cells, shape):  # type: ignore[no-untyped-def]
    """Numbers the distinct cells in the order in which they first appear.

    Args:
        cells: (3, N) int32 z, y, x, from 0 and below `shape`.
        shape: (3,) int64 cells along z, y, x.

    Returns:
        voxel: (N,) int64 number of each point's voxel, from 0.
        first_point: (M,) int64 first point of each voxel.
    """
    num_points = cells.shape[1]
    bits = 4
    while (1 << bits) < 2 * num_points:
        bits += 1
    last_slot = np.int64((1 << bits) - 1)
    shift = np.uint64(64 - bits)

    slot_key = np.empty(1 << bits, np.int64)
    slot_voxel = np.full(1 << bits, -1, np.int32)
    voxel = np.empty(num_points, np.int64)
    first_point = np.empty(num_points, np.int64)
    num_voxels = 0
    for i in range(num_points):
        key = (np.int64(cells[0, i]) * shape[1] + cells[1, i]) * shape[2] + cells[2, i]
        slot = np.int64((np.uint64(key) * _GOLDEN) >> shift)
        while slot_voxel[slot] >= 0 and slot_key[slot] != key:
            slot = (slot + 1) & last_slot
        if slot_voxel[slot] < 0:
            slot_key[slot] = key
            slot_voxel[slot] = num_voxels
            first_point[num_voxels] = i
            num_voxels += 1
        voxel[i] = slot_voxel[slot]
    return voxel, first_point[:num_voxels].copy()
