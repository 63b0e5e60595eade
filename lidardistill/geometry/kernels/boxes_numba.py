"""Points in boxes and boxes on boxes, fast. Twin: `boxes_numpy`."""

from __future__ import annotations

import numpy as np
from numba import njit

CELL_M = 4.0
MAX_CELLS = 256
"""Of a side; what is spread wider gets larger cells."""


@njit(cache=True, nogil=True)
def points_in_boxes(x, y, z, boxes):  # type: ignore[no-untyped-def]
    """See `boxes.points_in_boxes`; x, y, z (N,) and boxes (B, 7) float64.

    Points are sorted into the cells of a coarse map, and a box looks only into those that it may touch.
    """
    offsets = np.zeros(len(boxes) + 1, np.int64)
    if len(boxes) == 0 or len(x) == 0:
        return np.empty(0, np.int64), offsets
    # A little more than half the diagonal, so that rounding loses no corner.
    reach = 0.5 * np.sqrt(boxes[:, 3] ** 2 + boxes[:, 4] ** 2) * 1.000001 + 1e-6
    low_x, low_y = (boxes[:, 0] - reach).min(), (boxes[:, 1] - reach).min()
    high_x, high_y = (boxes[:, 0] + reach).max(), (boxes[:, 1] + reach).max()
    cell = max(CELL_M, max(high_x - low_x, high_y - low_y) / MAX_CELLS)
    across = np.int64((high_x - low_x) / cell) + 1
    down = np.int64((high_y - low_y) / cell) + 1

    # Counting sort by cell: the points of cell k are order[first[k]:first[k + 1]], ascending.
    cell_of = np.empty(len(x), np.int64)
    first = np.zeros(across * down + 1, np.int64)
    for i in range(len(x)):
        if low_x <= x[i] <= high_x and low_y <= y[i] <= high_y:
            cell_of[i] = np.int64((y[i] - low_y) / cell) * across + np.int64((x[i] - low_x) / cell)
            first[cell_of[i] + 1] += 1
        else:
            cell_of[i] = -1
    first = np.cumsum(first)
    position = first.copy()
    order = np.empty(first[-1], np.int64)
    for i in range(len(x)):
        if cell_of[i] >= 0:
            order[position[cell_of[i]]] = i
            position[cell_of[i]] += 1

    room = np.empty(256, np.int64)
    used = 0
    for b in range(len(boxes)):
        half_length, half_width, half_height = boxes[b, 3] / 2, boxes[b, 4] / 2, boxes[b, 5] / 2
        c, s = np.cos(boxes[b, 6]), np.sin(boxes[b, 6])
        left = np.int64((boxes[b, 0] - reach[b] - low_x) / cell)
        right = np.int64((boxes[b, 0] + reach[b] - low_x) / cell)
        top = np.int64((boxes[b, 1] - reach[b] - low_y) / cell)
        bottom = np.int64((boxes[b, 1] + reach[b] - low_y) / cell)
        for row in range(top, bottom + 1):
            # Neighbouring cells of a row are neighbours in the order too.
            for place in range(first[row * across + left], first[row * across + right + 1]):
                i = order[place]
                dx, dy = x[i] - boxes[b, 0], y[i] - boxes[b, 1]
                if (
                    abs(z[i] - boxes[b, 2]) <= half_height
                    and abs(c * dx + s * dy) <= half_length
                    and abs(-s * dx + c * dy) <= half_width
                ):
                    if used == len(room):
                        larger = np.empty(2 * used, np.int64)
                        larger[:used] = room
                        room = larger
                    room[used] = i
                    used += 1
        room[offsets[b] : used].sort()
        offsets[b + 1] = used
    return room[:used].copy(), offsets


@njit(cache=True, nogil=True)
def boxes_overlap(first, second):  # type: ignore[no-untyped-def]
    """See `boxes.boxes_overlap`; (A, 7) and (B, 7) float64.

    Two rectangles are apart if and only if a line along a side of one of them separates them. Onto the
    direction of a side, a rectangle throws a shadow of half its extent there plus what the turned sides of
    the other add.
    """
    overlap = np.zeros((len(first), len(second)), np.bool_)
    for i in range(len(first)):
        for j in range(len(second)):
            dx, dy = second[j, 0] - first[i, 0], second[j, 1] - first[i, 1]
            turn = second[j, 6] - first[i, 6]
            c, s = abs(np.cos(turn)), abs(np.sin(turn))
            length, width = first[i, 3] / 2, first[i, 4] / 2
            other_length, other_width = second[j, 3] / 2, second[j, 4] / 2
            ca, sa = np.cos(first[i, 6]), np.sin(first[i, 6])
            cb, sb = np.cos(second[j, 6]), np.sin(second[j, 6])
            overlap[i, j] = (
                abs(ca * dx + sa * dy) < length + c * other_length + s * other_width
                and abs(-sa * dx + ca * dy) < width + s * other_length + c * other_width
                and abs(cb * dx + sb * dy) < other_length + c * length + s * width
                and abs(-sb * dx + cb * dy) < other_width + s * length + c * width
            )
    return overlap
