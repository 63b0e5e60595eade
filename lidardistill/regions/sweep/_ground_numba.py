"""Kernel of `ground.find_ground`; its slow twin is `_ground_numpy`."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def fit_planes(  # type: ignore[no-untyped-def]
    xyz,
    zone,
    seed_quantile,
    seed_height,
    thickness,
    iterations,
    max_slope,
    min_points,
    min_spread,
    planes,
    height,
):
    """Fit a plane to every zone and compute the height of every point above the plane of its zone.

    Args:
        xyz: (3, N) float64, metres.
        zone: (N,) int64 sector * num_rings + ring.
        seed_quantile, seed_height, thickness, iterations, max_slope, min_points, min_spread: see
            `GroundConfig`.
        planes: (num_sectors, num_rings, 3) float64 zeros, filled.
        height: (N,) float64, filled.
    """
    num_sectors, num_rings, _ = planes.shape
    num_points = zone.shape[0]
    if num_points == 0:
        return
    start = np.zeros(num_sectors * num_rings + 1, np.int64)
    for i in range(num_points):
        start[zone[i] + 1] += 1
    for z in range(num_sectors * num_rings):
        start[z + 1] += start[z]
    free = start.copy()
    order = np.empty(num_points, np.int64)
    for i in range(num_points):
        order[free[zone[i]]] = i
        free[zone[i]] += 1

    near = np.empty(num_points, np.int64)
    num_near = 0
    for sector in range(num_sectors):
        first = sector * num_rings
        for place in range(start[first], start[first + 1]):
            near[num_near] = order[place]
            num_near += 1
    # Without points nearby, the whole sweep gives the height of the sensor.
    near = near[:num_near] if num_near > 0 else order
    heights = np.empty(near.shape[0])
    for k in range(near.shape[0]):
        heights[k] = xyz[2, near[k]]
    heights.sort()
    base = np.zeros(3)
    base[2] = heights[int(seed_quantile * (heights.shape[0] - 1))]
    base = _refine(xyz, near, base, seed_height, thickness, iterations, max_slope, min_points, min_spread)
    for sector in range(num_sectors):
        plane = base
        for ring in range(num_rings):
            own = sector * num_rings + ring
            members = order[start[own] : start[own + 1]]
            plane = _refine(
                xyz, members, plane, seed_height, thickness, iterations, max_slope, min_points, min_spread
            )
            for k in range(3):
                planes[sector, ring, k] = plane[k]
            for k in range(members.shape[0]):
                i = members[k]
                height[i] = xyz[2, i] - (plane[0] * xyz[0, i] + plane[1] * xyz[1, i] + plane[2])


@njit(cache=True, nogil=True)
def _refine(  # type: ignore[no-untyped-def]
    xyz, members, before, seed_height, thickness, iterations, max_slope, min_points, min_spread
):
    """Return the plane of the points `members` (n,), or `before` (3,) if they give none."""
    plane = before.copy()
    for turn in range(iterations):
        reach = seed_height if turn == 0 else thickness
        count = 0
        mx = my = mz = 0.0
        for k in range(members.shape[0]):
            i = members[k]
            if abs(xyz[2, i] - (plane[0] * xyz[0, i] + plane[1] * xyz[1, i] + plane[2])) < reach:
                count += 1
                mx += xyz[0, i]
                my += xyz[1, i]
                mz += xyz[2, i]
        if count < min_points:
            return before
        mx /= count
        my /= count
        mz /= count
        xx = xy = yy = xz = yz = 0.0
        for k in range(members.shape[0]):
            i = members[k]
            if abs(xyz[2, i] - (plane[0] * xyz[0, i] + plane[1] * xyz[1, i] + plane[2])) < reach:
                x, y, z = xyz[0, i] - mx, xyz[1, i] - my, xyz[2, i] - mz
                xx += x * x
                xy += x * y
                yy += y * y
                xz += x * z
                yz += y * z
        determinant = xx * yy - xy * xy
        if determinant <= min_spread * (xx + yy) * (xx + yy):
            return before
        slope_x = (xz * yy - yz * xy) / determinant
        slope_y = (yz * xx - xz * xy) / determinant
        if slope_x * slope_x + slope_y * slope_y > max_slope * max_slope:
            return before
        plane[0], plane[1], plane[2] = slope_x, slope_y, mz - slope_x * mx - slope_y * my
    return plane
