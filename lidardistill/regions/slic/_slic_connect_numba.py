"""Numba kernels of `slic`: cut a label map into connected pieces and merge small ones with a neighbour.

Pieces are numbered in raster order of their first pixels. A piece smaller than `least` joins an earlier
piece: the last one that a breadth-first search through it meets. A piece ends when it has `most` pixels.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def connect(labels: np.ndarray, least: int, most: int, out: np.ndarray) -> int:
    """Join runs of equal labels row by row; search only small pieces pixel by pixel.

    Args:
        labels: (H, W) int32.
        least, most: smallest and largest number of pixels of a piece.
        out: (H, W) int32, filled with 0..n - 1.

    Returns:
        n; or -1, with invalid `out`, if a piece has `most` pixels or more: then use `connect_by_search`.
    """
    height, width = labels.shape
    num_runs = _count_runs(labels)
    begins = np.empty(num_runs + 1, np.int32)
    parents = np.empty(num_runs, np.int32)
    row_runs = np.empty(height + 1, np.int32)
    _link_runs(labels, begins, parents, row_runs)
    sizes = np.zeros(num_runs, np.int32)
    for run in range(num_runs):
        # A parent precedes its child, so it already points at the root.
        parents[run] = parents[parents[run]]
        sizes[parents[run]] += begins[run + 1] - begins[run]
    if sizes.max() >= most:
        return -1
    flat = out.reshape(-1)
    for run in range(num_runs):
        flat[begins[run] : begins[run + 1]] = parents[run]
    queue = np.empty(max(least, 1), np.int32)
    # Numbers of the pieces by root; -1 for pieces without one yet.
    names = np.full(num_runs, -1, np.int32)
    count = 0
    for run in range(num_runs):
        if parents[run] != run:
            continue
        if sizes[run] >= least:
            names[run] = count
            count += 1
        else:
            names[run] = _last_met(flat, begins[run], run, names, height, width, queue)
    for run in range(num_runs):
        flat[begins[run] : begins[run + 1]] = names[parents[run]]
    return max(count, 1)


@njit(cache=True, nogil=True)
def _count_runs(labels: np.ndarray) -> int:
    height, width = labels.shape
    total = height
    for row in range(height):
        line = labels[row]
        for col in range(1, width):
            total += 1 if line[col] != line[col - 1] else 0
    return total


@njit(cache=True, nogil=True)
def _root(parents: np.ndarray, run: int) -> int:
    while parents[run] != run:
        parents[run] = parents[parents[run]]
        run = parents[run]
    return run


@njit(cache=True, nogil=True)
def _link_runs(labels: np.ndarray, begins: np.ndarray, parents: np.ndarray, row_runs: np.ndarray) -> None:
    """Find the runs as places in the flat image and link touching ones; a piece's root is its first run."""
    height, width = labels.shape
    num = 0
    for row in range(height):
        row_runs[row] = num
        line = labels[row]
        above = row_runs[row - 1] if row > 0 else 0
        stop = row_runs[row]
        col = 0
        while col < width:
            value = line[col]
            begin = col
            col += 1
            while col < width and line[col] == value:
                col += 1
            begins[num] = row * width + begin
            parents[num] = num
            # Runs of the row above that end after `begin` and start before `col`.
            if row > 0:
                shift = (row - 1) * width
                while above < stop and begins[above + 1] - shift <= begin:
                    above += 1
                other = above
                while other < stop and begins[other] - shift < col:
                    if labels[row - 1, begins[other] - shift] == value:
                        first, second = _root(parents, other), _root(parents, num)
                        if first < second:
                            parents[second] = first
                        elif second < first:
                            parents[first] = second
                    other += 1
            num += 1
            begins[num] = row * width + col
    row_runs[height] = num


@njit(cache=True, nogil=True)
def _last_met(
    roots: np.ndarray, start: int, piece: int, names: np.ndarray, height: int, width: int, queue: np.ndarray
) -> int:
    """Search a small piece; return the number of the last numbered neighbour met, 0 without any.

    `roots` temporarily marks the seen pixels as -1 - piece; it is restored at the end.
    """
    adjacent = 0
    queue[0] = start
    roots[start] = -1 - piece
    size, seen = 1, 0
    while seen < size:
        place = queue[seen]
        seen += 1
        row, col = place // width, place % width
        for side in range(4):
            if side == 0:
                inside, other = col + 1 < width, place + 1
            elif side == 1:
                inside, other = col > 0, place - 1
            elif side == 2:
                inside, other = row + 1 < height, place + width
            else:
                inside, other = row > 0, place - width
            if not inside:
                continue
            root = roots[other]
            if root == piece:
                roots[other] = -1 - piece
                queue[size] = other
                size += 1
            elif root >= 0 and names[root] >= 0:
                adjacent = names[root]
    for place in range(size):
        roots[queue[place]] = piece
    return adjacent


@njit(cache=True, nogil=True)
def connect_by_search(labels: np.ndarray, least: int, most: int, out: np.ndarray) -> int:
    """Slow twin of `connect`, pixel by pixel, for pieces of any size; return the number of pieces."""
    height, width = labels.shape
    flat, named = labels.reshape(-1), out.reshape(-1)
    named[:] = -1
    queue = np.empty(flat.shape[0], np.int32)
    count = 0
    for start in range(flat.shape[0]):
        if named[start] >= 0:
            continue
        adjacent = 0
        named[start] = count
        queue[0] = start
        size, seen = 1, 0
        while seen < size < most:
            place = queue[seen]
            seen += 1
            row, col = place // width, place % width
            for side in range(4):
                if side == 0:
                    inside, other = col + 1 < width, place + 1
                elif side == 1:
                    inside, other = col > 0, place - 1
                elif side == 2:
                    inside, other = row + 1 < height, place + width
                else:
                    inside, other = row > 0, place - width
                if not inside:
                    continue
                if named[other] < 0 and flat[other] == flat[start]:
                    named[other] = count
                    queue[size] = other
                    size += 1
                    if size >= most:
                        break
                elif named[other] >= 0 and named[other] != count:
                    adjacent = named[other]
        if size < least:
            for place in range(size):
                named[queue[place]] = adjacent
        else:
            count += 1
    return max(count, 1)
