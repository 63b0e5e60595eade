"""Views of geometry."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Pairing(NamedTuple):
    """Point and pixel pairs of one keyframe, by view, then by point. A point that two cameras see has two
    pairs.

    Attributes:
        pairing_points: (P,) int64 row in `points`.
        pairing_images: (P, 3) int64 view, row, col.
        depth: (P,) float32 camera z, metres.
    """

    pairing_points: np.ndarray
    pairing_images: np.ndarray
    depth: np.ndarray


class Views(NamedTuple):
    """The cameras of one keyframe as both implementations take them.

    A point p goes to h = point2plane @ (p, 1), and to the place (h0 / h2, h1 / h2) of the image plane at
    depth h2. For a pinhole the plane is measured in pixels and that is all. For a lens it is the plane at z =
    1 of the camera frame, whose places the lens then moves and `plane2img` takes to pixels.

    Attributes:
        point2plane: (V, 3, 4) float64.
        frustum: (V, 5, 4) float64 linear forms of (p, 1), all above zero where a point may be visible: left,
            right, top, bottom, near. They have room to spare for rounding, and decide nothing.
        image_size: (V, 2) int64 height, width in pixels.
        has_lens: whether the three below are used.
        lens: (V, 8) float64 k1 k2 p1 p2 k3 k4 k5 k6.
        lens_radius: (V,) float64 distance from the axis, at z = 1, beyond which the lens model folds.
        plane2img: (V, 2, 3) float64 pixels.
    """

    point2plane: np.ndarray
    frustum: np.ndarray
    image_size: np.ndarray
    has_lens: bool
    lens: np.ndarray
    lens_radius: np.ndarray
    plane2img: np.ndarray
