"""Kernels of `gather_matmul`: tiles of pairs are gathered, multiplied and added without ever being written as a matrix.

They do not check bounds; a `Rulebook` is right by construction. Channels are multiples of the vector's numbers (`lanes`).
"""

from __future__ import annotations

import numba
import numpy as np

from lidardistill.sparse._register_tiles import (
    TILE_CHANNELS,
    TILE_PAIRS,
    VECTOR_BYTES,
    multiply_columns,
    multiply_rows,
)

PAIRS_AT_ONCE = 256
"""Pairs whose rows stay in the nearest cache while all tiles of a kernel's gradient go over them."""

_rows_1, _rows_2 = multiply_rows(1), multiply_rows(2)
_columns_1, _columns_2 = multiply_columns(1), multiply_columns(2)


@numba.njit(cache=True, nogil=True)
def _first_at_least(rows, begin, end, value):  # type: ignore[no-untyped-def]
    """First of the ascending rows[begin:end] that is not below value."""
    while begin < end:
        middle = (begin + end) // 2
        if rows[middle] < value:
            begin = middle + 1
        else:
            end = middle
    return begin


@numba.njit(cache=True, nogil=True)
def multiply(features, kernels, source, target, offsets, sizes, low, high, out):  # type: ignore[no-untyped-def]
    """out[t] += features[s] @ kernels[k] over the pairs (s, t) of each kernel offset k with low <= t < high.

    Args:
        features: (M, C) of the type of out; or (M, C / 2) int32, pairs of bfloat16, see `multiply_rows`.
        kernels: (K, C, D), or (K, C / 2, D) alike.
        source: (P,) int32 rows of features, grouped by kernel offset.
        target: (P,) int32 rows of out, ascending inside a group unless low and high leave out none.
        offsets: (G,) int64 kernel offset of each group.
        sizes: (G,) int64 pairs of each group.
        low: first row of out to be written.
        high: the one behind the last.
        out: (M', D), added to.
    """
    width = out.shape[1]
    lanes = VECTOR_BYTES // out.itemsize
    begin = 0
    for group in range(offsets.shape[0]):
        k, end = offsets[group], begin + sizes[group]
        p = _first_at_least(target, begin, end, low)
        stop = _first_at_least(target, p, end, high)
        while p < stop:
            column = 0
            while column + 2 * lanes <= width:
                _rows_2(features, kernels, out, source, target, p, stop, k, column)
                column += 2 * lanes
            if column < width:
                _rows_1(features, kernels, out, source, target, p, stop, k, column)
            p += TILE_PAIRS
        begin = end


@numba.njit(cache=True, nogil=True)
def multiply_transposed(features, grad, source, target, offsets, sizes, first, last, out):  # type: ignore[no-untyped-def]
    """out[k] += the sum of the outer products of features[s] and grad[t] over the pairs (s, t) of each kernel offset k.

    Args:
        features: (M, C).
        grad: (M', D).
        source: (P,) int32 rows of features, grouped by kernel offset.
        target: (P,) int32 rows of grad.
        offsets: (G,) int64 kernel offset of each group.
        sizes: (G,) int64 pairs of each group.
        first: first group to be summed.
        last: the one behind the last.
        out: (K, C, D), added to.
    """
    height, width = out.shape[1], out.shape[2]
    lanes = VECTOR_BYTES // out.itemsize
    p = np.int64(0)
    for group in range(first):
        p += sizes[group]
    for group in range(first, last):
        k, end = offsets[group], p + sizes[group]
        while p < end:
            stop = min(p + PAIRS_AT_ONCE, end)
            for row in range(0, height, TILE_CHANNELS):
                column = 0
                while column + 2 * lanes <= width:
                    _columns_2(features, grad, out, source, target, p, stop, k, row, column)
                    column += 2 * lanes
                if column < width:
                    _columns_1(features, grad, out, source, target, p, stop, k, row, column)
            p = stop
