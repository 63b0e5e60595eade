"""Config of ground removal and clustering of a LiDAR sweep."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from lidardistill.config.base import Strict


class GroundConfig(Strict):
    """Ground removal before clustering. CALICO gives no recipe for it: every value here is our choice.

    num_sectors: equal sectors of azimuth.
    ring_edges_m: ascending distances between the rings of zones; the last ring has no end.
    seed_quantile: the search starts at this quantile of the heights in the first ring: above the share of
        echoes from below the road, below the share of the road.
    seed_height_m: the first fit of a zone uses points within this distance of its neighbour's plane.
    thickness_m: points less than this above their plane are ground.
    iterations: plane fits of a zone; each but the first uses points within `thickness_m` of the previous
        plane.
    max_slope: rise over run of the steepest accepted plane.
    min_points: smallest number of points of a fit.
    min_spread: smallest determinant of the points' covariance in x, y over its squared trace, 0..0.25: points
        along a line define no plane.
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
    """Regions of a sweep without labels. `eps_m` and `min_neighbors` are CALICO's; the rest is our choice.

    eps_m: radius of DBSCAN.
    min_neighbors: points within `eps_m` of a core point, itself counted.
    min_range_m: nearer points lie on the vehicle itself and belong to no region.
    min_points: clusters of fewer points are dropped.
    max_length_m: longer clusters are dropped, for any heading. CALICO: "too large", no figure; a bus is 12 m.
    max_height_m: higher clusters are dropped. CALICO: "or high", no figure; a lorry is 4 m.
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
