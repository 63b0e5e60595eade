"""Ground points of a sweep: fit a plane in every zone of the disc around the vehicle."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from lidardistill.regions.sweep import _ground_numba, _ground_numpy
from lidardistill.regions.sweep.config import GROUND, GroundConfig

Implementation = Literal["numba", "numpy"]


class Ground(NamedTuple):
    """The ground under a sweep.

    Attributes:
        ground_mask: (N,) bool, True for points on or under the ground.
        height_m: (N,) float64 vertical distance of each point from the plane of its zone, up positive.
        planes: (num_sectors, num_rings, 3) float64 a, b, c of z = a * x + b * y + c.
    """

    ground_mask: np.ndarray
    height_m: np.ndarray
    planes: np.ndarray


def find_ground(
    points: np.ndarray,
    settings: GroundConfig = GROUND,
    *,
    implementation: Implementation = "numba",
) -> Ground:
    """Fit the road zone by zone, from the vehicle outwards.

    The plane under the vehicle is fitted to the whole first ring, starting from a level plane at a low
    quantile of its heights. Every zone starts from the plane of its inner neighbour (in the first ring from
    the plane under the vehicle), fits its own plane to the points near it by least squares of the height, and
    repeats. With too few points, points along a line or too steep a plane, the zone keeps the plane of its
    start.

    Args:
        points: (N, >=3) LiDAR frame, metres, z up within a few degrees; columns after z are not read.
        settings: see `GroundConfig`.
        implementation: "numba", or "numpy" for the slow twin.

    Returns:
        Mask, heights and planes. Without points: empty arrays, and level planes at 0.

    Raises:
        ValueError: wrong shape, coordinates that are not finite.

    Source: after the ground plane fitting of Zermas et al., "Fast Segmentation of 3D Point Clouds", ICRA
        2017.
    Differs from the paper in: zones are sectors and rings instead of strips along x, and start from their
        neighbour instead of from their lowest points; a zone without a view of the road has no such points.
    """
    xyz = check_points(points)
    x, y, _ = xyz
    share = (np.arctan2(y, x) + np.pi) / (2 * np.pi)
    sector = np.minimum((share * settings.num_sectors).astype(np.int64), settings.num_sectors - 1)
    ring = np.searchsorted(np.asarray(settings.ring_edges_m), np.hypot(x, y), side="right")
    num_rings = len(settings.ring_edges_m) + 1
    zone = sector * num_rings + ring
    fit = (_ground_numba if implementation == "numba" else _ground_numpy).fit_planes
    planes = np.zeros((settings.num_sectors, num_rings, 3))
    height_m = np.empty(xyz.shape[1])
    fit(
        xyz,
        zone,
        settings.seed_quantile,
        settings.seed_height_m,
        settings.thickness_m,
        settings.iterations,
        settings.max_slope,
        settings.min_points,
        settings.min_spread,
        planes,
        height_m,
    )
    return Ground(height_m < settings.thickness_m, height_m, planes)


def check_points(points: np.ndarray) -> np.ndarray:
    """Return a (3, N) float64 copy of x, y, z.

    Raises:
        ValueError: wrong shape, coordinates that are not finite.
    """
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] < 3:
        raise ValueError(f"points: expected (N, >=3) as x, y, z, ..., got shape {points.shape}")
    xyz = np.array(points[:, :3].T, dtype=np.float64, order="C")
    finite = np.isfinite(xyz).all(axis=0)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise ValueError(
            f"points: expected finite x, y, z, got {len(bad)} of {len(points)} rows with NaN or infinity, "
            f"row {bad[0]} first. Drop these rows, or the file if it is damaged."
        )
    return xyz
