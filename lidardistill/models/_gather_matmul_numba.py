"""Fused kernels of `gather_matmul`: a tile of pairs is gathered, multiplied and added while it is in the cache.

They do not check bounds; a `Rulebook` is right by construction. The products are BLAS calls small enough to stay in the
calling thread.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def _add(part, total):  # type: ignore[no-untyped-def]
    """total += part, without the temporary array of numba's own +=."""
    for i in range(part.shape[0]):
        for j in range(part.shape[1]):
            total[i, j] += part[i, j]


@numba.njit(cache=True, nogil=True)
def multiply(features, kernels, source, target, offsets, sizes, centre, tile, out):  # type: ignore[no-untyped-def]
    """out[t] += x[s] @ kernels[k] over all pairs (s, t) of kernel offset k.

    Args:
        features: (M, C).
        kernels: (K, C, D).
        source: (P,) int32 rows of features, grouped by kernel offset.
        target: (P,) int32 rows of out.
        offsets: (G,) int64 kernel offset of each group.
        sizes: (G,) int64 pairs of each group.
        centre: kernel offset that maps every row onto itself, or -1.
        tile: pairs multiplied at once.
        out: (M', D) zeros.
    """
    inputs, outputs = kernels.shape[1], kernels.shape[2]
    x = np.empty((tile, inputs), features.dtype)
    y = np.empty((tile, outputs), features.dtype)
    if centre >= 0:
        for p in range(0, features.shape[0], tile):
            np.dot(features[p : p + tile], kernels[centre], out[p : p + tile])
    p = 0
    for group in range(offsets.shape[0]):
        kernel = kernels[offsets[group]]
        end = p + sizes[group]
        while p < end:
            n = min(tile, end - p)
            for r in range(n):
                s = source[p + r]
                for c in range(inputs):
                    x[r, c] = features[s, c]
            np.dot(x[:n], kernel, y[:n])
            for r in range(n):
                t = target[p + r]
                for d in range(outputs):
                    out[t, d] += y[r, d]
            p += n


@numba.njit(cache=True, nogil=True)
def multiply_backward(  # type: ignore[no-untyped-def]
    features, grad, kernels, source, target, offsets, sizes, centre, tile, grad_features, grad_kernels
):
    """Gradient of `multiply`.

    Args:
        features: (M, C).
        grad: (M', D) gradient of out.
        kernels: (K, D, C), transposed against `multiply`.
        source: (P,) int32.
        target: (P,) int32.
        offsets: (G,) int64.
        sizes: (G,) int64.
        centre: kernel offset or -1.
        tile: pairs multiplied at once.
        grad_features: (M, C) zeros, or no rows where that gradient is not wanted.
        grad_kernels: (K, D, C) zeros, or no rows where that gradient is not wanted.
    """
    outputs, inputs = kernels.shape[1], kernels.shape[2]
    x = np.empty((tile, inputs), features.dtype)
    y = np.empty((tile, inputs), features.dtype)
    g = np.empty((tile, outputs), features.dtype)
    part = np.empty((outputs, inputs), features.dtype)
    want_features, want_kernels = grad_features.shape[0] > 0, grad_kernels.shape[0] > 0
    if centre >= 0:
        for p in range(0, features.shape[0], tile):
            if want_features:
                np.dot(grad[p : p + tile], kernels[centre], grad_features[p : p + tile])
            if want_kernels:
                np.dot(grad[p : p + tile].T, features[p : p + tile], part)
                _add(part, grad_kernels[centre])
    p = 0
    for group in range(offsets.shape[0]):
        kernel = kernels[offsets[group]]
        end = p + sizes[group]
        while p < end:
            n = min(tile, end - p)
            for r in range(n):
                t = target[p + r]
                for d in range(outputs):
                    g[r, d] = grad[t, d]
            if want_kernels:
                for r in range(n):
                    s = source[p + r]
                    for c in range(inputs):
                        x[r, c] = features[s, c]
                np.dot(g[:n].T, x[:n], part)
                _add(part, grad_kernels[offsets[group]])
            if want_features:
                np.dot(g[:n], kernel, y[:n])
                for r in range(n):
                    s = source[p + r]
                    for c in range(inputs):
                        grad_features[s, c] += y[r, c]
            p += n


@numba.njit(cache=True, nogil=True)
def add_rows(rows, target, total):  # type: ignore[no-untyped-def]
    """total[target[i]] += rows[i].

    Args:
        rows: (P, D) float32.
        target: (P,) int32 rows of total.
        total: (M, D) float32.
    """
    for i in range(rows.shape[0]):
        t = target[i]
        for d in range(rows.shape[1]):
            total[t, d] += rows[i, d]


@numba.njit(cache=True, nogil=True)
def add_bfloat16_rows(rows, target, total):  # type: ignore[no-untyped-def]
    """`add_rows` for bfloat16, which is the upper half of a float32.

    Args:
        rows: (P, D) int16, bits of bfloat16.
        target: (P,) int32 rows of total.
        total: (M, D) float32.
    """
    for i in range(rows.shape[0]):
        t = target[i]
        for d in range(rows.shape[1]):
            total[t, d] += np.int32(rows[i, d] << 16).view(np.float32)
