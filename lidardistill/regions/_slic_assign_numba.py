"""Numba kernel of `slic`: which centre is nearest to each pixel, and the mean of what each centre won.

The image is cut into tiles. What a tile holds lies in a box of position and colour, and the difference of two centres'
distances is linear in there, so that most centres are ruled out for a whole tile without a look at its pixels. Often
one is left: then the sums of the tile, made once, are all that is needed. Pixels are compared with what remains.
No pixel's nearest centre changes by that; `tests/regions` compares with every centre tried at every pixel.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lidardistill.regions._slic_tiles_numba import HALF, MAX_TILE_ROWS, MIDDLE, SUMS, TILE_COLS, next_used

F = np.float32

# What is known of a centre, float32; the window is the first and last row and column at which it is tried.
ROW, COL, COLOUR, TOP, BOTTOM, LEFT, RIGHT, CENTRE = 0, 1, 2, 5, 6, 7, 8, 9
# Beside a row of tiles also: LEFT, or infinity if the window does not cover all rows.
COVER_LEFT = CENTRE

# Places between a tile's rows, columns, L, a and b in one flat array: LLVM likes one.
SPAN = MAX_TILE_ROWS * TILE_COLS

# Float32 rounds distances to some 1e-6 of themselves: a centre is ruled out only if it loses by more.
_SLACK, _TINY = F(2e-5), F(1e-6)


@njit(cache=True, nogil=True, error_model="numpy")
def assign(
    planes: np.ndarray,
    traits: np.ndarray,
    first: int,
    stride: int,
    tile_rows: int,
    centres: np.ndarray,
    weight: np.float32,
    sums: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Give every used pixel to its nearest centre among those in whose window it lies; the first wins a tie.

    The distance is weight * (rows^2 + columns^2) + the squared distance of the colours.

    Args:
        planes, traits, first, stride, tile_rows: as in `_slic_tiles_numba.describe_tiles`.
        centres: (K, `CENTRE`) float32; a centre whose window is empty (top > bottom) is never tried. A pixel in no
            window goes to the nearest of all centres that have one.
        weight: of position against colour, see `segment_image`.
        sums: (K, 6) float64: rows, columns, L, a, b and number of a centre's pixels are added; or (0, 6): not wanted.
        labels: (H, W) int32, filled with row numbers in `centres` at the used rows; or (0, 0): not wanted.
    """
    _, height, width = planes.shape
    near = np.empty((CENTRE + 1, centres.shape[0]), F)
    ids = np.empty(centres.shape[0], np.int32)
    work = np.empty((3, centres.shape[0]), F)
    kept = np.empty(centres.shape[0], np.int32)
    pixels = np.empty(5 * SPAN, F)
    best = np.empty(SPAN, F)
    winner = np.empty(SPAN, np.int32)
    for down in range(traits.shape[0]):
        begin = next_used(down * tile_rows, first, stride)
        end = min(height, (down + 1) * tile_rows)
        if begin >= end:
            continue
        last = begin + (end - 1 - begin) // stride * stride
        num = _find_near(centres, begin, last, near, ids)
        for across in range(traits.shape[1]):
            left = across * TILE_COLS
            right = min(width, left + TILE_COLS)
            tile = traits[down, across]
            num_kept, whole = _rule_out(near, num, tile, weight, left, right - 1, work, kept)
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
            for place in range(size):
                best[place] = F(np.inf)
                winner[place] = -1
            for place in range(num_kept):
                one = kept[place]
                inside = near[COVER_LEFT, one] <= left and near[RIGHT, one] >= right - 1
                if inside:
                    _try(pixels, size, near, one, weight, ids[one], best, winner)
                else:
                    _try_inside(pixels, size, near, one, weight, ids[one], best, winner)
            if not whole:
                _try_all(pixels, size, centres, weight, best, winner)
            if sums.shape[0] > 0:
                _add_won(pixels, size, right - left, winner, sums)
            if labels.shape[0] > 0:
                place = 0
                for row in range(begin, end, stride):
                    for col in range(left, right):
                        labels[row, col] = winner[place + col - left]
                    place += TILE_COLS


