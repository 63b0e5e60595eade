"""Numba kernels of `slic`: tiles of the image, their boxes and sums, and the first round."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

F = np.float32

# Numba's cache of `_slic_assign_numba` does not notice a change here: touch that file too.
MAX_TILE_ROWS, TILE_COLS = 32, 16

# Columns of a tile's traits: half its extent (rows, columns, L, a, b), and its middle.
HALF, MIDDLE, TRAITS = 0, 5, 10


class Tiles(NamedTuple):
    """An image in T tiles of `TILE_COLS` columns: D tile rows of A tiles.

    Attributes:
        pixels: (T, 3, P) float32, L, a, b over compactness, row by row; columns past the border repeat the
            last one.
        traits: (D, A, `TRAITS`) float32, see above.
        sums: (D, A, 6) float64 rows, columns, L, a, b and number of the tile's pixels.
        begins: (D,) int64 first row of the image in a tile row.
        num_rows: (D,) int64 rows of a tile row.
        width: columns of the image.
    """

    pixels: np.ndarray
    traits: np.ndarray
    sums: np.ndarray
    begins: np.ndarray
    num_rows: np.ndarray
    width: int


def cut_tiles(planes: np.ndarray, tile_rows: int) -> Tiles:
    """Cut an image into tiles.

    Args:
        planes: (3, H, W) float32, Lab over compactness.
        tile_rows: height of a tile in rows of the image, at most `MAX_TILE_ROWS`.
    """
    _, height, width = planes.shape
    begins = np.arange(0, height, tile_rows)
    num_rows = np.minimum(begins + tile_rows, height) - begins
    grid = len(begins), -(-width // TILE_COLS)
    tiles = Tiles(
        pixels=np.empty((grid[0] * grid[1], 3, int(num_rows.max()) * TILE_COLS), F),
        traits=np.zeros((*grid, TRAITS), F),
        sums=np.zeros((*grid, 6)),
        begins=begins,
        num_rows=num_rows,
        width=width,
    )
    fill_tiles(planes, tiles)
    return tiles


@njit(cache=True, nogil=True, error_model="numpy")
def fill_tiles(planes: np.ndarray, tiles: Tiles) -> None:
    """Copy the pixels, and compute box and sums of each tile."""
    pixels, traits, sums = tiles.pixels, tiles.traits, tiles.sums
    num_across = traits.shape[1]
    line = np.empty(num_across * TILE_COLS, F)
    low, high = np.empty((3, line.shape[0]), F), np.empty((3, line.shape[0]), F)
    total = np.empty((3, line.shape[0]))
    for down in range(traits.shape[0]):
        begin, rows = tiles.begins[down], tiles.num_rows[down]
        low[:], high[:], total[:] = F(np.inf), F(-np.inf), 0.0
        for channel in range(3):
            for step in range(rows):
                source = planes[channel, begin + step]
                for col in range(tiles.width):
                    line[col] = source[col]
                for col in range(tiles.width, line.shape[0]):
                    line[col] = source[tiles.width - 1]
                _widen(line, low[channel], high[channel], total[channel])
                _deal(line, pixels, down * num_across, num_across, channel, step)
        last = begin + rows - 1
        for across in range(num_across):
            left = across * TILE_COLS
            cols = min(TILE_COLS, tiles.width - left)
            tile, whole = traits[down, across], sums[down, across]
            tile[HALF], tile[MIDDLE] = F(0.5) * (last - begin), F(0.5) * (last + begin)
            tile[HALF + 1], tile[MIDDLE + 1] = F(0.5) * (cols - 1), F(0.5) * (2 * left + cols - 1)
            whole[0], whole[1] = rows * cols * 0.5 * (last + begin), rows * cols * 0.5 * (2 * left + cols - 1)
            whole[5] = rows * cols
            for channel in range(3):
                least, most = low[channel, left], high[channel, left]
                whole[2 + channel] = 0.0
                for col in range(left, left + cols):
                    least = min(least, low[channel, col])
                    most = max(most, high[channel, col])
                    whole[2 + channel] += total[channel, col]
                tile[HALF + 2 + channel] = F(0.5) * (most - least)
                tile[MIDDLE + 2 + channel] = F(0.5) * (most + least)


@njit(cache=True, nogil=True, error_model="numpy")
def _deal(line: np.ndarray, pixels: np.ndarray, first: int, num: int, channel: int, step: int) -> None:
    """Copy one row of the image to its tiles."""
    for across in range(num):
        for col in range(TILE_COLS):
            pixels[first + across, channel, step * TILE_COLS + col] = line[across * TILE_COLS + col]


@njit(cache=True, nogil=True, error_model="numpy")
def _widen(line: np.ndarray, low: np.ndarray, high: np.ndarray, total: np.ndarray) -> None:
    """Update minimum, maximum and sum of each column."""
    for col in range(line.shape[0]):
        value = line[col]
        low[col] = value if value < low[col] else low[col]
        high[col] = value if value > high[col] else high[col]
        total[col] += value


@njit(cache=True, nogil=True, error_model="numpy")
def sum_grid(
    planes: np.ndarray,
    row_seeds: np.ndarray,
    col_seeds: np.ndarray,
    num_cols: int,
    sums: np.ndarray,
) -> None:
    """Add up the first round: colour does not count, and the nearest seed is found axis by axis.

    Args:
        planes: as in `cut_tiles`.
        row_seeds, col_seeds: (H,) and (W,) int32, the nearest seed row and column.
        num_cols: seeds in a row of the grid.
        sums: (K, 6) float64, as in `assign`; the function adds to it.
    """
    _, height, width = planes.shape
    total = np.zeros((3, width))
    rows, row_sum = 0, 0
    for row in range(height):
        rows += 1
        row_sum += row
        for channel in range(3):
            line, whole = planes[channel, row], total[channel]
            for col in range(width):
                whole[col] += line[col]
        if row + 1 < height and row_seeds[row + 1] == row_seeds[row]:
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
