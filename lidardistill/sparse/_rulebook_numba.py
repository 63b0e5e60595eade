"""Kernels of `rulebook`: they do not check bounds, their wrappers do."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def submanifold_table(keys, order, row_step, plane_step, reach, table, sizes):  # type: ignore[no-untyped-def]
    """Finds the active neighbours of every voxel by walking two sorted lists side by side.

    Args:
        keys: (M,) int64 ascending, distinct.
        order: (M,) int64 row of each key.
        row_step: key distance of one y.
        plane_step: key distance of one z.
        reach: kernel_size // 2.
        table: (M, kernel_size^3) int32 filled with -1; receives the row of the neighbour under each kernel
            offset but the centre.
        sizes: (kernel_size^3,) int64 zeros, receives the number of neighbours under each offset.
    """
    num_voxels = keys.shape[0]
    size = 2 * reach + 1
    last = size * size * size - 1
    for dz in range(-reach, 1):
        for dy in range(-reach, reach + 1):
            if dz == 0 and dy > 0:
                break
            first_dx = -reach
            stop_dx = reach + 1 if (dz < 0 or dy < 0) else 0
            base = dz * plane_step + dy * row_step
            offset = ((dz + reach) * size + dy + reach) * size
            low = 0
            for i in range(num_voxels):
                wanted = keys[i] + base + first_dx
                while low < num_voxels and keys[low] < wanted:
                    low += 1
                j = low
                for dx in range(first_dx, stop_dx):
                    if j < num_voxels and keys[j] == wanted:
                        k = offset + dx + reach
                        table[order[i], k] = order[j]
                        table[order[j], last - k] = order[i]
                        sizes[k] += 1
                        sizes[last - k] += 1
                        j += 1
                    wanted += 1


@numba.njit(cache=True, nogil=True)
def table_to_pairs(table, sizes, source, target):  # type: ignore[no-untyped-def]
    """Lists the entries of a neighbour table grouped by kernel offset, rows ascending inside a group.

    Args:
        table: (M, K) int32, -1 where there is no neighbour.
        sizes: (K,) int64 pairs of each offset.
        source: (P,) int32, receives the neighbours.
        target: (P,) int32, receives the rows.
    """
    num_rows, kernel = table.shape
    free = np.zeros(kernel, np.int64)
    for k in range(1, kernel):
        free[k] = free[k - 1] + sizes[k - 1]
    for i in range(num_rows):
        for k in range(kernel):
            if table[i, k] >= 0:
                source[free[k]] = table[i, k]
                target[free[k]] = i
                free[k] += 1


@numba.njit(cache=True, nogil=True)
def strided_pairs(coords, size, stride, padding, out_shape, sizes, source, keys):  # type: ignore[no-untyped-def]
    """Lists which output cell every input reaches through every kernel offset, grouped by offset.

    Args:
        coords: (M, 4) int32 batch, z, y, x.
        size: three ints z, y, x, of the kernel.
        stride: three ints.
        padding: three ints, cells of zeros on each side.
        out_shape: three ints, cells of the output.
        sizes: (K,) int64 zeros, K the cells of the kernel, receives the pairs of each offset.
        source: (P,) int32, receives input rows, ascending inside a group; of length 0 to count only.
        keys: (P,) int64, receives the linear index of the output cell.
    """
    fill = source.shape[0] > 0
    free = np.zeros(sizes.shape[0], np.int64)
    if fill:
        for k in range(1, sizes.shape[0]):
            free[k] = free[k - 1] + sizes[k - 1]
    depth, height, width = out_shape
    size_z, size_y, size_x = size
    stride_z, stride_y, stride_x = stride
    for i in range(coords.shape[0]):
        b = np.int64(coords[i, 0])
        z, y, x = coords[i, 1] + padding[0], coords[i, 2] + padding[1], coords[i, 3] + padding[2]
        # Kernel position k reaches output (z - k) / stride, so only every stride-th position can.
        for kz in range(z % stride_z, min(size_z, z + 1), stride_z):
            out_z = (z - kz) // stride_z
            if out_z >= depth:
                continue
            for ky in range(y % stride_y, min(size_y, y + 1), stride_y):
                out_y = (y - ky) // stride_y
                if out_y >= height:
                    continue
                for kx in range(x % stride_x, min(size_x, x + 1), stride_x):
                    out_x = (x - kx) // stride_x
                    if out_x >= width:
                        continue
                    k = (kz * size_y + ky) * size_x + kx
                    if fill:
                        source[free[k]] = i
                        keys[free[k]] = ((b * depth + out_z) * height + out_y) * width + out_x
                        free[k] += 1
                    else:
                        sizes[k] += 1


@numba.njit(cache=True, nogil=True)
def number_keys(keys, order, target, distinct):  # type: ignore[no-untyped-def]
    """Gives equal keys one number, ascending with the key.

    Args:
        keys: (P,) int64.
        order: (P,) int64 that sorts them.
        target: (P,) int32, receives the number of each key.
        distinct: (P,) int64, receives the distinct keys.

    Returns:
        How many are distinct.
    """
    count = 0
    for i in range(order.shape[0]):
        key = keys[order[i]]
        if i == 0 or key != distinct[count - 1]:
            distinct[count] = key
            count += 1
        target[order[i]] = count - 1
    return count


@numba.njit(cache=True, nogil=True)
def group_rows(rows, start, pair):  # type: ignore[no-untyped-def]
    """Counting sort: lists the positions of each row value, ascending.

    Args:
        rows: (P,) int32 in 0..R-1.
        start: (R + 1,) int32 zeros, receives where each group begins.
        pair: (P,) int32, receives the positions.
    """
    for i in range(rows.shape[0]):
        start[rows[i] + 1] += 1
    for r in range(start.shape[0] - 1):
        start[r + 1] += start[r]
    free = start.copy()
    for i in range(rows.shape[0]):
        pair[free[rows[i]]] = i
        free[rows[i]] += 1


@numba.njit(cache=True, nogil=True)
def list_pairs(own, sizes, source, target, all_source, all_target):  # type: ignore[no-untyped-def]
    """Puts the pairs of every row with itself before the others.

    Args:
        own: such pairs, 0 for none.
        sizes: (G,) int64 pairs of each group, these included where there are any.
        source: (P,) int32.
        target: (P,) int32.
        all_source: (own + P,) int32, written.
        all_target: (own + P,) int32, written.

    Returns:
        Whether the targets of every group ascend.
    """
    for i in range(own):
        all_source[i] = i
        all_target[i] = i
    all_source[own:] = source
    all_target[own:] = target
    ascending = True
    begin = 0
    for group in range(sizes.shape[0]):
        end = begin + sizes[group]
        for i in range(begin + 1, end):
            ascending &= all_target[i - 1] < all_target[i]
        begin = end
    return ascending
