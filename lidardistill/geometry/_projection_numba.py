"""Pairing, fast: one sweep into all cameras. The twin is `_projection_numpy`.

Nine points in ten are outside a given camera. A first pass over blocks that fit the first-level cache finds the
candidates with multiplications alone, in a loop that compiles to vector instructions; a second one divides, for
the candidates only. The first test has a margin and decides nothing.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lidardistill.geometry.lens import distort

BLOCK = 512

_ROUND = 1.5 * 2.0**52

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
    candidates, num_candidates, is_finite = _candidates(
        points, views.point2plane, views.plane_bounds, min_depth_m
    )
    capacity = num_candidates.sum()
    pairing_points = np.empty(capacity, np.int64)
    pairing_images = np.empty((capacity, 3), np.int64)
    depth = np.empty(capacity, np.float32)
    count = 0
    for view in range(len(num_candidates)):
        m = views.point2plane[view]
        height = views.image_size[view, 0]
        width = views.image_size[view, 1]
        k = views.lens[view]
        radius_squared = views.lens_radius[view] * views.lens_radius[view]
        a = views.plane2img[view]
        for i in range(num_candidates[view]):
            row = candidates[view, i]
            x = np.float64(points[row, 0])
            y = np.float64(points[row, 1])
            z = np.float64(points[row, 2])
            h2 = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3]
            u = (m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]) / h2
            v = (m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]) / h2
            if views.has_lens:
                if not u * u + v * v < radius_squared:
                    continue
                x, y = _distort(u, v, k)
                u = a[0, 0] * x + a[0, 1] * y + a[0, 2]
                v = a[1, 0] * x + a[1, 1] * y + a[1, 2]
            if round_to_nearest:
                c = (u + _ROUND) - _ROUND
                r = (v + _ROUND) - _ROUND
            else:
                c = np.floor(u)
                r = np.floor(v)
            if strict_border:
                inside = (u > 0) & (u < width - 1) & (v > 0) & (v < height - 1)
            else:
                inside = (c >= 0) & (c <= width - 1) & (r >= 0) & (r <= height - 1)
            if inside:
                pairing_points[count] = row
                pairing_images[count, 0] = view
                pairing_images[count, 1] = np.int64(r)
                pairing_images[count, 2] = np.int64(c)
                depth[count] = np.float32(h2)
                count += 1
    return is_finite, pairing_points[:count], pairing_images[:count], depth[:count]


@njit(cache=True, nogil=True)
def _candidates(points, point2plane, plane_bounds, min_depth_m):  # type: ignore[no-untyped-def]
    num_points = len(points)
    num_views = len(point2plane)
    candidates = np.empty((num_views, num_points), np.int32)
    num_candidates = np.zeros(num_views, np.int64)
    x = np.empty(BLOCK)
    y = np.empty(BLOCK)
    z = np.empty(BLOCK)
    inside = np.empty(BLOCK, np.bool_)
    is_finite = True
    for start in range(0, num_points, BLOCK):
        size = min(BLOCK, num_points - start)
        x_low = y_low = z_low = np.inf
        x_high = y_high = z_high = -np.inf
        for i in range(size):
            x[i] = points[start + i, 0]
            y[i] = points[start + i, 1]
            z[i] = points[start + i, 2]
            x_low = min(x_low, x[i])
            y_low = min(y_low, y[i])
            z_low = min(z_low, z[i])
            x_high = max(x_high, x[i])
            y_high = max(y_high, y[i])
            z_high = max(z_high, z[i])
        for i in range(size):
            # Infinity minus infinity is NaN, and NaN is no number's equal.
            is_finite &= (x[i] - x[i] == 0) & (y[i] - y[i] == 0) & (z[i] - z[i] == 0)
        for view in range(num_views):
            m = point2plane[view]
            bounds = plane_bounds[view]
            if not _box_in_view(x_low, x_high, y_low, y_high, z_low, z_high, m, bounds, min_depth_m):
                continue
            m00, m01, m02, m03 = m[0, 0], m[0, 1], m[0, 2], m[0, 3]
            m10, m11, m12, m13 = m[1, 0], m[1, 1], m[1, 2], m[1, 3]
            m20, m21, m22, m23 = m[2, 0], m[2, 1], m[2, 2], m[2, 3]
            min0, max0, min1, max1 = bounds[0], bounds[1], bounds[2], bounds[3]
            for i in range(size):
                h0 = m00 * x[i] + m01 * y[i] + m02 * z[i] + m03
                h1 = m10 * x[i] + m11 * y[i] + m12 * z[i] + m13
                h2 = m20 * x[i] + m21 * y[i] + m22 * z[i] + m23
                inside[i] = (
                    (h2 > min_depth_m)
                    & (h0 > min0 * h2)
                    & (h0 < max0 * h2)
                    & (h1 > min1 * h2)
                    & (h1 < max1 * h2)
                )
            count = num_candidates[view]
            for i in range(size):
                candidates[view, count] = start + i
                count += inside[i]
            num_candidates[view] = count
    return candidates, num_candidates, is_finite


@njit(cache=True, nogil=True)
def _box_in_view(x_low, x_high, y_low, y_high, z_low, z_high, m, bounds, min_depth_m):  # type: ignore[no-untyped-def]
    for side in range(5):
        if side == 4:
            a, b, c, d = m[2, 0], m[2, 1], m[2, 2], m[2, 3] - min_depth_m
        else:
            sign = -1.0 if side % 2 else 1.0
            axis = side // 2
            a = sign * (m[axis, 0] - bounds[side] * m[2, 0])
            b = sign * (m[axis, 1] - bounds[side] * m[2, 1])
            c = sign * (m[axis, 2] - bounds[side] * m[2, 2])
            d = sign * (m[axis, 3] - bounds[side] * m[2, 3])
        if max(a * x_low, a * x_high) + max(b * y_low, b * y_high) + max(c * z_low, c * z_high) + d < 0:
            return False
    return True