@njit(cache=True, nogil=True, error_model="numpy")
def _find_near(centres: np.ndarray, top: int, bottom: int, near: np.ndarray, ids: np.ndarray) -> int:
    """Collect the centres whose windows touch some rows, number by number, and their ids; returns how many."""
    num = 0
    for centre in range(centres.shape[0]):
        one = centres[centre]
        if one[TOP] <= bottom and one[BOTTOM] >= top:
            for kind in range(CENTRE):
                near[kind, num] = one[kind]
            near[COVER_LEFT, num] = one[LEFT] if one[TOP] <= top and one[BOTTOM] >= bottom else F(np.inf)
            ids[num] = centre
            num += 1
    return num


@njit(cache=True, nogil=True, error_model="numpy")
def _rule_out(
    near: np.ndarray,
    num: int,
    tile: np.ndarray,
    weight: np.float32,
    left: int,
    right: int,
    work: np.ndarray,
    kept: np.ndarray,
) -> tuple[int, bool]:
    """Keep the centres that may be nearest to some pixel of a tile: how many, and whether one covers all of it."""
    far, lead, swing = work[0], work[1], work[2]
    for place in range(num):
        far[place] = F(0)
        swing[place] = F(0)
    # One short loop for each number: LLVM turns only these into SIMD instructions.
    _add_squares(near[ROW], num, tile[MIDDLE], weight, far)
    _add_squares(near[COL], num, tile[MIDDLE + 1], weight, far)
    for channel in range(3):
        _add_squares(near[COLOUR + channel], num, tile[MIDDLE + 2 + channel], F(1), far)
    _hide(far, near[COVER_LEFT], near[RIGHT], num, F(left), F(right), lead)
    least, leader = F(np.inf), -1
    for place in range(num):
        if lead[place] < least:
            least, leader = lead[place], place
    if leader >= 0:
        # The difference of two distances is linear in the pixel: this much does it vary from the middle of the box.
        two = F(2)
        _add_swings(near[ROW], num, near[ROW, leader], two * weight * tile[HALF], swing)
        _add_swings(near[COL], num, near[COL, leader], two * weight * tile[HALF + 1], swing)
        for channel in range(3):
            values = near[COLOUR + channel]
            _add_swings(values, num, values[leader], two * tile[HALF + 2 + channel], swing)
    # Hidden ones do not reach the tile at all. Without a leader `least` is infinite and the others stay.
    _hide(far, near[LEFT], near[RIGHT], num, F(right), F(left), lead)
    num_kept = 0
    limit = least + _TINY
    for place in range(num):
        if lead[place] - swing[place] - _SLACK * (far[place] + swing[place]) <= limit:
            kept[num_kept] = place
            num_kept += 1
    return num_kept, leader >= 0


@njit(cache=True, nogil=True, error_model="numpy")
def _add_squares(
    values: np.ndarray, num: int, middle: np.float32, weight: np.float32, out: np.ndarray
) -> None:
    for place in range(num):
        apart = values[place] - middle
        out[place] += weight * (apart * apart)


@njit(cache=True, nogil=True, error_model="numpy")
def _add_swings(values: np.ndarray, num: int, leader: np.float32, half: np.float32, out: np.ndarray) -> None:
    for place in range(num):
        out[place] += half * abs(values[place] - leader)


@njit(cache=True, nogil=True, error_model="numpy")
def _hide(
    far: np.ndarray,
    lefts: np.ndarray,
    rights: np.ndarray,
    num: int,
    left: np.float32,
    right: np.float32,
    out: np.ndarray,
) -> None:
    """Copy distances; infinity for a window that begins after `left` or ends before `right`."""
    for place in range(num):
        inside = (lefts[place] <= left) & (rights[place] >= right)
        out[place] = far[place] if inside else F(np.inf)


@njit(cache=True, nogil=True, error_model="numpy")
def _gather(
    planes: np.ndarray, begin: int, end: int, stride: int, left: int, right: int, pixels: np.ndarray
) -> int:
    """Copy a tile's row, column, L, a, b; columns past the border repeat the last one. Returns how many places."""
    place = 0
    for row in range(begin, end, stride):
        for step in range(TILE_COLS):
            pixels[place + step] = F(row)
            pixels[SPAN + place + step] = F(left + step)
        if right - left == TILE_COLS:
            for step in range(TILE_COLS):
                pixels[2 * SPAN + place + step] = planes[0, row, left + step]
                pixels[3 * SPAN + place + step] = planes[1, row, left + step]
                pixels[4 * SPAN + place + step] = planes[2, row, left + step]
        else:
            for step in range(TILE_COLS):
                col = min(left + step, right - 1)
                for channel in range(3):
                    pixels[(2 + channel) * SPAN + place + step] = planes[channel, row, col]
        place += TILE_COLS
    return place


