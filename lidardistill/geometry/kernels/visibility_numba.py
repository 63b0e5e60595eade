"""Occlusion between pairs, fast: discs look only into the image tiles that they touch.

Twin: `visibility_numpy`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

TILE_PX = 16


@njit(cache=True, nogil=True)
def hidden_pairs(view, row, col, depth, radius_px, cover_to):  # type: ignore[no-untyped-def]
    """See `visibility.visible_pairs`.

    Args:
        view: (P,) int64, from 0; P > 0.
        row: (P,) int64, from 0.
        col: (P,) int64, from 0.
        depth: (P,) float64 metres.
        radius_px: (P,) float64 radius of the pair's disc.
        cover_to: (P,) float64 metres; within the disc, what is deeper is hidden.

    Returns:
        (P,) bool.
    """
    tiles_down = row.max() // TILE_PX + 1
    tiles_across = col.max() // TILE_PX + 1

    # Counting sort by tile: the pairs of tile t are order[first[t]:first[t + 1]].
    tile = (view * tiles_down + row // TILE_PX) * tiles_across + col // TILE_PX
    first = np.zeros((view.max() + 1) * tiles_down * tiles_across + 1, np.int64)
    for t in tile:
        first[t + 1] += 1
    first = np.cumsum(first)
    position = first.copy()
    order = np.empty(len(tile), np.int64)
    for i in range(len(tile)):
        order[position[tile[i]]] = i
        position[tile[i]] += 1

    hidden = np.zeros(len(tile), np.bool_)
    for i in range(len(tile)):
        reach = np.int64(min(radius_px[i], np.float64(TILE_PX * (tiles_down + tiles_across))))
        radius_squared = radius_px[i] * radius_px[i]
        tile_left = max(col[i] - reach, 0) // TILE_PX
        tile_right = min((col[i] + reach) // TILE_PX, tiles_across - 1)
        tile_top = max(row[i] - reach, 0) // TILE_PX
        tile_bottom = min((row[i] + reach) // TILE_PX, tiles_down - 1)
        for tile_row in range(tile_top, tile_bottom + 1):
            tile_row_start = (view[i] * tiles_down + tile_row) * tiles_across
            # Neighbouring tiles of a row are neighbours in the order too.
            for position_j in range(
                first[tile_row_start + tile_left], first[tile_row_start + tile_right + 1]
            ):
                j = order[position_j]
                rows_apart = row[j] - row[i]
                cols_apart = col[j] - col[i]
                if depth[j] > cover_to[i] and rows_apart**2 + cols_apart**2 <= radius_squared:
                    hidden[j] = True
    return hidden
