"""Numba kernel of `slic`: which centre is nearest to each pixel, and the mean of what each centre won.

The image is cut into tiles. What a tile holds lies in a box of position and colour, and the difference of two centres'
distances is linear in there, so that most centres are ruled out for a whole tile without a look at its pixels. Often
one is left: then the sums of the tile, made once, are all that is needed. Pixels are compared with what remains.
No pixel's nearest centre changes by that; `tests/regions` compares with every centre tried at every pixel.
"""

from __future__ import annotations

import numpy as np
from numba import njit

F = np.float32

TILE_ROWS, TILE_COLS = 16, 16

# What is known of a tile: half its extent (rows, columns, L, a, b), its middle, and its sums (the same, and pixels).
HALF, MIDDLE, SUMS, TRAITS = 0, 5, 10, 16
# What is known of a centre, float32; the window is the first and last row and column at which it is tried.
ROW, COL, COLOUR, TOP, BOTTOM, LEFT, RIGHT, CENTRE = 0, 1, 2, 5, 6, 7, 8, 9

# Float32 rounds distances to some 1e-6 of themselves: a centre is ruled out only if it loses by more.
_SLACK, _TINY = F(2e-5), F(1e-6)


@njit(cache=True, nogil=True, error_model="numpy")
def describe_tiles(planes: np.ndarray, first: int, stride: int, traits: np.ndarray) -> None:
    """Box and sums of each tile.

    Args:
        planes: (3, H, W) float32, Lab over compactness.
        first, stride: rows first, first + stride, ... are used.
        traits: (tile rows, tile columns, `TRAITS`) float32, filled; a tile without a used row has 0 pixels.
    """
    _, height, width = planes.shape
    low = np.empty((3, width), F)
    high = np.empty((3, width), F)
    total = np.empty((3, width), F)
    for down in range(traits.shape[0]):
        begin = _next_used(down * TILE_ROWS, first, stride)
        end = min(height, (down + 1) * TILE_ROWS)
        rows, row_sum = 0, 0
        last = begin
        low[:], high[:], total[:] = F(np.inf), F(-np.inf), F(0)
        for row in range(begin, end, stride):
            rows += 1
            row_sum += row
            last = row
            for channel in range(3):
                _widen(planes[channel, row], low[channel], high[channel], total[channel])
        for across in range(traits.shape[1]):
            left = across * TILE_COLS
            right = min(width, left + TILE_COLS)
            tile = traits[down, across]
            cols = right - left
            tile[SUMS + 5] = rows * cols
            if rows == 0:
                continue
            tile[HALF], tile[MIDDLE] = F(0.5) * (last - begin), F(0.5) * (last + begin)
            tile[HALF + 1], tile[MIDDLE + 1] = F(0.5) * (cols - 1), F(0.5) * (left + right - 1)
            tile[SUMS], tile[SUMS + 1] = row_sum * cols, rows * cols * tile[MIDDLE + 1]
            for channel in range(3):
                least, most = low[channel, left], high[channel, left]
                whole = 0.0
                for col in range(left, right):
                    least = min(least, low[channel, col])
                    most = max(most, high[channel, col])
                    whole += total[channel, col]
                tile[HALF + 2 + channel] = F(0.5) * (most - least)
                tile[MIDDLE + 2 + channel] = F(0.5) * (most + least)
                tile[SUMS + 2 + channel] = whole


@njit(cache=True, nogil=True, error_model="numpy")
def _widen(line: np.ndarray, low: np.ndarray, high: np.ndarray, total: np.ndarray) -> None:
    for col in range(line.shape[0]):
        value = line[col]
        low[col] = value if value < low[col] else low[col]
        high[col] = value if value > high[col] else high[col]
        total[col] += value


