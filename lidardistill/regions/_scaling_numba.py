"""Block averages in one pass. The twin stands in `scaling`."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def reduce_by_area(image, factor, out):  # type: ignore[no-untyped-def]
    """See `scaling.reduce_by_area`.

    Args:
        image: (H, W * C) uint8, C channels side by side.
        factor: pixels of a block's side.
        out: (h, w, C) uint8 to write.
    """
    height = image.shape[0]
    channels = out.shape[2]
    width = image.shape[1] // channels
    sums = np.empty(image.shape[1], np.uint32)
    for r in range(out.shape[0]):
        first, last = r * factor, min((r + 1) * factor, height)
        # Down the rows first: that loop is contiguous and runs in SIMD.
        upper = image[first]
        for k in range(sums.size):
            sums[k] = upper[k]
        for row in range(first + 1, last):
            line = image[row]
            for k in range(sums.size):
                sums[k] += line[k]
        for c in range(out.shape[1]):
            left, right = c * factor, min((c + 1) * factor, width)
            count = np.uint32((last - first) * (right - left))
            for channel in range(channels):
                total = count // np.uint32(2)
                for col in range(left, right):
                    total += sums[col * channels + channel]
                out[r, c, channel] = total // count
