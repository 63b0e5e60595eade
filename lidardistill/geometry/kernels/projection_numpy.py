"""Pairing, plain: the twin of `projection_numba`, and the text to read first.

Sums are written out instead of `@`, whose order of additions belongs to the BLAS library: equal to the bit is
only what adds in the same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lidardistill.geometry.lens import distort

if TYPE_CHECKING:
    from lidardistill.geometry.views import Views


def pair_views(
    points: np.ndarray, views: Views, min_depth_m: float, strict_border: bool, round_to_nearest: bool
) -> tuple[bool, np.ndarray, np.ndarray, np.ndarray]:
    """See `projection.pair_points` for the meaning and `projection.Views` for the cameras.

    Args:
        points: (N, >=3) float32 or float64.
        views: the cameras.
        min_depth_m: float.
        strict_border: bool.
        round_to_nearest: bool, floor otherwise.

    Returns:
        Whether x, y and z are finite throughout; pairing_points, pairing_images and depth.
    """
    x, y, z = points[:, :3].T.astype(np.float64)
    pairing_points = [np.empty(0, np.int64)]
    pairing_images = [np.empty((0, 3), np.int64)]
    depth = [np.empty(0, np.float32)]
    for view, (height, width) in enumerate(views.image_size):
        with np.errstate(all="ignore"):  # points beside and behind the camera divide by anything
            m = views.point2plane[view]
            h0, h1, h2 = (m[i, 0] * x + m[i, 1] * y + m[i, 2] * z + m[i, 3] for i in range(3))
            u, v = h0 / h2, h1 / h2
            keep = h2 > min_depth_m
            if views.has_lens:
                keep &= u * u + v * v < views.lens_radius[view] * views.lens_radius[view]
                a = views.plane2img[view]
                x_lens, y_lens = distort(u, v, views.lens[view])
                u = a[0, 0] * x_lens + a[0, 1] * y_lens + a[0, 2]
                v = a[1, 0] * x_lens + a[1, 1] * y_lens + a[1, 2]
            col, row = (np.rint(u), np.rint(v)) if round_to_nearest else (np.floor(u), np.floor(v))
            if strict_border:
                keep &= (u > 0) & (u < width - 1) & (v > 0) & (v < height - 1)
            else:
                keep &= (col >= 0) & (col <= width - 1) & (row >= 0) & (row <= height - 1)
        kept = np.flatnonzero(keep)
        pairing_points.append(kept)
        pairing_images.append(
            np.stack([np.full(len(kept), view), row[kept], col[kept]], axis=1).astype(np.int64)
        )
        depth.append(h2[kept].astype(np.float32))
    is_finite = bool(np.isfinite(points[:, :3]).all())
    return is_finite, np.concatenate(pairing_points), np.concatenate(pairing_images), np.concatenate(depth)
