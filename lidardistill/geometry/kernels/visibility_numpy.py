"""Occlusion between pairs, plain: every disc against every pair. The twin of `visibility_numba`."""

from __future__ import annotations

import numpy as np


def hidden_pairs(
    view: np.ndarray,
    row: np.ndarray,
    col: np.ndarray,
    depth: np.ndarray,
    radius_px: np.ndarray,
    cover_to: np.ndarray,
) -> np.ndarray:
    """See `visibility.visible_pairs`.

    Args:
        view: (P,) int64.
        row: (P,) int64.
        col: (P,) int64.
        depth: (P,) float64 metres.
        radius_px: (P,) float64 radius of the pair's disc.
        cover_to: (P,) float64 metres; within the disc, what is deeper is hidden.

    Returns:
        (P,) bool.
    """
    hidden = np.zeros(len(view), dtype=bool)
    for i in range(len(view)):
        in_disc = (row - row[i]) ** 2 + (col - col[i]) ** 2 <= radius_px[i] * radius_px[i]
        hidden |= in_disc & (view == view[i]) & (depth > cover_to[i])
    return hidden
