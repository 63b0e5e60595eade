"""Kernels of `segment_mean` on the CPU: rows are read in place and added to their segment, in the order of
the list.

They do not check bounds: `segment_mean` has looked at shapes and ids.
"""

from __future__ import annotations

import numba


@numba.njit(cache=True, nogil=True)
def add_rows(values, rows, segments, mask, total, count):  # type: ignore[no-untyped-def]
    """total[s] += values[r] and count[s] += 1 over the members (r, s) that the mask keeps.

    Args:
        values: (M, C).
        rows: (N,) int64 row of each member.
        segments: (N,) int64 segment of each member.
        mask: (N,) bool.
        total: (S, C), added to.
        count: (S,) int64, added to.
    """
    for i in range(len(rows)):
        if mask[i]:
            r, s = rows[i], segments[i]
            count[s] += 1
            for c in range(values.shape[1]):
                total[s, c] += values[r, c]


@numba.njit(cache=True, nogil=True)
def give_back(share, rows, segments, mask, grad):  # type: ignore[no-untyped-def]
    """grad[r] += share[s] over the members (r, s) that the mask keeps: the transpose of `add_rows`."""
    for i in range(len(rows)):
        if mask[i]:
            r, s = rows[i], segments[i]
            for c in range(grad.shape[1]):
                grad[r, c] += share[s, c]
