"""Kernels of `voxel_norm`: sums over voxels are float64, whatever the features are. They do not check bounds."""

from __future__ import annotations

import numba


@numba.njit(cache=True, nogil=True, error_model="numpy")
def moments(x, total, square):  # type: ignore[no-untyped-def]
    """total[c] += sum of x[:, c], square[c] += sum of its squares, over x (N, C); both (C,) float64."""
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            total[c] += x[i, c]
            square[c] += total.dtype.type(x[i, c]) * x[i, c]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def scale_and_relu(x, scale, shift, shortcut, out):  # type: ignore[no-untyped-def]
    """out = relu(x * scale + shift + shortcut), a NaN stays one.

    Args:
        x: (N, C).
        scale: (C,).
        shift: (C,).
        shortcut: (N, C), or (0, C) for none.
        out: (N, C), written.
    """
    add = shortcut.shape[0] > 0
    for i in range(x.shape[0]):
        if add:
            for c in range(x.shape[1]):
                y = x[i, c] * scale[c] + shift[c] + shortcut[i, c]
                out[i, c] = x.dtype.type(0) if y <= 0 else y
        else:
            for c in range(x.shape[1]):
                y = x[i, c] * scale[c] + shift[c]
                out[i, c] = x.dtype.type(0) if y <= 0 else y


@numba.njit(cache=True, nogil=True, error_model="numpy")
def relu_backward(grad, out, x, mean, masked, total, along):  # type: ignore[no-untyped-def]
    """The gradient before the ReLU, and what BatchNorm's gradient needs of it.

    Args:
        grad: (N, C) of `out`.
        out: (N, C) of `scale_and_relu`.
        x: (N, C) its argument.
        mean: (C,) of x.
        masked: (N, C), written: grad where out is not zero.
        total: (C,) float64, its sum over voxels is added.
        along: (C,) float64, the sum of its products with x - mean is added.
    """
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            g = grad.dtype.type(0) if out[i, c] <= 0 else grad[i, c]
            masked[i, c] = g
            total[c] += g
            along[c] += g * (x[i, c] - mean[c])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def norm_backward(masked, x, mean, scale, slope, offset, out):  # type: ignore[no-untyped-def]
    """out = masked * scale + (x - mean) * slope + offset; out may be `masked` itself. (N, C), and (C,) each."""
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            out[i, c] = masked[i, c] * scale[c] + (x[i, c] - mean[c]) * slope[c] + offset[c]
