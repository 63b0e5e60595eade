"""Which points of a sweep lie on the ground: a plane in every zone of the disc around the vehicle."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from lidardistill.regions.sweep import _ground_numba, _ground_numpy

Implementation = Literal["numba", "numpy"]


@dataclass(frozen=True)
class GroundSettings:
    """How the ground is found. CALICO says that it is removed and not how: all of this is our choice.

    Attributes:
        num_sectors: equal sectors of azimuth.
        ring_edges_m: ascending distances at which one ring of zones ends and the next begins; the last has no end.
        seed_quantile: share of the first ring's points below the height from which the search starts, 0..1. It should
            be above the share of echoes from below the road and below that of the road.
        seed_height_m: a zone's first plane is fitted to points so far from the plane that it starts from.
        thickness_m: points less than this above their plane are ground.
        iterations: plane fits of a zone; all but the first take the points within `thickness_m` of the plane before.
        max_slope: rise over run above which a plane is not believed.
        min_points: points below which a fit is not believed.
        min_spread: the same for the determinant of their covariance in x, y over its squared trace, 0..0.25: points
            along a line hold no plane.
    """

    num_sectors: int = 8
    ring_edges_m: tuple[float, ...] = (12.0, 24.0)
    seed_quantile: float = 0.05
    seed_height_m: float = 0.5
    thickness_m: float = 0.25
    iterations: int = 3
    max_slope: float = 0.2
    min_points: int = 20
    min_spread: float = 1e-3

    def __post_init__(self) -> None:
        edges = self.ring_edges_m
        if not edges or edges[0] <= 0 or any(b <= a for a, b in pairwise(edges)):
            raise ValueError(f"ring_edges_m: expected ascending distances above zero, got {edges}")
        if self.num_sectors < 1 or self.iterations < 1 or self.min_points < 3:
            raise ValueError(
                "ground: expected num_sectors >= 1, iterations >= 1 and min_points >= 3, got "
                f"{self.num_sectors}, {self.iterations}, {self.min_points}"
            )
        if not 0 <= self.seed_quantile <= 1:
            raise ValueError(f"seed_quantile: expected a share in 0..1, got {self.seed_quantile}")
        if min(self.seed_height_m, self.thickness_m, self.max_slope, self.min_spread) <= 0:
            raise ValueError(
                "ground: seed_height_m, thickness_m, max_slope and min_spread must be above zero"
            )


class Ground(NamedTuple):
    """The ground under a sweep.

    Attributes:
        ground_mask: (N,) bool, True for points on or under the ground.
        height_m: (N,) float64 vertical distance of each point from the plane of its zone, up positive.
        planes: (num_sectors, num_rings, 3) float64, z = planes[..., 0] * x + planes[..., 1] * y + planes[..., 2].
    """

    ground_mask: np.ndarray
    height_m: np.ndarray
    planes: np.ndarray


def find_ground(
    points: np.ndarray,
    settings: GroundSettings = GroundSettings(),
    *,
    implementation: Implementation = "numba",
) -> Ground:
    """Fits the road zone by zone, from the vehicle outwards.

    The plane under the vehicle is fitted to the whole first ring, from a level plane at a low quantile of its heights.
    Every zone starts from the plane of the zone inwards of it (those of the first ring from the one under the
    vehicle): it takes the points near that plane, fits its own to them by least squares of the height, and repeats.
    Where too few points, points along a line or too steep a plane come out, the plane it started from stays.

    Args:
        points: (N, >=3) LiDAR frame, metres, z up within a few degrees; columns after z are not read.
        settings: see `GroundSettings`.
        implementation: "numba", or "numpy" for the slow twin.

    Returns:
        Mask, heights and planes; for no points, none, and level planes at 0.

    Raises:
        ValueError: wrong shape, coordinates that are not finite.

    Source: after the ground plane fitting of Zermas et al., "Fast Segmentation of 3D Point Clouds", ICRA 2017.
    Differs from the paper in: zones are sectors and rings instead of strips along x, and start from their neighbour
        instead of from their lowest points, which a zone without a view of the road does not have.
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
    """(3, N) float64 copy of x, y, z.

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
