"""Numba kernel of `masks.relabel_sequential`; its slow twin, a sort, is there."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def relabel(labels: np.ndarray, mask: np.ndarray, low: int, size: int, out: np.ndarray) -> int:
    """Number the valid ids by their order.

    Args:
        labels: (N,) integers; valid ids lie in low..low + size - 1.
        mask: (N,) bool.
        low, size: range of the valid ids.
        out: (N,) int32, filled; 0 where the mask is False.

    Returns:
        The number of ids.
    """
    table = np.zeros(size, np.int32)
    for pixel in range(labels.shape[0]):
        if mask[pixel]:
            table[labels[pixel] - low] = 1
    count = 0
    for place in range(size):
        if table[place] != 0:
            table[place] = count
            count += 1
    for pixel in range(labels.shape[0]):
        out[pixel] = table[labels[pixel] - low] if mask[pixel] else 0
    return count
