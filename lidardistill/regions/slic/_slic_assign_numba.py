"""Numba kernel of `slic`: the nearest centre of each pixel, and the sums of the pixels of each centre.

Few centres can win pixels of a tile (`_slic_rivals_numba`). If only one can, the kernel adds the precomputed
sums of the tile; otherwise it compares pixels with the remaining centres. Sums change only for pixels whose
centre has changed since the previous round. The nearest centres are exact; `tests/regions` compares with
every centre tried at every pixel.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lidardistill.regions.slic._slic_rivals_numba import (
    BOTTOM,
    COL,
    COLOUR,
    COVER_LEFT,
    LEFT,
    NEAR,
    RIGHT,
    ROW,
    TOP,
    find_near,
    narrow,
    padded,
    rule_out,
)
from lidardistill.regions.slic._slic_tiles_numba import MAX_TILE_ROWS, TILE_COLS, Tiles

F = np.float32

SPAN = MAX_TILE_ROWS * TILE_COLS

MIXED, UNKNOWN = -1, -2
"""Values of a tile's `sole` besides a centre: several centres have pixels in it; it is not counted yet."""

_GROUP = 8  # adjacent tiles that share one list of near centres; 2 and 4 are slower


@njit(cache=True, nogil=True, error_model="numpy")
def assign(
    tiles: Tiles,
    centres: np.ndarray,
    weight: np.float32,
    winners: np.ndarray,
    sole: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Assign every used pixel to its nearest centre whose window contains it; the first centre wins a tie.

    The distance is weight * (rows^2 + columns^2) + the squared distance of the colours.

    Args:
        tiles: the image.
        centres: (K, `CENTRE`) float32; a centre with an empty window (top > bottom) is never tried. A pixel
            outside all windows is assigned to the nearest of all centres with a window.
        weight: weight of position against colour, see `segment_image`.
        winners: (T, P) int32 row in `centres` of each pixel after the previous round; meaningless for tiles
            with one centre and for uncounted tiles.
        sole: (T,) int32 the only centre of a tile, `MIXED` or `UNKNOWN`.
        sums: (K, 6) float64 rows, columns, L, a, b and number of each centre's pixels, consistent with
            `winners` and `sole`; (0, 6) computes no sums. The function updates all three.
    """
    pixels, num_across = tiles.pixels, tiles.traits.shape[1]
    room = padded(centres.shape[0])
    near, some = np.empty((NEAR, room), F), np.empty((NEAR, room), F)
    ids, some_ids, kept = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32)
    far, lead = np.empty(room, F), np.empty(room, F)
    y, x, best = np.empty(SPAN, F), np.empty(SPAN, F), np.empty(SPAN, F)
    winner = np.empty(SPAN, np.int32)
    changed = np.empty(SPAN, np.uint8)
    words = changed.view(np.uint64)
    for down in range(tiles.traits.shape[0]):
        rows, begin = tiles.num_rows[down], tiles.begins[down]
        for place in range(rows * TILE_COLS):
            y[place] = F(begin + place // TILE_COLS)
        num_near = find_near(centres, begin, begin + rows - 1, near, ids)
        num = 0
        for across in range(num_across):
            left = across * TILE_COLS
            right = min(tiles.width, left + TILE_COLS)
            if across % _GROUP == 0:
                num = narrow(near, ids, num_near, left, left + _GROUP * TILE_COLS - 1, some, some_ids)
            tile = down * num_across + across
            num_kept, whole = rule_out(
                some, num, tiles.traits, down, across, weight, left, right - 1, far, lead, kept
            )
            before = sole[tile]
            if num_kept == 1 and whole:
                centre = some_ids[kept[0]]
                if before == centre:
                    continue
                if sums.shape[0] > 0:
                    if before == MIXED:
                        _count(tiles, down, across, winners, -1.0, sums)
                    elif before != UNKNOWN:
                        _count_whole(tiles.sums, down, across, -1.0, before, sums)
                    _count_whole(tiles.sums, down, across, 1.0, centre, sums)
                sole[tile] = centre
                continue
            size = rows * TILE_COLS
            for place in range(size):
                x[place] = F(left + place % TILE_COLS)
                best[place] = F(np.inf)
                winner[place] = -1
            for place in range(num_kept):
                one = kept[place]
                inside = some[COVER_LEFT, one] <= left and some[RIGHT, one] >= right - 1
                if inside:
                    _try(pixels, tile, size, y, x, some, one, weight, some_ids[one], best, winner)
                else:
                    _try_inside(pixels, tile, size, y, x, some, one, weight, some_ids[one], best, winner)
            if not whole:
                _try_all(pixels, tile, size, y, x, centres, weight, best, winner)
            if before >= 0:
                for place in range(size):
                    winners[tile, place] = before
            if sums.shape[0] > 0 and before != UNKNOWN:
                _count_changes(tiles, down, across, winner, winners, changed, words, sums)
            for place in range(size):
                winners[tile, place] = winner[place]
            if sums.shape[0] > 0 and before == UNKNOWN:
                _count(tiles, down, across, winners, 1.0, sums)
            sole[tile] = MIXED


@njit(cache=True, nogil=True, error_model="numpy")
def _try(
    pixels: np.ndarray,
    tile: int,
    size: int,
    y: np.ndarray,
    x: np.ndarray,
    near: np.ndarray,
    one: int,
    weight: np.float32,
    centre: int,
    best: np.ndarray,
    winner: np.ndarray,
) -> None:
    """Assign the pixels that are nearer to this centre than to their current winner."""
    cy, cx = near[ROW, one], near[COL, one]
    cl, ca, cb = near[COLOUR, one], near[COLOUR + 1, one], near[COLOUR + 2, one]
    for place in range(size):
        dy, dx = y[place] - cy, x[place] - cx
        dl, da = pixels[tile, 0, place] - cl, pixels[tile, 1, place] - ca
        db = pixels[tile, 2, place] - cb
        distance = weight * (dy * dy + dx * dx) + (dl * dl + da * da + db * db)
        nearer = distance < best[place]
        best[place] = distance if nearer else best[place]
        winner[place] = centre if nearer else winner[place]


@njit(cache=True, nogil=True, error_model="numpy")
def _try_inside(
    pixels: np.ndarray,
    tile: int,
    size: int,
    y: np.ndarray,
    x: np.ndarray,
    near: np.ndarray,
    one: int,
    weight: np.float32,
    centre: int,
    best: np.ndarray,
    winner: np.ndarray,
) -> None:
    """Like `_try`, only for the pixels in the centre's window."""
    cy, cx = near[ROW, one], near[COL, one]
    cl, ca, cb = near[COLOUR, one], near[COLOUR + 1, one], near[COLOUR + 2, one]
    top, bottom, left, right = near[TOP, one], near[BOTTOM, one], near[LEFT, one], near[RIGHT, one]
    for place in range(size):
        dy, dx = y[place] - cy, x[place] - cx
        dl, da = pixels[tile, 0, place] - cl, pixels[tile, 1, place] - ca
        db = pixels[tile, 2, place] - cb
        distance = weight * (dy * dy + dx * dx) + (dl * dl + da * da + db * db)
        outside = (y[place] < top) | (y[place] > bottom) | (x[place] < left) | (x[place] > right)
        nearer = (distance < best[place]) & (not outside)
        best[place] = distance if nearer else best[place]
        winner[place] = centre if nearer else winner[place]


@njit(cache=True, nogil=True, error_model="numpy")
def _try_all(
    pixels: np.ndarray,
    tile: int,
    size: int,
    y: np.ndarray,
    x: np.ndarray,
    centres: np.ndarray,
    weight: np.float32,
    best: np.ndarray,
    winner: np.ndarray,
) -> None:
    """Find the nearest centre for pixels outside all windows."""
    for place in range(size):
        if winner[place] >= 0:
            continue
        for centre in range(centres.shape[0]):
            one = centres[centre]
            if one[TOP] > one[BOTTOM]:
                continue
            dy, dx = y[place] - one[ROW], x[place] - one[COL]
            dl, da = pixels[tile, 0, place] - one[COLOUR], pixels[tile, 1, place] - one[COLOUR + 1]
            db = pixels[tile, 2, place] - one[COLOUR + 2]
            distance = weight * (dy * dy + dx * dx) + (dl * dl + da * da + db * db)
            if distance < best[place]:
                best[place], winner[place] = distance, centre


@njit(cache=True, nogil=True, error_model="numpy")
def _count_whole(
    tile_sums: np.ndarray, down: int, across: int, sign: float, centre: int, sums: np.ndarray
) -> None:
    """Add a tile to the sums of one centre, or subtract it (sign -1)."""
    for kind in range(6):
        sums[centre, kind] += sign * tile_sums[down, across, kind]


@njit(cache=True, nogil=True, error_model="numpy")
def _count(tiles: Tiles, down: int, across: int, winners: np.ndarray, sign: float, sums: np.ndarray) -> None:
    """Add a tile's pixels to their winners' sums run by run, or subtract them (sign -1)."""
    pixels, tile = tiles.pixels, down * tiles.traits.shape[1] + across
    left = across * TILE_COLS
    cols = min(TILE_COLS, tiles.width - left)
    for step in range(tiles.num_rows[down]):
        row = tiles.begins[down] + step
        begin = step * TILE_COLS
        place = begin
        while place < begin + cols:
            centre = winners[tile, place]
            start = place
            lum, red, yel = 0.0, 0.0, 0.0
            while place < begin + cols and winners[tile, place] == centre:
                lum += pixels[tile, 0, place]
                red += pixels[tile, 1, place]
                yel += pixels[tile, 2, place]
                place += 1
            length = sign * (place - start)
            sums[centre, 0] += length * row
            sums[centre, 1] += length * (left + 0.5 * (start + place - 1) - begin)
            sums[centre, 2] += sign * lum
            sums[centre, 3] += sign * red
            sums[centre, 4] += sign * yel
            sums[centre, 5] += length


@njit(cache=True, nogil=True, error_model="numpy")
def _count_changes(
    tiles: Tiles,
    down: int,
    across: int,
    winner: np.ndarray,
    winners: np.ndarray,
    changed: np.ndarray,
    words: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Move the pixels whose winner has changed since the previous round from one sum to the other.

    `changed` is (`SPAN`,) uint8 scratch memory; `words` is a view of it, eight bytes each.
    """
    pixels, tile = tiles.pixels, down * tiles.traits.shape[1] + across
    left = across * TILE_COLS
    cols = min(TILE_COLS, tiles.width - left)
    size = tiles.num_rows[down] * TILE_COLS
    for place in range(size):
        changed[place] = winner[place] != winners[tile, place]
    for word in range(size // 8):
        if words[word] == 0:
            continue
        for place in range(8 * word, 8 * word + 8):
            step = place % TILE_COLS
            if changed[place] == 0 or step >= cols:
                continue
            new, old = winner[place], winners[tile, place]
            row = tiles.begins[down] + place // TILE_COLS
            col = left + step
            lum, red, yel = pixels[tile, 0, place], pixels[tile, 1, place], pixels[tile, 2, place]
            sums[new, 0] += row
            sums[new, 1] += col
            sums[new, 2] += lum
            sums[new, 3] += red
            sums[new, 4] += yel
            sums[new, 5] += 1
            sums[old, 0] -= row
            sums[old, 1] -= col
            sums[old, 2] -= lum
            sums[old, 3] -= red
            sums[old, 4] -= yel
            sums[old, 5] -= 1


@njit(cache=True, nogil=True, error_model="numpy")
def write_labels(tiles: Tiles, winners: np.ndarray, sole: np.ndarray, labels: np.ndarray) -> None:
    """Write the result of `assign` into `labels`, (H, W) int32; unused rows stay unchanged."""
    num_across = tiles.traits.shape[1]
    for down in range(tiles.traits.shape[0]):
        for step in range(tiles.num_rows[down]):
            row = tiles.begins[down] + step
            for across in range(num_across):
                left, tile = across * TILE_COLS, down * num_across + across
                cols = min(TILE_COLS, tiles.width - left)
                one = sole[tile]
                for col in range(cols):
                    labels[row, left + col] = one if one >= 0 else winners[tile, step * TILE_COLS + col]
