"""Points in boxes and boxes on boxes, fast. Twin: `_boxes_numpy`."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def points_in_boxes(x, y, z, boxes):  # type: ignore[no-untyped-def]
    """See `boxes.points_in_boxes`; x, y, z (N,) and boxes (B, 7) float64.

    A point is first compared with the square around the circle around the box, which most fail.
    """
    offsets = np.zeros(len(boxes) + 1, np.int64)
    room = np.empty(256, np.int64)
    used = 0
    for b in range(len(boxes)):
        half_length, half_width, half_height = boxes[b, 3] / 2, boxes[b, 4] / 2, boxes[b, 5] / 2
        reach = np.sqrt(half_length * half_length + half_width * half_width) * 1.0000001
        c, s = np.cos(boxes[b, 6]), np.sin(boxes[b, 6])
        for i in range(len(x)):
            dx = x[i] - boxes[b, 0]
            if abs(dx) > reach:
                continue
            dy = y[i] - boxes[b, 1]
            if abs(dy) > reach:
                continue
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
        offsets[b + 1] = used
    return room[:used].copy(), offsets


@njit(cache=True, nogil=True)
def boxes_overlap(first, second):  # type: ignore[no-untyped-def]
    """See `boxes.boxes_overlap`; (A, 7) and (B, 7) float64.

    Two rectangles are apart if and only if a line along a side of one of them separates them. Onto the direction of a
    side, a rectangle throws a shadow of half its extent there plus what the turned sides of the other add.
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
