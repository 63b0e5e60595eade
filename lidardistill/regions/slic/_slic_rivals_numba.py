"""Numba kernel of `slic`: find the centres that can be nearest to some pixel of a tile.

The pixels of a tile lie in a box of position and colour, and the difference of two centres' distances is
linear in it. This rules out most centres for a whole tile without reading its pixels.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lidardistill.regions.slic._slic_tiles_numba import HALF, MIDDLE

F = np.float32

# Columns of a centre, float32; the window is the first and last row and column at which it is tried.
# Numba's cache of `_slic_assign_numba` does not notice a change here: touch that file too.
ROW, COL, COLOUR, TOP, BOTTOM, LEFT, RIGHT, CENTRE = 0, 1, 2, 5, 6, 7, 8, 9
# Additional column for a row of tiles: LEFT, or infinity if the window does not cover all rows.
COVER_LEFT, NEAR = CENTRE, CENTRE + 1

LANES = 64
"""Centres of one vectorised loop; a smaller remainder would run one by one."""

# The relative rounding error of float32 distances is some 1e-6: only a larger difference rules out a centre.
_SLACK, _TINY = F(2e-5), F(1e-6)


@njit(cache=True, nogil=True, error_model="numpy")
def place_centres(sums: np.ndarray, reach_y: int, reach_x: int, height: int, width: int) -> np.ndarray:
    """Return (K, `CENTRE`) float32 from the sums of each centre's pixels; no pixels give an empty window.

    Args:
        sums: (K, 6) float64 rows, columns, L, a, b and number.
        reach_y, reach_x: rows and columns on either side of a centre at which it is tried.
        height, width: size of the image.
    """
    centres = np.empty((sums.shape[0], CENTRE), F)
    for one in range(sums.shape[0]):
        count = sums[one, 5]
        for kind in range(5):
            centres[one, kind] = sums[one, kind] / max(count, 1.0)
        y, x = sums[one, 0] / max(count, 1.0), sums[one, 1] / max(count, 1.0)
        centres[one, TOP] = np.floor(max(y - reach_y, 0.0)) if count > 0 else 1
        centres[one, BOTTOM] = np.floor(min(y + reach_y + 1, float(height))) - 1 if count > 0 else 0
        centres[one, LEFT] = np.floor(max(x - reach_x, 0.0))
        centres[one, RIGHT] = np.floor(min(x + reach_x + 1, float(width))) - 1
    return centres


@njit(cache=True, nogil=True, error_model="numpy")
def find_near(centres: np.ndarray, top: int, bottom: int, near: np.ndarray, ids: np.ndarray) -> int:
    """Collect the centres whose windows touch some rows, and their ids; return their number."""
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
def narrow(
    near: np.ndarray,
    ids: np.ndarray,
    num: int,
    left: int,
    right: int,
    some: np.ndarray,
    some_ids: np.ndarray,
) -> int:
    """Collect the centres of `find_near` whose windows touch some columns; return their number.

    `some` has room for a whole number of `LANES`; centres with empty windows fill the rest.
    """
    count = 0
    for place in range(num):
        if near[LEFT, place] <= right and near[RIGHT, place] >= left:
            for kind in range(NEAR):
                some[kind, count] = near[kind, place]
            some_ids[count] = ids[place]
            count += 1
    for place in range(count, padded(count)):
        some[LEFT, place] = some[COVER_LEFT, place] = F(np.inf)
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def padded(num: int) -> int:
    """Return `num`, rounded up to whole `LANES`."""
    return (num + LANES - 1) // LANES * LANES


@njit(cache=True, nogil=True, error_model="numpy")
def rule_out(
    near: np.ndarray,
    num: int,
    traits: np.ndarray,
    down: int,
    across: int,
    weight: np.float32,
    left: int,
    right: int,
    far: np.ndarray,
    lead: np.ndarray,
    kept: np.ndarray,
) -> tuple[int, bool]:
    """Keep the centres that can be nearest to some pixel of a tile.

    Args:
        near, num: results of `narrow`.
        traits, down, across: the tile.
        weight: weight of position against colour.
        left, right: first and last column of the tile.
        far, lead: (K,) float32 scratch memory.
        kept: (K,) int32, filled with places in `near`.

    Returns:
        The number of kept centres, and whether one window covers the whole tile.
    """
    lanes = padded(num)
    row, col = traits[down, across, MIDDLE], traits[down, across, MIDDLE + 1]
    lum, red = traits[down, across, MIDDLE + 2], traits[down, across, MIDDLE + 3]
    yel = traits[down, across, MIDDLE + 4]
    for place in range(lanes):
        dy, dx = near[ROW, place] - row, near[COL, place] - col
        dl, da, db = near[COLOUR, place] - lum, near[COLOUR + 1, place] - red, near[COLOUR + 2, place] - yel
        distance = weight * (dy * dy + dx * dx) + (dl * dl + da * da + db * db)
        covers = (near[COVER_LEFT, place] <= F(left)) & (near[RIGHT, place] >= F(right))
        far[place] = distance
        lead[place] = distance if covers else F(np.inf)
    least, leader = F(np.inf), -1
    for place in range(num):
        if lead[place] < least:
            least, leader = lead[place], place
    # The difference of two distances is linear in the pixel, so it differs by at most `swing` from its value
    # in the middle of the box. Without a leader, `least` is infinite and all centres whose windows reach the
    # tile stay.
    two, best = F(2), max(leader, 0)
    row, col = near[ROW, best], near[COL, best]
    lum, red, yel = near[COLOUR, best], near[COLOUR + 1, best], near[COLOUR + 2, best]
    high, wide = two * weight * traits[down, across, HALF], two * weight * traits[down, across, HALF + 1]
    half_l, half_a = two * traits[down, across, HALF + 2], two * traits[down, across, HALF + 3]
    half_b = two * traits[down, across, HALF + 4]
    for place in range(lanes):
        swing = high * abs(near[ROW, place] - row) + wide * abs(near[COL, place] - col)
        swing += half_l * abs(near[COLOUR, place] - lum) + half_a * abs(near[COLOUR + 1, place] - red)
        swing += half_b * abs(near[COLOUR + 2, place] - yel)
        reaches = (near[LEFT, place] <= F(right)) & (near[RIGHT, place] >= F(left))
        distance = far[place] - swing - _SLACK * (far[place] + swing)
        lead[place] = distance if reaches else F(np.inf)
    num_kept = 0
    for place in range(num):
        if lead[place] <= least + _TINY:
            kept[num_kept] = place
            num_kept += 1
    return num_kept, leader >= 0
