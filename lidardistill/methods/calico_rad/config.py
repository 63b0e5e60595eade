"""Keys of CALICO's second stage, and every choice that its paper leaves open."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from lidardistill.backbones.camera_bev.config import CameraBevConfig
from lidardistill.methods.config import MethodConfig, Run
from lidardistill.regions.sweep.config import RegionConfig


class RADConfig(MethodConfig):
    """CALICO (ICLR 2024), stage 2: region-aware distillation. The LiDAR network is frozen, the camera network
    trains.

    `student` and `voxels` describe the frozen LiDAR network, as in the recipe of the first stage, which a
    recipe of the second stage `extends`. `method.camera` is the network that trains and that the run exports.

    From the paper: regions as in the first stage; equal weights within a region and 1 / size for the region;
    the frozen LiDAR network; Swin-T with the view transform of Lift-Splat-Shoot; 20 epochs. There is no
    public code, and we could read only second-hand descriptions. Every choice that they leave open is a key
    here, with a default of our own:

    denominator: candidates are `all` sampled points, N + M as in the first stage, or `rich`, those of
        regions.
    negatives: an anchor's candidates are the points of its own keyframe, or with `batch` those of all
        keyframes of a process.
    temperature: 0.07, as in the first stage.
    hidden, embedding: widths of the two projectors, one for each map: two linear layers with BatchNorm and
        ReLU between them, then unit length. The LiDAR's projector trains too; its maps stay frozen.
    num_rich, num_plain, max_per_region: N, M and the most of one region; the points are drawn among those on
        the LiDAR's map and in a camera's frustum (`data.visibility: zbuffer`: those that a camera sees).
    Open choices without a key: the loss has one direction, with camera features as anchors; all keyframes of
    a batch have the same weight, and a keyframe without regions counts as zero. `data.augment` rotates and
    mirrors cloud and images independently, and updates the matrices; `drop_cuboid` and `crop_images` must be
    false.

    lidar_weights: of the frozen LiDAR network: a finished run of the first stage, an exported file, or
        `random`, which is a control.
    lidar_shift_m: random x/y shift of the frozen LiDAR network's input, uniform in +-lidar_shift_m, one per
        keyframe; its map is sampled at the shifted points. 0 (default) disables it; CALICO does not mention
        it. Both networks upsample by transposed convolutions on one grid, whose pattern alone tells points
        apart unless one of the grids moves by a cell or more
        (docs/decisions/0023-rad-shortcut-cell-parity.md).
    weighting: region, CALICO's; or gaussian, its comparison with BEVDistill: points count by a Gaussian
        around the middle of their region, where BEVDistill has the centres of labelled boxes. Pretraining
        opens no label, so this is not BEVDistill, but its weighting.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"data.augment", "data.images", "data.visibility"})
    trains: ClassVar[frozenset[str]] = frozenset({"map"})

    kind: Literal["calico_rad"]
    camera: CameraBevConfig = CameraBevConfig()
    lidar_weights: str
    weighting: Literal["region", "gaussian"] = "region"
    denominator: Literal["all", "rich"] = "all"
    negatives: Literal["scene", "batch"] = "scene"
    temperature: PositiveFloat = 0.07
    hidden: PositiveInt = 256
    embedding: PositiveInt = 128
    num_rich: PositiveInt = 1024
    num_plain: NonNegativeInt = 1024
    max_per_region: PositiveInt = 32
    lidar_shift_m: NonNegativeFloat = 0.0
    regions: RegionConfig = RegionConfig()

    def check(self, run: Run) -> None:
        """The cameras' map needs the whole sweep and whole images."""
        for name in ("drop_cuboid", "crop_images"):
            if getattr(run.data.augment, name):
                raise ValueError(
                    f"data.augment.{name}: {self.kind} needs the whole sweep and whole images; set it to "
                    "false"
                )
