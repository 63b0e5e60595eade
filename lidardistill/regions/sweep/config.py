"""Config of sweep."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from lidardistill.config.base import Strict


class GroundConfig(Strict):
    """How the ground is found before clustering; CALICO removes it and does not say how. See `regions.ground`."""

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
    """How regions are proposed in a sweep as it was measured. `eps_m` and `min_neighbors` are CALICO's, the rest ours.

    eps_m: radius of DBSCAN.
    min_neighbors: points within it that make a core point, itself counted.
    min_range_m: points nearer to the sensor see the vehicle itself and are in no region.
    min_points: clusters of fewer points are dropped.
    max_length_m: longer clusters are dropped, whichever way they point. CALICO: "too large", no figure; a bus is 12 m.
    max_height_m: higher ones too. CALICO: "or high", no figure; a lorry is 4 m.
    ground: what is taken away first.
    """

    eps_m: PositiveFloat = 0.75
    min_neighbors: PositiveInt = 5
    min_range_m: NonNegativeFloat = 2.5
    min_points: PositiveInt = 5
    max_length_m: PositiveFloat = 15.0
    max_height_m: PositiveFloat = 4.0
    ground: GroundConfig = GroundConfig()
