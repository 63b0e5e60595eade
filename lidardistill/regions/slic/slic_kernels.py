"""SLIC with our own kernels: the segmentation of scikit-image 0.18 in float32, computed faster.

The steps: smoothed Lab, seeds on a grid, ten rounds of assignment and means, connected pieces. Three details
decide the result and are missing in descriptions of SLIC: the first round uses position alone, a centre is
tried within two grid steps of it, and small pieces join the neighbour that the search meets last.
"""

from __future__ import annotations

import numpy as np

from lidardistill.regions.slic._slic_assign_numba import UNKNOWN, assign, write_labels
from lidardistill.regions.slic._slic_connect_numba import connect, connect_by_search
from lidardistill.regions.slic._slic_lab_numba import LINEAR, gaussian_weights, smooth_lab
from lidardistill.regions.slic._slic_rivals_numba import place_centres
from lidardistill.regions.slic._slic_tiles_numba import MAX_TILE_ROWS, Tiles, cut_tiles, sum_grid

# scikit-image's number. The centres have not converged by then, so another number gives another map.
ROUNDS = 10
_LEAST_SIZE, _MOST_SIZE = 0.5, 3.0  # scikit-image's bounds of a piece, in mean sizes


def segment_image(image: np.ndarray, num_superpixels: int, compactness: float, sigma: float) -> np.ndarray:
    """Compute the superpixels of one image, on one thread, without the interpreter's lock.

    Args:
        image: (H, W, 3) uint8, RGB.
        num_superpixels, compactness, sigma: see `slic.slic`.

    Returns:
        (H, W) int32, ids 0..n-1 without a gap. The result is bit-equal at each call.
    """
    height, width, _ = image.shape
    # Numba compiles anew for an array of another layout, or one that is read-only.
    image = np.require(image, requirements=("C", "W"))
    planes = np.empty((3, height, width), np.float32)
    smooth_lab(image, LINEAR, gaussian_weights(sigma), np.float32(1.0 / compactness), planes)
    seed_rows, seed_cols = seed_grid((height, width), num_superpixels)
    count = len(seed_rows) * len(seed_cols)
    raw = _nearest(planes, seed_rows, seed_cols)
    mean_size = height * width / count
    labels = np.empty((height, width), np.int32)
    least, most = int(_LEAST_SIZE * mean_size), int(_MOST_SIZE * mean_size)
    if connect(raw, least, most, labels) < 0:
        connect_by_search(raw, least, most, labels)
    return labels


def seed_grid(image_size: tuple[int, int], num: int) -> tuple[range, range]:
    """Return rows and columns of the seeds: a grid of squares of the right area, half a step from the border.

    Args:
        image_size: (H, W), pixels.
        num: requested number of seeds; at the number of pixels, every pixel is one.

    Returns:
        Rows and columns; their steps are the grid's.
    """
    height, width = image_size
    if num >= height * width:
        return range(height), range(width)
    short, long = min(height, width), max(height, width)
    steps = {side: float(np.sqrt(short * long / num)) for side in (short, long)}
    if steps[short] > short:  # one line of seeds along the long side
        steps = {short: float(short), long: long / num} if short != long else {long: long / num}
    rows, cols = (range(int(steps[side] // 2), side, max(1, round(steps[side]))) for side in (height, width))
    return rows, cols


def _nearest(planes: np.ndarray, seed_rows: range, seed_cols: range) -> np.ndarray:
    """Return (H, W) int32: the centre of each pixel after `ROUNDS` rounds."""
    _, height, width = planes.shape
    tile_rows = min(MAX_TILE_ROWS, max(4, seed_rows.step // 3))  # measured: 32 at full size, 16 at half
    count = len(seed_rows) * len(seed_cols)
    weight = np.float32(1.0 / max(seed_rows.step, seed_cols.step) ** 2)
    # The windows use the grid of the actual number of seeds.
    actual_rows, actual_cols = seed_grid((height, width), count)
    reach = 2 * actual_rows.step, 2 * actual_cols.step
    sums = np.zeros((count, 6))
    seeds = nearest_seed(seed_rows, height), nearest_seed(seed_cols, width)
    sum_grid(planes, *seeds, len(seed_cols), sums)
    tiles = cut_tiles(planes, tile_rows)
    winners, sole = no_winners(tiles)
    centres = place_centres(sums, *reach, height, width)
    sums[:] = 0
    for _ in range(ROUNDS - 2):
        assign(tiles, centres, weight, winners, sole, sums)
        centres = place_centres(sums, *reach, height, width)
    assign(tiles, centres, weight, winners, sole, np.empty((0, 6)))
    labels = np.empty((height, width), np.int32)
    write_labels(tiles, winners, sole, labels)
    return labels


def no_winners(tiles: Tiles) -> tuple[np.ndarray, np.ndarray]:
    """Return the initial `winners` and `sole` of `assign`."""
    num_tiles, _, num_pixels = tiles.pixels.shape
    return np.empty((num_tiles, num_pixels), np.int32), np.full(num_tiles, UNKNOWN, np.int32)


def nearest_seed(seeds: range, size: int) -> np.ndarray:
    """Return (size,) int32: the nearest seed of each place on one axis; the first one wins a tie."""
    place = np.arange(size)
    index = -((2 * (seeds.start - place) + seeds.step) // (2 * seeds.step))
    return np.clip(index, 0, len(seeds) - 1).astype(np.int32)


def compile_kernels() -> None:
    """Compile the kernel that only some images use; `segment_image` of any image compiles the others."""
    labels = np.zeros((1, 1), np.int32)
    connect_by_search(labels, 0, 1, np.empty_like(labels))
