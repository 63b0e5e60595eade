"""Regions of a LiDAR sweep: how the ground is removed and objects are clustered."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from lidardistill.config.base import Strict


class GroundConfig(Strict):
    """Ground removal before clustering. CALICO removes the ground without a recipe: every value here is our
    choice.

    num_sectors: equal sectors of azimuth.
    ring_edges_m: ascending distances between the rings of zones; the last ring has no end.
    seed_quantile: the search starts at this quantile of the heights in the first ring: above the share of
        echoes from below the road, below the share of the road.
    seed_height_m: the first plane of a zone is fitted to points this near to the plane of its neighbour.
    thickness_m: points less than this above their plane are ground.
    iterations: plane fits of a zone; each but the first takes the points within `thickness_m` of the plane
        before.
    max_slope: rise over run of the steepest plane that is accepted.
    min_points: fewest points that a fit needs.
    min_spread: smallest determinant of the points' covariance in x, y over its squared trace, 0..0.25: points
        along a line hold no plane.
    """

    num_sectors: PositiveInt = 8
    ring_edges_m: tuple[PositiveFloat, ...] = (12.0, 24.0)
    seed_quantile: Annotated[float, Field(ge=0, le=1)] = 0.05
    seed_height_m: PositiveFloat = 0.5
    thickness_m: PositiveFloat = 0.25
    iterations: PositiveInt = 3
    max_slope: PositiveFloat = 0.2
    min_points: Annotated[int, Field(ge=3)] = 20
    min_spread: PositiveFloat = 1e-3

    @model_validator(mode="after")
    def _rings_ascend(self) -> GroundConfig:
        edges = self.ring_edges_m
        if not edges or list(edges) != sorted(set(edges)):
            raise ValueError(f".ring_edges_m: expected ascending distances, got {list(edges)}")
        return self


class RegionConfig(Strict):
    """Regions of a sweep, found without labels. `eps_m` and `min_neighbors` are CALICO's, the rest is our
    choice.

    eps_m: radius of DBSCAN.
    min_neighbors: points within it that make a core point, itself counted.
    min_range_m: points nearer to the sensor see the vehicle itself and are in no region.
    min_points: clusters of fewer points are dropped.
    max_length_m: longer clusters are dropped, whichever way they point. CALICO: "too large", no figure; a bus
        is 12 m.
    max_height_m: higher ones too. CALICO: "or high", no figure; a lorry is 4 m.
    ground: removal of the ground, before clustering.
    """

    eps_m: PositiveFloat = 0.75
    min_neighbors: PositiveInt = 5
    min_range_m: NonNegativeFloat = 2.5
    min_points: PositiveInt = 5
    max_length_m: PositiveFloat = 15.0
    max_height_m: PositiveFloat = 4.0
    ground: GroundConfig = GroundConfig()


GROUND, REGIONS = GroundConfig(), RegionConfig()
"""The defaults."""
