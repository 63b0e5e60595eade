"""The fifth kind of run: map segmentation on a share of the scenes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lidardistill.config.base import Strict
from lidardistill.config.detect import DetectionAugmentConfig
from lidardistill.config.model import LidarBevConfig, VoxelConfig, check_student
from lidardistill.config.run import (
    AdamWConfig,
    OneCycleConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainerConfig,
    check_warmup,
)

MapClass = Literal["drivable_area", "ped_crossing", "walkway", "stop_line", "carpark_area", "divider"]


class MapDataConfig(Strict):
    """Keyframes with the map around them.

    label_percent: share of the scenes of `train_split`, every k-th in database order; one where there are fewer than k.
    sweeps: scans before each keyframe that are added to it.
    augment: what happens to a scan and its map together; BEVFusion's values are the defaults.
    """

    dataroot: str
    version: str = "v1.0-trainval"
    train_split: str = "train"
    eval_split: str = "val"
    label_percent: Literal[5, 10, 20, 50, 100] = 100
    sweeps: NonNegativeInt = 9
    augment: DetectionAugmentConfig = DetectionAugmentConfig(scale=(0.9, 1.1))
    batch_size: PositiveInt = 32
    num_workers: NonNegativeInt = 8
    max_corrupt: NonNegativeInt = 20


class MapConfig(Strict):
    """Which masks: BEVFusion's six classes on 200 x 200 cells of half a metre by default."""

    classes: tuple[MapClass, ...] = (
        "drivable_area",
        "ped_crossing",
        "walkway",
        "stop_line",
        "carpark_area",
        "divider",
    )
    bev_range: tuple[float, float, float, float] = (-50.0, -50.0, 50.0, 50.0)
    cell_size: PositiveFloat = 0.5

    @model_validator(mode="after")
    def _range_holds_whole_cells(self) -> MapConfig:
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise ValueError(f".classes: expected at least one, each once, got {', '.join(self.classes)}")
        for axis, a, b in zip("xy", self.bev_range[:2], self.bev_range[2:], strict=True):
            cells = (b - a) / self.cell_size
            if b <= a or abs(cells - round(cells)) > 1e-4:
                raise ValueError(
                    f".bev_range along {axis}: {a} to {b} m is no whole number of {self.cell_size} m cells"
                )
        return self


class MapSegConfig(Strict):
    """A backbone with a map head.

    gamma: power of the focal loss.
    lr_backbone: learning rate of the pretrained network as a share of the optimiser's.
    calibration_keyframes: of the training split, maps unread, that BatchNorm's statistics are measured anew on at the
        end; 0 leaves the running ones. A short run ends before they have caught up with the weights.
    """

    name: str
    seed: NonNegativeInt = 0
    data: MapDataConfig
    voxels: VoxelConfig
    student: LidarBevConfig
    maps: MapConfig = MapConfig()
    gamma: Annotated[float, Field(ge=0)] = 2.0
    optimizer: OptimizerConfig = AdamWConfig(kind="adamw")
    lr_backbone: PositiveFloat = 1.0
    schedule: ScheduleConfig = OneCycleConfig(kind="one_cycle")
    calibration_keyframes: NonNegativeInt = 0
    trainer: TrainerConfig

    @model_validator(mode="after")
    def _parts_fit(self) -> MapSegConfig:
        check_student(self.student, self.voxels)
        check_warmup(self.schedule, self.trainer)
        reach = self.voxels.point_cloud_range
        assert reach is not None  # check_student refuses a student without one
        low, high = self.maps.bev_range[:2], self.maps.bev_range[2:]
        if any(a < b for a, b in zip(low, reach[:2], strict=True)) or any(
            a > b for a, b in zip(high, reach[3:5], strict=True)
        ):
            raise ValueError(
                f"maps.bev_range: {list(self.maps.bev_range)} must lie inside voxels.point_cloud_range {list(reach)}: "
                "the student sees nothing beyond"
            )
        return self
