"""Numba kernels of `scaling`: area averages and nearest labels. Their slow twins are in the test."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def average_blocks(image: np.ndarray, factor: int, out: np.ndarray) -> None:
    """Average blocks of `factor` x `factor` pixels; blocks at the border average their own pixels.

    Args:
        image: (H, W, C) uint8.
        factor: at least 1.
        out: (ceil(H / factor), ceil(W / factor), C) uint8, filled; rounded to nearest, halves up.
    """
    height, width, channels = image.shape
    column = np.empty(width * channels, np.uint32)
    for row in range(out.shape[0]):
        begin, end = row * factor, min(height, (row + 1) * factor)
        done = 0
        if factor == 2 and channels == 3 and end - begin == 2:
            done = width // 2
            _halve(image[begin].reshape(-1), image[begin + 1].reshape(-1), done, out[row].reshape(-1))
            if 2 * done == width:
                continue
        column[:] = 0
        for source in range(begin, end):
            line = image[source].reshape(-1)
            for place in range(width * channels):
                column[place] += line[place]
        for col in range(done, out.shape[1]):
            left, right = col * factor, min(width, (col + 1) * factor)
            count = np.uint32((end - begin) * (right - left))
            for channel in range(channels):
                total = np.uint32(0)
                for place in range(left, right):
                    total += column[place * channels + channel]
                out[row, col, channel] = np.uint32(total + count // np.uint32(2)) // count


@njit(cache=True, nogil=True)
def _halve(above: np.ndarray, below: np.ndarray, num: int, out: np.ndarray) -> None:
    """Average `num` blocks of 2 x 2 pixels with three channels, without an inner loop, for SIMD."""
    u = np.uint32
    for col in range(num):
        a, b, o = 6 * col, 6 * col + 3, 3 * col
        out[o] = (u(above[a]) + u(above[b]) + u(below[a]) + u(below[b]) + u(2)) >> u(2)
        out[o + 1] = (u(above[a + 1]) + u(above[b + 1]) + u(below[a + 1]) + u(below[b + 1]) + u(2)) >> u(2)
        out[o + 2] = (u(above[a + 2]) + u(above[b + 2]) + u(below[a + 2]) + u(below[b + 2]) + u(2)) >> u(2)


@njit(cache=True, nogil=True)
def repeat_blocks(labels: np.ndarray, factor: int, out: np.ndarray) -> None:
    """Repeat each label for `factor` x `factor` pixels of `out`, (H, W) int32; borders may cut blocks."""
    height, width = out.shape
    for row in range(0, height, factor):
        source = labels[row // factor]
        if factor == 2:
            for col in range(width // 2):
                out[row, 2 * col] = source[col]
                out[row, 2 * col + 1] = source[col]
            if width % 2:
                out[row, width - 1] = source[width // 2]
        else:
            for col in range(width):
                out[row, col] = source[col // factor]
        for other in range(row + 1, min(row + factor, height)):
            out[other] = out[row]
