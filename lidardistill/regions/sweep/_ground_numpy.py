"""Slow twin of `_ground_numba`: the same rule with numpy's own least squares."""

from __future__ import annotations

import numpy as np


def fit_planes(
    xyz: np.ndarray,
    zone: np.ndarray,
    seed_quantile: float,
    seed_height: float,
    thickness: float,
    iterations: int,
    max_slope: float,
    min_points: int,
    min_spread: float,
    planes: np.ndarray,
    height: np.ndarray,
) -> None:
    """See `_ground_numba.fit_planes`."""
    if len(zone) == 0:
        return
    num_sectors, num_rings, _ = planes.shape

    def refine(cloud: np.ndarray, before: np.ndarray) -> np.ndarray:
        plane = before
        for reach in [seed_height] + [thickness] * (iterations - 1):
            near = cloud[:, np.abs(_above(cloud, plane)) < reach]
            if near.shape[1] < min_points:
                return before
            centre = near.mean(axis=1)
            spread = np.cov(near[:2], bias=True)
            if np.linalg.det(spread) <= min_spread * np.trace(spread) ** 2:
                return before
            x, y, z = near - centre[:, None]
            slope = np.linalg.lstsq(np.stack([x, y], axis=1), z, rcond=None)[0]
            if np.linalg.norm(slope) > max_slope:
                return before
            plane = np.array([*slope, centre[2] - slope @ centre[:2]])
        return plane

    near = xyz[:, zone % num_rings == 0]
    near = near if near.shape[1] else xyz
    seed = np.quantile(near[2], seed_quantile, method="lower")
    base = refine(near, np.array([0.0, 0.0, seed]))
    for sector in range(num_sectors):
        plane = base
        for ring in range(num_rings):
            own = zone == sector * num_rings + ring
            plane = refine(xyz[:, own], plane)
            planes[sector, ring] = plane
            height[own] = _above(xyz[:, own], plane)


def _above(cloud: np.ndarray, plane: np.ndarray) -> np.ndarray:
    return cloud[2] - (plane[0] * cloud[0] + plane[1] * cloud[1] + plane[2])
