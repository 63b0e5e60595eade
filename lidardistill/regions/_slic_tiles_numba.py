"""Numba kernels of `slic`: what is known of the image's tiles, and the first round."""

from __future__ import annotations

import numpy as np
from numba import njit

F = np.float32

# Numba's cache of `_slic_assign_numba` does not notice a change here: touch that file too.
MAX_TILE_ROWS, TILE_COLS = 32, 16

# What is known of a tile: half its extent (rows, columns, L, a, b), its middle, and its sums (the same, and pixels).
HALF, MIDDLE, SUMS, TRAITS = 0, 5, 10, 16


@njit(cache=True, nogil=True, error_model="numpy")
def describe_tiles(planes: np.ndarray, first: int, stride: int, tile_rows: int, traits: np.ndarray) -> None:
    """Box and sums of each tile.

    Args:
        planes: (3, H, W) float32, Lab over compactness.
        first, stride: rows first, first + stride, ... are used.
        tile_rows: height of a tile in rows of the image, at most `MAX_TILE_ROWS`; its width is `TILE_COLS`.
        traits: (tile rows, tile columns, `TRAITS`) float32, filled; a tile without a used row has 0 pixels.
    """
    _, height, width = planes.shape
    low = np.empty((3, width), F)
    high = np.empty((3, width), F)
    total = np.empty((3, width), F)
    for down in range(traits.shape[0]):
        begin = next_used(down * tile_rows, first, stride)
        end = min(height, (down + 1) * tile_rows)
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
def next_used(row: int, first: int, stride: int) -> int:
    """The first row from `row` on that is used."""
    return first + max(0, -((first - row) // stride)) * stride


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
