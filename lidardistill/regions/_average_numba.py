"""Numba kernel of `scaling.reduce_by_area`; its slow twin, a loop over blocks, stands in the test."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def average_blocks(image: np.ndarray, factor: int, out: np.ndarray) -> None:
    """Average blocks of `factor` x `factor` pixels; cut ones over the pixels that they have.

    Args:
        image: (H, W, C) uint8.
        factor: at least 1.
        out: (ceil(H / factor), ceil(W / factor), C) uint8, filled; rounded to nearest, halves up.
    """
    height, width, channels = image.shape
    column = np.empty(width * channels, np.uint32)
    for row in range(out.shape[0]):
        begin, end = row * factor, min(height, (row + 1) * factor)
        column[:] = 0
        for source in range(begin, end):
            line = image[source].reshape(-1)
            for place in range(width * channels):
                column[place] += line[place]
        for col in range(out.shape[1]):
            left, right = col * factor, min(width, (col + 1) * factor)
            count = np.uint32((end - begin) * (right - left))
            for channel in range(channels):
                total = np.uint32(0)
                for place in range(left, right):
                    total += column[place * channels + channel]
                out[row, col, channel] = np.uint32(total + count // np.uint32(2)) // count