@njit(cache=True, nogil=True, error_model="numpy")
def _try(
    pixels: np.ndarray,
    size: int,
    near: np.ndarray,
    one: int,
    weight: np.float32,
    centre: int,
    best: np.ndarray,
    winner: np.ndarray,
) -> None:
    """Give the pixels that are nearer to this centre than to their winner to it."""
    cy, cx = near[ROW, one], near[COL, one]
    cl, ca, cb = near[COLOUR, one], near[COLOUR + 1, one], near[COLOUR + 2, one]
    for place in range(size):
        dy, dx = pixels[place] - cy, pixels[SPAN + place] - cx
        dl, da = pixels[2 * SPAN + place] - cl, pixels[3 * SPAN + place] - ca
        db = pixels[4 * SPAN + place] - cb
        distance = weight * (dy * dy + dx * dx) + (dl * dl + da * da + db * db)
        nearer = distance < best[place]
        best[place] = distance if nearer else best[place]
        winner[place] = centre if nearer else winner[place]


@njit(cache=True, nogil=True, error_model="numpy")
def _try_inside(
    pixels: np.ndarray,
    size: int,
    near: np.ndarray,
    one: int,
    weight: np.float32,
    centre: int,
    best: np.ndarray,
    winner: np.ndarray,
) -> None:
    """As `_try`, for the pixels in the centre's window only."""
    cy, cx = near[ROW, one], near[COL, one]
    cl, ca, cb = near[COLOUR, one], near[COLOUR + 1, one], near[COLOUR + 2, one]
    top, bottom, left, right = near[TOP, one], near[BOTTOM, one], near[LEFT, one], near[RIGHT, one]
    for place in range(size):
        y, x = pixels[place], pixels[SPAN + place]
        dy, dx = y - cy, x - cx
        dl, da = pixels[2 * SPAN + place] - cl, pixels[3 * SPAN + place] - ca
        db = pixels[4 * SPAN + place] - cb
        distance = weight * (dy * dy + dx * dx) + (dl * dl + da * da + db * db)
        outside = (y < top) | (y > bottom) | (x < left) | (x > right)
        nearer = (distance < best[place]) & (not outside)
        best[place] = distance if nearer else best[place]
        winner[place] = centre if nearer else winner[place]


@njit(cache=True, nogil=True, error_model="numpy")
def _try_all(
    pixels: np.ndarray,
    size: int,
    centres: np.ndarray,
    weight: np.float32,
    best: np.ndarray,
    winner: np.ndarray,
) -> None:
    """Find the nearest centre, windows aside, for pixels that lie in no window."""
    for place in range(size):
        if winner[place] >= 0:
            continue
        for centre in range(centres.shape[0]):
            one = centres[centre]
            if one[TOP] > one[BOTTOM]:
                continue
            dy, dx = pixels[place] - one[ROW], pixels[SPAN + place] - one[COL]
            dl, da = pixels[2 * SPAN + place] - one[COLOUR], pixels[3 * SPAN + place] - one[COLOUR + 1]
            db = pixels[4 * SPAN + place] - one[COLOUR + 2]
            distance = weight * (dy * dy + dx * dx) + (dl * dl + da * da + db * db)
            if distance < best[place]:
                best[place], winner[place] = distance, centre


@njit(cache=True, nogil=True, error_model="numpy")
def _add_won(pixels: np.ndarray, size: int, cols: int, winner: np.ndarray, sums: np.ndarray) -> None:
    """Add the tile's pixels to their winners' sums, run by run."""
    for begin in range(0, size, TILE_COLS):
        place = begin
        end = begin + cols
        while place < end:
            centre = winner[place]
            start = place
            lum, red, yel = 0.0, 0.0, 0.0
            while place < end and winner[place] == centre:
                lum += pixels[2 * SPAN + place]
                red += pixels[3 * SPAN + place]
                yel += pixels[4 * SPAN + place]
                place += 1
            length = place - start
            one = sums[centre]
            one[0] += length * pixels[start]
            one[1] += 0.5 * length * (pixels[SPAN + start] + pixels[SPAN + place - 1])
            one[2] += lum
            one[3] += red
            one[4] += yel
            one[5] += length
