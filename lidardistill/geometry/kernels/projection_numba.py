"""Pairing, fast: one sweep into all cameras. The twin is `projection_numpy`.

Nine points in ten are outside a given camera, so the exact test is done last, for few: bounding boxes discard
whole blocks of points, the planes of the view's frustum discard most points of the other blocks, in a loop
that compiles to vector instructions. Only what is left is divided, tested exactly and rounded.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lidardistill.geometry.lens import distort

# Points are stored in the order in which the sensor turns, so a short block is a narrow sector that few
# cameras see.
BLOCK = 256

_distort = njit(cache=True, nogil=True)(distort)


@njit(cache=True, nogil=True)
def pair_views(points, views, min_depth_m, strict_border, round_to_nearest):  # type: ignore[no-untyped-def]
    """See `projection.pair_points` for the meaning and `projection.Views` for the cameras.

    The outputs are allocated here, because their size is known here first.

    Args:
        points: (N, >=3) float32 or float64, C order.
        views: the cameras.
        min_depth_m: float.
        strict_border: bool.
        round_to_nearest: bool, floor otherwise.

    Returns:
        Whether x, y and z are finite throughout; pairing_points, pairing_images and depth.
    """
    candidates, num_candidates, is_finite = _in_frustum(points, views.frustum)
    capacity = num_candidates.sum()
    pairing_points = np.empty(capacity, np.int64)
    pairing_images = np.empty((capacity, 3), np.int64)
    depth = np.empty(capacity, np.float32)
    count = 0
    for view in range(len(num_candidates)):
        to_h0 = _form(views.point2plane[view, 0])
        to_h1 = _form(views.point2plane[view, 1])
        to_h2 = _form(views.point2plane[view, 2])
        last_row = views.image_size[view, 0] - 1.0
        last_col = views.image_size[view, 1] - 1.0
        lens_radius_squared = views.lens_radius[view] * views.lens_radius[view]
        for i in range(num_candidates[view]):
            point = candidates[view, i]
            x, y, z = np.float64(points[point, 0]), np.float64(points[point, 1]), np.float64(points[point, 2])
            h2 = _value(to_h2, x, y, z)
            u = _value(to_h0, x, y, z) / h2
            v = _value(to_h1, x, y, z) / h2
            if views.has_lens:
                if not u * u + v * v < lens_radius_squared:
                    continue
                x_lens, y_lens = _distort(u, v, views.lens[view])
                a = views.plane2img[view]
                u = a[0, 0] * x_lens + a[0, 1] * y_lens + a[0, 2]
                v = a[1, 0] * x_lens + a[1, 1] * y_lens + a[1, 2]
            if round_to_nearest:
                row, col = np.rint(v), np.rint(u)
            else:
                row, col = np.floor(v), np.floor(u)
            if strict_border:
                inside = (u > 0) & (u < last_col) & (v > 0) & (v < last_row)
            else:
                inside = (col >= 0) & (col <= last_col) & (row >= 0) & (row <= last_row)
            if inside & (h2 > min_depth_m):
                pairing_points[count] = point
                pairing_images[count, 0] = view
                pairing_images[count, 1] = np.int64(row)
                pairing_images[count, 2] = np.int64(col)
                depth[count] = np.float32(h2)
                count += 1
    return is_finite, pairing_points[:count], pairing_images[:count], depth[:count]


@njit(cache=True, nogil=True)
def _in_frustum(points, frustum):  # type: ignore[no-untyped-def]
    """Candidates of each view: (V, N) int32 rows of `points`, of which the first (V,) int64 count; and
    finiteness.
    """
    num_views = len(frustum)
    candidates = np.empty((num_views, len(points)), np.int32)
    num_candidates = np.zeros(num_views, np.int64)
    x, y, z = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    inside = np.empty(BLOCK, np.bool_)
    is_finite = True
    for start in range(0, len(points), BLOCK):
        size = min(BLOCK, len(points) - start)
        x_low = y_low = z_low = np.inf
        x_high = y_high = z_high = -np.inf
        for i in range(size):
            x[i], y[i], z[i] = points[start + i, 0], points[start + i, 1], points[start + i, 2]
            x_low, x_high = min(x_low, x[i]), max(x_high, x[i])
            y_low, y_high = min(y_low, y[i]), max(y_high, y[i])
            z_low, z_high = min(z_low, z[i]), max(z_high, z[i])
        for i in range(size):
            # Infinity minus infinity is NaN, and NaN equals nothing.
            is_finite &= (x[i] - x[i] == 0) & (y[i] - y[i] == 0) & (z[i] - z[i] == 0)

        for view in range(num_views):
            left, right = _form(frustum[view, 0]), _form(frustum[view, 1])
            top, bottom = _form(frustum[view, 2]), _form(frustum[view, 3])
            near = _form(frustum[view, 4])
            low, high = (x_low, y_low, z_low), (x_high, y_high, z_high)
            if (
                _highest(near, low, high) < 0
                or _highest(left, low, high) < 0
                or _highest(right, low, high) < 0
                or _highest(top, low, high) < 0
                or _highest(bottom, low, high) < 0
            ):
                continue
            for i in range(size):
                inside[i] = (
                    (_value(left, x[i], y[i], z[i]) > 0)
                    & (_value(right, x[i], y[i], z[i]) > 0)
                    & (_value(top, x[i], y[i], z[i]) > 0)
                    & (_value(bottom, x[i], y[i], z[i]) > 0)
                    & (_value(near, x[i], y[i], z[i]) > 0)
                )
            count = num_candidates[view]
            for i in range(size):
                candidates[view, count] = start + i
                count += inside[i]
            num_candidates[view] = count
    return candidates, num_candidates, is_finite


@njit(cache=True, nogil=True)
def _form(row):  # type: ignore[no-untyped-def]
    """A linear form, taken out of memory: arrays that are written in a loop might be it, tuples cannot."""
    return row[0], row[1], row[2], row[3]


@njit(cache=True, nogil=True)
def _value(form, x, y, z):  # type: ignore[no-untyped-def]
    return form[0] * x + form[1] * y + form[2] * z + form[3]


@njit(cache=True, nogil=True)
def _highest(form, low, high):  # type: ignore[no-untyped-def]
    """The largest value of a linear form in a box."""
    return (
        max(form[0] * low[0], form[0] * high[0])
        + max(form[1] * low[1], form[1] * high[1])
        + max(form[2] * low[2], form[2] * high[2])
        + form[3]
    )
