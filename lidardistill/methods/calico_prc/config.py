"""Keys of CALICO's first stage, and every choice that its paper leaves open."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lidardistill.methods.config import MethodConfig
from lidardistill.regions.sweep.config import RegionConfig


class PRCConfig(MethodConfig):
    """CALICO (ICLR 2024), stage 1: point-region contrast on one LiDAR sweep.

    From the paper: DBSCAN with 0.75 m and 5 points; N = 1024 points of regions and M = 1024 others a scene,
    the others as negatives only; rotations of +-90 degrees and scales of 0.9 to 1.1; bilinear sampling
    of the map; alpha = 0.5; 20 epochs. There is no public code, and we could read only second-hand
    descriptions. Every choice that they leave open is a key here or in `regions`, with a default of our own:

    temperature: 0.07, as in SLidR and PointContrast. CALICO's is unknown; PLRC, its 2D parent, has 0.2.
    average: place of the mean over the positives of an anchor in PLRC: outside the logarithm (as in PLRC's
        code) or inside. CALICO's is unknown.
    equal_regions: true gives every region the same weight in RAPC, false every point. CALICO calls RAPC
        region-aware, but the weight 1 / size is known for stage 2 only.
    negatives: scene takes the N + M points of the anchor's own scene, as the paper writes; batch takes
        those of all scenes of a process, and its memory grows with the square of the batch.
    hidden, embedding: widths of the projector: two linear layers with BatchNorm and ReLU between them, then
        unit length. CALICO names a projector without its widths.
    max_per_region: largest number of points of one region, so that one lorry does not fill N.
    flip_x, flip_y: mirror each view at random. We do not know the paper's full list of augmentations.
    regions: ground, and limits on the size of clusters.
    Open choices without a key: both directions between the views are averaged; anchors of RAPC are the
    points of regions, and other points of their region are among the negatives; all scenes of a batch
    have the same weight, and a scene without regions counts as zero; there is no momentum encoder.

    Differs from PLRC's own code (facebookresearch/PLRC, `SupConLoss`): there positives also lie in the
    anchor's own view, all points but the anchor are in the denominator, and the loss is multiplied by
    temperature / base = 0.2 / 0.07.

    alpha: weight of PLRC; RAPC has 1 - alpha.
    num_rich, num_plain: N and M. They are drawn once for both views, among the points that lie on both maps.
    max_rotation_deg: largest rotation of a view around z, degrees.
    scale: smallest and largest scale of a view.
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
