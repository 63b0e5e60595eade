"""Keys of CALICO's first stage, and every choice that its paper leaves open."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lidardistill.methods.config import MethodConfig
from lidardistill.regions.sweep.config import RegionConfig


class PRCConfig(MethodConfig):
    """CALICO (ICLR 2024), stage 1: point-region contrast on one LiDAR sweep.

    Of the paper: DBSCAN with 0.75 m and 5 points, N = 1024 and M = 1024 points a scene, semantic-less points
        as
    negatives only, turns of +-90 degrees and scales of 0.9 to 1.1, bilinear sampling of the map, alpha = 0.5,
    20 epochs. Only second-hand descriptions of it could be read, and there is no public code. All that they
    leave open is a key here (or in `regions`), whose default is our choice:

    temperature: 0.07, as SLidR and PointContrast have; CALICO's is not known (its parent PLRC has 0.2).
    average: where the mean over an anchor's positives stands in PLRC: outside the logarithm (PLRC's code,
        SupCon's L_out) or inside of it. CALICO's text does not say.
    equal_regions: in RAPC every region counts as much as every other. CALICO calls the term region-aware; the
        weight
        1 / size is written down for its second stage only. False: every point counts the same.
    negatives: an anchor's candidates are the points of its own scene, N + M of them as the paper writes, or
        with
        `batch` those of all scenes of a process: more negatives, for memory that grows with the square of the
            batch.
    hidden, embedding: widths of the projector, two linear layers with BatchNorm and ReLU between them, unit
        length behind. CALICO names a projector and no more.
    max_per_region: points of one region at most, so that one lorry does not fill N.
    flip_x, flip_y: mirror each view at random. CALICO's list of augmentations could not be read to its end.
    regions: ground, and which clusters are too small, too long or too high.
    Without a key: both directions between the views are averaged; anchors of RAPC are the points of regions,
        and other
    points of their region are among its negatives; scenes of a batch count the same, one without regions as
    zero; there is no momentum encoder.

    alpha: weight of PLRC; RAPC has 1 - alpha.
    num_rich, num_plain: N points of regions and M others, drawn once for both views among those on both maps.
    max_rotation_deg, scale: of a view, turned around z by an angle of at most so many degrees.
    """

    trains: ClassVar[frozenset[str]] = frozenset({"map"})

    kind: Literal["calico_prc"]
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    temperature: PositiveFloat = 0.07
    average: Literal["outside", "inside"] = "outside"
    equal_regions: bool = True
    negatives: Literal["scene", "batch"] = "scene"
    hidden: PositiveInt = 256
    embedding: PositiveInt = 128
    num_rich: PositiveInt = 1024
    num_plain: NonNegativeInt = 1024
    max_per_region: PositiveInt = 32
    regions: RegionConfig = RegionConfig()
    max_rotation_deg: Annotated[float, Field(ge=0, le=180)] = 90.0
    scale: tuple[PositiveFloat, PositiveFloat] = (0.9, 1.1)
    flip_x: bool = True
    flip_y: bool = True

    @model_validator(mode="after")
    def _scale_rises(self) -> PRCConfig:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f".scale: expected smallest, largest, got {list(self.scale)}")
        return self
