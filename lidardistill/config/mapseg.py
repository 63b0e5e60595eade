"""Map segmentation: what is drawn around the car, and how it is learned."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeInt, PositiveFloat, model_validator

from lidardistill.config.base import Strict
from lidardistill.config.data import ScanDataConfig
from lidardistill.config.model import LidarBevConfig, VoxelConfig, check_student
from lidardistill.config.run import CosineConfig, OptimizerConfig, ScheduleConfig, SGDConfig, TrainerConfig

MapClass = Literal["drivable_area", "ped_crossing", "walkway", "stop_line", "carpark_area", "divider"]


class MapConfig(Strict):
    """Which masks; BEVFusion's six classes on 200 x 200 cells of half a metre by default."""

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
    """Focal loss on all weights; `lr_head` gives the new layers their own rate.

    `num_sweeps` counts scans before the keyframe's own. `calibration_keyframes` training scans renew the statistics of
    BatchNorm at the end, which a run of a few hundred steps has not yet reached; 0 keeps the running ones.
    """

    name: str
    seed: NonNegativeInt = 0
    data: ScanDataConfig
    num_sweeps: NonNegativeInt = 0
    voxels: VoxelConfig
    student: LidarBevConfig
    maps: MapConfig = MapConfig()
    gamma: float = 2.0
    optimizer: OptimizerConfig = SGDConfig(lr=0.02)
    lr_head: PositiveFloat | None = None
    schedule: ScheduleConfig = CosineConfig()
    calibration_keyframes: NonNegativeInt = 0
    trainer: TrainerConfig

    @model_validator(mode="after")
    def _parts_fit(self) -> MapSegConfig:
        check_student(self.student, self.voxels)
        warmup = self.schedule.warmup_steps if isinstance(self.schedule, CosineConfig) else 0
        if self.trainer.max_steps is not None and warmup >= self.trainer.max_steps:
            raise ValueError(
                f"schedule.warmup_steps must be below trainer.max_steps = {self.trainer.max_steps}, got {warmup}"
            )
        reach = self.voxels.point_cloud_range
        assert reach is not None  # check_student refuses a student without one
        low, high = self.maps.bev_range[:2], self.maps.bev_range[2:]
        if any(a < b for a, b in zip(low, reach[:2], strict=True)) or any(
            a > b for a, b in zip(high, reach[3:5], strict=True)
        ):
            raise ValueError(
                f"maps.bev_range {self.maps.bev_range} must lie inside voxels.point_cloud_range {reach}: the student "
                "sees nothing beyond"
            )
        return self