@njit(cache=True, nogil=True, error_model="numpy")
def _next_used(row: int, first: int, stride: int) -> int:
    return first + max(0, -((first - row) // stride)) * stride


@njit(cache=True, nogil=True, error_model="numpy")
def assign(
    planes: np.ndarray,
    traits: np.ndarray,
    first: int,
    stride: int,
    centres: np.ndarray,
    weight: float,
    sums: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Give every used pixel to its nearest centre among those in whose window it lies; the first wins a tie.

    The distance is weight * (rows^2 + columns^2) + the squared distance of the colours.

    Args:
        planes, first, stride, traits: as in `describe_tiles`.
        centres: (K, `CENTRE`) float32; a centre whose window is empty (top > bottom) is never tried. A pixel in no
            window goes to the nearest of all centres that have one.
        weight: float32.
        sums: (K, 6) float64: rows, columns, L, a, b and number of a centre's pixels are added; or (0, 6): not wanted.
        labels: (H, W) int32, filled with row numbers in `centres` at the used rows; or (0, 0): not wanted.
    """
    _, height, width = planes.shape
    near = np.empty((CENTRE, centres.shape[0]), F)
    ids = np.empty(centres.shape[0], np.int32)
    far = np.empty(centres.shape[0], F)
    kept = np.empty(centres.shape[0], np.int32)
    pixels = np.empty((5, TILE_ROWS * TILE_COLS), F)
    best = np.empty(TILE_ROWS * TILE_COLS, F)
    winner = np.empty(TILE_ROWS * TILE_COLS, np.int32)
    lanes = np.empty((6, TILE_COLS), F)
    for down in range(traits.shape[0]):
        begin = _next_used(down * TILE_ROWS, first, stride)
        end = min(height, (down + 1) * TILE_ROWS)
        if begin >= end:
            continue
        last = begin + (end - 1 - begin) // stride * stride
        num = 0
        for centre in range(centres.shape[0]):
            if centres[centre, TOP] <= last and centres[centre, BOTTOM] >= begin:
                near[:, num] = centres[centre]
                ids[num] = centre
                num += 1
        for across in range(traits.shape[1]):
            left = across * TILE_COLS
            right = min(width, left + TILE_COLS)
            tile = traits[down, across]
            num_kept, whole = _rule_out(near, num, tile, weight, begin, last, left, right - 1, far, kept)
            if num_kept == 1 and whole:
                centre = ids[kept[0]]
                if sums.shape[0] > 0:
                    for place in range(6):
                        sums[centre, place] += tile[SUMS + place]
                if labels.shape[0] > 0:
                    for row in range(begin, end, stride):
                        labels[row, left:right] = centre
                continue
            size = _gather(planes, begin, end, stride, left, right, pixels)
            best[:size], winner[:size] = F(np.inf), -1
            for place in range(num_kept):
                one = near[:, kept[place]]
                inside = (
                    one[TOP] <= begin and one[BOTTOM] >= last and one[LEFT] <= left and one[RIGHT] >= right - 1
                )
                if inside:
                    _try(pixels, size, one, weight, ids[kept[place]], best, winner)
                else:
                    _try_inside(pixels, size, one, weight, ids[kept[place]], best, winner)
            if not whole:
                _try_all(pixels, size, centres, weight, best, winner)
            if sums.shape[0] > 0:
                # Columns that repeat the image's border belong to nobody.
                if right - left < TILE_COLS:
                    for place in range(size):
                        if place % TILE_COLS >= right - left:
                            winner[place] = -1
                for place in range(num_kept):
                    _add_won(pixels, size, winner, ids[kept[place]], lanes, sums)
            if labels.shape[0] > 0:
                place = 0
                for row in range(begin, end, stride):
                    for col in range(left, right):
                        labels[row, col] = winner[place + col - left]
                    place += TILE_COLS


@njit(cache=True, nogil=True, error_model="numpy")
def _rule_out(
    near: np.ndarray,
    num: int,
    tile: np.ndarray,
    weight: float,
    top: int,
    bottom: int,
    left: int,
    right: int,
    far: np.ndarray,
    kept: np.ndarray,
) -> tuple[int, bool]:
    """Keep the centres that may be nearest to some pixel of a tile: how many, and whether one covers all of it."""
    my, mx, ml, ma, mb = tile[MIDDLE], tile[MIDDLE + 1], tile[MIDDLE + 2], tile[MIDDLE + 3], tile[MIDDLE + 4]
    row, col, lum, red, yel = near[ROW], near[COL], near[COLOUR], near[COLOUR + 1], near[COLOUR + 2]
    for place in range(num):
        dy, dx = row[place] - my, col[place] - mx
        dl, da, db = lum[place] - ml, red[place] - ma, yel[place] - mb
        far[place] = weight * (dy * dy + dx * dx) + (dl * dl + da * da + db * db)
    least, leader = F(np.inf), -1
    for place in range(num):
        if (
            far[place] < least
            and near[LEFT, place] <= left
            and near[RIGHT, place] >= right
            and near[TOP, place] <= top
            and near[BOTTOM, place] >= bottom
        ):
            least, leader = far[place], place
    num_kept = 0
    if leader < 0:
        for place in range(num):
            if near[LEFT, place] <= right and near[RIGHT, place] >= left:
                kept[num_kept] = place
                num_kept += 1
        return num_kept, False
    ly, lx, ll, la, lb = row[leader], col[leader], lum[leader], red[leader], yel[leader]
    two = F(2)
    hy, hx = two * weight * tile[HALF], two * weight * tile[HALF + 1]
    hl, ha, hb = two * tile[HALF + 2], two * tile[HALF + 3], two * tile[HALF + 4]
    for place in range(num):
        swing = (
            hy * abs(row[place] - ly)
            + hx * abs(col[place] - lx)
            + (hl * abs(lum[place] - ll) + ha * abs(red[place] - la) + hb * abs(yel[place] - lb))
        )
        # At most this much nearer than the leader, anywhere in the tile.
        if (
            far[place] - least - swing <= _SLACK * (far[place] + swing) + _TINY
            and near[LEFT, place] <= right
            and near[RIGHT, place] >= left
        ):
            kept[num_kept] = place
            num_kept += 1
    return num_kept, True


@njit(cache=True, nogil=True, error_model="numpy")
def _gather(
    planes: np.ndarray, begin: int, end: int, stride: int, left: int, right: int, pixels: np.ndarray
) -> int:
    """Copy a tile's row, column, L, a, b; columns past the border repeat the last one. Returns how many places."""
    place = 0
    for row in range(begin, end, stride):
        for step in range(TILE_COLS):
            pixels[0, place + step] = row
            pixels[1, place + step] = left + step
        for channel in range(3):
            line = planes[channel, row]
            out = pixels[2 + channel, place : place + TILE_COLS]
            if right - left == TILE_COLS:
                out[:] = line[left:right]
            else:
                for step in range(TILE_COLS):
                    out[step] = line[min(left + step, right - 1)]
        place += TILE_COLS
    return place


@njit(cache=True, nogil=True, error_model="numpy")
def _try(
    pixels: np.ndarray,
    size: int,
    one: np.ndarray,
    weight: float,
    centre: int,
    best: np.ndarray,
    winner: np.ndarray,
) -> None:
    """Give the pixels that are nearer to this centre than to their winner to it."""
    cy, cx, cl, ca, cb = one[ROW], one[COL], one[COLOUR], one[COLOUR + 1], one[COLOUR + 2]
    y, x, lum, red, yel = pixels[0], pixels[1], pixels[2], pixels[3], pixels[4]
    for place in range(size):
        dy, dx = y[place] - cy, x[place] - cx
        dl, da, db = lum[place] - cl, red[place] - ca, yel[place] - cb
        distance = weight * (dy * dy + dx * dx) + (dl * dl + da * da + db * db)
        nearer = distance < best[place]
        best[place] = distance if nearer else best[place]
        winner[place] = centre if nearer else winner[place]


@njit(cache=True, nogil=True, error_model="numpy")
def _try_inside(
    pixels: np.ndarray,
    size: int,
    one: np.ndarray,
    weight: float,
    centre: int,
    best: np.ndarray,
    winner: np.ndarray,
) -> None:
    """As `_try`, for the pixels in the centre's window only."""
    cy, cx, cl, ca, cb = one[ROW], one[COL], one[COLOUR], one[COLOUR + 1], one[COLOUR + 2]
    top, bottom, left, right = one[TOP], one[BOTTOM], one[LEFT], one[RIGHT]
    y, x, lum, red, yel = pixels[0], pixels[1], pixels[2], pixels[3], pixels[4]
    for place in range(size):
        dy, dx = y[place] - cy, x[place] - cx
        dl, da, db = lum[place] - cl, red[place] - ca, yel[place] - cb
        distance = weight * (dy * dy + dx * dx) + (dl * dl + da * da + db * db)
        outside = (y[place] < top) | (y[place] > bottom) | (x[place] < left) | (x[place] > right)
        nearer = (distance < best[place]) & (not outside)
        best[place] = distance if nearer else best[place]
        winner[place] = centre if nearer else winner[place]


@njit(cache=True, nogil=True, error_model="numpy")
def _try_all(
    pixels: np.ndarray, size: int, centres: np.ndarray, weight: float, best: np.ndarray, winner: np.ndarray
) -> None:
    """Find the nearest centre, windows aside, for pixels that lie in no window."""
    for place in range(size):
        if winner[place] >= 0:
            continue
        for centre in range(centres.shape[0]):
            one = centres[centre]
            if one[TOP] > one[BOTTOM]:
                continue
            dy, dx = pixels[0, place] - one[ROW], pixels[1, place] - one[COL]
            dl, da = pixels[2, place] - one[COLOUR], pixels[3, place] - one[COLOUR + 1]
            db = pixels[4, place] - one[COLOUR + 2]
            distance = weight * (dy * dy + dx * dx) + (dl * dl + da * da + db * db)
            if distance < best[place]:
                best[place], winner[place] = distance, centre


@njit(cache=True, nogil=True, error_model="numpy")
def _add_won(
    pixels: np.ndarray, size: int, winner: np.ndarray, centre: int, lanes: np.ndarray, sums: np.ndarray
) -> None:
    """Add the tile's pixels of one centre to its sums, first by column: the order, and so the result, is fixed."""
    lanes[:] = F(0)
    for place in range(0, size, TILE_COLS):
        for step in range(TILE_COLS):
            won = F(1) if winner[place + step] == centre else F(0)
            lanes[5, step] += won
            for kind in range(5):
                lanes[kind, step] += won * pixels[kind, place + step]
    for kind in range(6):
        total = 0.0
        for step in range(TILE_COLS):
            total += lanes[kind, step]
        sums[centre, kind] += total


@njit(cache=True, nogil=True, error_model="numpy")
def sum_grid(
    planes: np.ndarray,
    first: int,
    stride: int,
    row_seeds: np.ndarray,
    col_seeds: np.ndarray,
    num_cols: int,
    sums: np.ndarray,
) -> None:
    """The sums of the first round, in which colour does not count and the nearest seed is found axis by axis.

    Args:
        planes, first, stride: as in `describe_tiles`.
        row_seeds, col_seeds: (H,) and (W,) int32, the nearest seed row and column.
        num_cols: seeds in a row of the grid.
        sums: (K, 6) float64, as in `assign`; added to.
    """
    _, height, width = planes.shape
    total = np.zeros((3, width))
    rows, row_sum = 0, 0
    for row in range(first, height, stride):
        rows += 1
        row_sum += row
        for channel in range(3):
            line, whole = planes[channel, row], total[channel]
            for col in range(width):
                whole[col] += line[col]
        if row + stride < height and row_seeds[row + stride] == row_seeds[row]:
            continue
        for col in range(width):
            one = sums[row_seeds[row] * num_cols + col_seeds[col]]
            one[0] += row_sum
            one[1] += rows * col
            one[5] += rows
            for channel in range(3):
                one[2 + channel] += total[channel, col]
        total[:] = 0.0
        rows, row_sum = 0, 0
