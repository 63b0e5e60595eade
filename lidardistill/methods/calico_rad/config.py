"""CALICO's second stage, and every choice that its paper leaves open."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from lidardistill.backbones.camera_bev.config import CameraBevConfig
from lidardistill.config.base import Strict
from lidardistill.data.config import PairDataConfig
from lidardistill.regions.superpixels.config import SuperpixelConfig
from lidardistill.regions.sweep.config import RegionConfig


class RADConfig(Strict):
    """CALICO (ICLR 2024), stage 2: region-aware distillation. The LiDAR network is frozen, the camera network trains.

    `student` and `voxels` say what the frozen LiDAR network is, as in the recipe of the first stage, which a recipe of
    the second `extends`; what trains, and what a run leaves behind, is `method.camera`.

    Of the paper: regions as in the first stage, equal weights within a region and 1 / size for it, the frozen LiDAR,
    Swin-T with the view transform of Lift-Splat-Shoot, 20 epochs. Only second-hand descriptions of it could be read,
    and there is no public code. All that they leave open is a key here, whose default is our choice:

    denominator: candidates are `all` sampled points, N + M as in the first stage, or `rich`, those of regions.
    negatives: an anchor's candidates are the points of its own keyframe, or with `batch` those of all keyframes of a
        process.
    temperature: 0.07, as in the first stage.
    hidden, embedding: widths of the two projectors, one for each map: two linear layers with BatchNorm and ReLU between
        them, unit length behind. That of the LiDAR trains too; the maps it reads do not.
    num_rich, num_plain, max_per_region: N, M and the most of one region; the points are drawn among those on the LiDAR's
        map and in a camera's frustum (`data.visibility: zbuffer`: those that a camera sees).
    Without a key: one direction, cameras ask and the LiDAR answers; keyframes of a batch count the same, one without
    regions as zero. `data.augment` turns and mirrors cloud and images, each for itself, and the matrices go along;
    `drop_cuboid` and `crop_images` must be false.

    lidar_weights: of the frozen LiDAR network: a finished run of the first stage, an exported file, or `random`, which
        is a control.
    lidar_shift_m: the frozen LiDAR network sees the sweep moved along x and along y by up to so many metres, drawn anew for
        each keyframe, and its map is read where the points are then. 0: not moved, as CALICO says nothing of it. Both
        networks upsample by transposed convolutions on one grid, whose pattern alone tells points apart unless one of
        the grids moves by a cell or more (docs/decisions/0023-rad-shortcut-cell-parity.md).
    weighting: region, CALICO's; or gaussian, its comparison with BEVDistill: points count by a Gaussian around the
        middle of their region, where BEVDistill has the centres of labelled boxes. Pretraining opens no label, so this
        is not BEVDistill, but its weighting.
    pairing: real; or the control `permuted`, which re-draws the partner of each point at every step.
    """

    needs_teacher: ClassVar[bool] = False
    sees_cameras: ClassVar[bool] = True
    students: ClassVar[tuple[str, ...]] = ("lidar_bev",)

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
    pairing: Literal["real", "permuted"] = "real"

    def check_parts(self, data: PairDataConfig, **absent: object) -> None:
        """Refuse what this method has no use for.

        Args:
            data: of the run.
            absent: keys of the run by name that must be null.

        Raises:
            ValueError: one of them is given, or images are cropped, a cuboid is dropped, or superpixels are set.
        """
        given = [key for key, value in absent.items() if value is not None]
        if data.superpixels != SuperpixelConfig():
            given.append("data.superpixels")
        if given:
            raise ValueError(f"{', '.join(given)}: {self.kind} has no use for it; remove it")
        for key in ("drop_cuboid", "crop_images"):
            if getattr(data.augment, key):
                raise ValueError(
                    f"data.augment.{key}: {self.kind} needs the whole sweep and whole images; set it to false"
                )
