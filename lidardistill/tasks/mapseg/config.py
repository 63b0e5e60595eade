"""Config of `mapseg`: map segmentation on a share of the scenes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, model_validator

from lidardistill.backbones.lidar_bev.config import LidarBevConfig
from lidardistill.config.base import Strict, check_whole_cells
from lidardistill.data.config import VoxelConfig
from lidardistill.engine.config import (
    AdamWConfig,
    OneCycleConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainerConfig,
    check_warmup,
)
from lidardistill.tasks.detect.config import DetectionAugmentConfig, LabelledDataConfig

MapClass = Literal["drivable_area", "ped_crossing", "walkway", "stop_line", "carpark_area", "divider"]


class MapDataConfig(LabelledDataConfig):
    """Keyframes with the map around them. The default augmentation is BEVFusion's."""

    augment: DetectionAugmentConfig = DetectionAugmentConfig(scale=(0.9, 1.1))


class MapConfig(Strict):
    """Classes and cells of the masks. The defaults are BEVFusion's: six classes on 200 x 200 cells of 0.5 m.

    bev_range: x_min, y_min, x_max, y_max of the masks, metres.
    cell_size: edge of a cell, metres.
    """

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
        check_whole_cells(self.bev_range, self.cell_size)
        return self


class MapSegConfig(Strict):
    """A backbone with a map head.

    gamma: power of the focal loss.
    lr_backbone: learning rate of the pretrained network as a share of the optimiser's rate.
    calibration_keyframes: keyframes of the training split on which BatchNorm statistics are measured again
        at the end, without maps; 0 keeps the running statistics. Short runs end before these have settled.
    """

    recipes: ClassVar[str] = "mapseg"

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
        self.student.check(self.voxels)
        check_warmup(self.schedule, self.trainer)
        reach = self.voxels.point_cloud_range
        assert reach is not None  # `check` refuses a student without one
        low, high = self.maps.bev_range[:2], self.maps.bev_range[2:]
        if any(a < b for a, b in zip(low, reach[:2], strict=True)) or any(
            a > b for a, b in zip(high, reach[3:5], strict=True)
        ):
            raise ValueError(
                f"maps.bev_range: {list(self.maps.bev_range)} must lie inside voxels.point_cloud_range "
                f"{list(reach)}: the student sees nothing beyond"
            )
        return self
