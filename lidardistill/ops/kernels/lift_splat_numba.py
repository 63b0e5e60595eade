"""Kernels of `lift_splat` on the CPU: pixel by pixel, its samples from near to far, one run of a cell at a
time.

They do not check bounds: `lift_splat` has looked at shapes and cells.
"""

from __future__ import annotations

import numba


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add(out, row, weight, values, p):  # type: ignore[no-untyped-def]
    """out[row] += weight values[p]."""
    for c in range(out.shape[1]):
        out[row, c] += weight * values[p, c]


# reassoc alone lets a sum over channels use vectors; NaN and infinity keep their meaning.
@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _dot(a, i, b, j):  # type: ignore[no-untyped-def]
    """a[i] . b[j]."""
    total = a[i, 0] * b[j, 0]
    for c in range(1, a.shape[1]):
        total += a[i, c] * b[j, c]
    return total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def splat(depth, context, cell, mask, bev):  # type: ignore[no-untyped-def]
    """bev[cell[p, d]] += depth[p, d] context[p] where the mask is True.

    Args:
        depth: (P, D).
        context: (P, C).
        cell: (P, D) int32.
        mask: (P, D) bool.
        bev: (cells, C), added to.
    """
    for p in range(depth.shape[0]):
        d = 0
        while d < depth.shape[1]:
            if not mask[p, d]:
                d += 1
                continue
            here, weight = cell[p, d], depth[p, d]
            d += 1
            while d < depth.shape[1] and mask[p, d] and cell[p, d] == here:
                weight += depth[p, d]
                d += 1
            _add(bev, here, weight, context, p)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def splat_backward(grad, depth, context, cell, mask, grad_depth, grad_context):  # type: ignore[no-untyped-def]
    """Gradient of `splat` with respect to depth and context.

    Args:
        grad: (cells, C) of the map.
        depth: as in `splat`, like the others down to mask.
        context: as there.
        cell: as there.
        mask: as there.
        grad_depth: (P, D) zeros, written where the mask is True.
        grad_context: (P, C) zeros, written.
    """
    if context.shape[1] == 0:
        return
    for p in range(depth.shape[0]):
        d = 0
        while d < depth.shape[1]:
            if not mask[p, d]:
                d += 1
                continue
            here, weight = cell[p, d], depth[p, d]
            likeness = _dot(grad, here, context, p)
            grad_depth[p, d] = likeness
            d += 1
            while d < depth.shape[1] and mask[p, d] and cell[p, d] == here:
                weight += depth[p, d]
                grad_depth[p, d] = likeness
                d += 1
            _add(grad_context, p, weight, grad, here)
