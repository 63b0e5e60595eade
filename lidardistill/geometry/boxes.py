"""Upright boxes: which points they hold, and which of them stand on the same ground.

A box is x, y, z of its centre, length, width, height in metres, and its yaw about z in radians from x towards
y; length lies along the box's own x. Further columns, such as a velocity, are left alone.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from lidardistill.geometry.kernels import boxes_numba, boxes_numpy

Implementation = Literal["numba", "numpy"]


def points_in_boxes(
    xyz: np.ndarray, boxes: np.ndarray, *, implementation: Implementation = "numba"
) -> tuple[np.ndarray, np.ndarray]:
    """Which points lie in which boxes, the surface included.

    Args:
        xyz: (N, >=3) metres.
        boxes: (B, >=7), see the module; same frame.
        implementation: "numba", or "numpy" for the slow twin.

    Returns:
        point_idx: (K,) int64 rows in `xyz`, box after box and ascending in each; a point in two boxes is
            listed twice.
        box_offsets: (B + 1,) int64 from 0: the points of box b are `point_idx[box_offsets[b] : box_offsets[b
            + 1]]`.

    Raises:
        ValueError: wrong shapes, or a box that is not finite.
    """
    xyz, boxes = np.asarray(xyz), _check_boxes(boxes, "boxes")
    if xyz.ndim != 2 or xyz.shape[1] < 3:
        raise ValueError(f"points_in_boxes: expected points (N, >=3), got {xyz.shape}")
    columns = np.ascontiguousarray(xyz[:, :3].T, dtype=np.float64)
    return _kernels(implementation).points_in_boxes(*columns, boxes)


def boxes_overlap(
    first: np.ndarray, second: np.ndarray, *, implementation: Implementation = "numba"
) -> np.ndarray:
    """Which boxes share ground, seen from above; boxes that only touch do not.

    Args:
        first: (A, >=7), see the module.
        second: (B, >=7), same frame.
        implementation: "numba", or "numpy" for the slow twin.

    Returns:
        (A, B) bool.

    Raises:
        ValueError: wrong shapes, or a box that is not finite.
    """
    first, second = _check_boxes(first, "first"), _check_boxes(second, "second")
    return _kernels(implementation).boxes_overlap(first, second)


def box_corners_xy(boxes: np.ndarray) -> np.ndarray:
    """Corners of boxes seen from above.

    Args:
        boxes: (B, >=7), see the module.

    Returns:
        (B, 4, 2) float64 x, y, metres, counter-clockwise from the front left.

    Raises:
        ValueError: wrong shapes, or a box that is not finite.
    """
    boxes = _check_boxes(boxes, "boxes")
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2
    local = boxes[:, None, 3:5] * signs
    c, s = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    turn = np.stack([np.stack([c, s], axis=-1), np.stack([-s, c], axis=-1)], axis=-2)
    return local @ turn + boxes[:, None, :2]


def _check_boxes(boxes: np.ndarray, name: str) -> np.ndarray:
    boxes = np.asarray(boxes)
    if boxes.ndim != 2 or boxes.shape[1] < 7:
        raise ValueError(
            f"{name}: expected boxes (B, >=7) as x y z length width height yaw, got {boxes.shape}"
        )
    boxes = np.ascontiguousarray(boxes[:, :7], dtype=np.float64)
    if not np.isfinite(boxes).all():
        raise ValueError(
            f"{name}: box {int(np.argmin(np.isfinite(boxes).all(axis=1)))} holds NaN or infinity"
        )
    return boxes


def _kernels(implementation: str):  # type: ignore[no-untyped-def]
    if implementation not in ("numba", "numpy"):
        raise ValueError(f"implementation: expected one of numba, numpy, got {implementation!r}")
    return boxes_numba if implementation == "numba" else boxes_numpy
