"""Points in boxes and boxes on boxes, box by box: the slow twin of `boxes_numba`."""

from __future__ import annotations

import numpy as np


def points_in_boxes(x, y, z, boxes):  # type: ignore[no-untyped-def]
    """See `boxes.points_in_boxes`: each box's frame, and a comparison on each axis."""
    found = []
    for centre_x, centre_y, centre_z, length, width, height, yaw in boxes:
        c, s = np.cos(yaw), np.sin(yaw)
        along = c * (x - centre_x) + s * (y - centre_y)
        across = -s * (x - centre_x) + c * (y - centre_y)
        inside = (abs(along) <= length / 2) & (abs(across) <= width / 2) & (abs(z - centre_z) <= height / 2)
        found.append(np.flatnonzero(inside))
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in found])]).astype(np.int64)
    return np.concatenate([np.zeros(0, np.int64), *found]), offsets


def boxes_overlap(first, second):  # type: ignore[no-untyped-def]
    """See `boxes.boxes_overlap`: project the corners of both boxes onto the directions of their sides."""
    overlap = np.zeros((len(first), len(second)), bool)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            directions = [
                (np.cos(yaw + quarter), np.sin(yaw + quarter))
                for yaw in (a[6], b[6])
                for quarter in (0.0, np.pi / 2)
            ]
            shadows = [np.array([corners(box) @ d for d in directions]) for box in (a, b)]
            low, high = zip(*((shadow.min(1), shadow.max(1)) for shadow in shadows), strict=True)
            overlap[i, j] = bool((np.minimum(*high) > np.maximum(*low)).all())
    return overlap


def corners(box):  # type: ignore[no-untyped-def]
    """(4, 2) of one box."""
    c, s = np.cos(box[6]), np.sin(box[6])
    forward, left = np.array([c, s]) * box[3] / 2, np.array([-s, c]) * box[4] / 2
    return box[:2] + np.array([forward + left, left - forward, -forward - left, forward - left])
