"""The fourth kind of run: a detector, fine-tuned on a share of the boxes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lidardistill.backbones.camera_bev.config import CameraBevConfig
from lidardistill.backbones.kinds import check_student
from lidardistill.backbones.lidar_bev.config import LidarBevConfig
from lidardistill.config.base import Strict
from lidardistill.data.config import ImageConfig, VoxelConfig
from lidardistill.engine.config import (
    AdamWConfig,
    OneCycleConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainerConfig,
    check_warmup,
)


class DetectionAugmentConfig(Strict):
    """What happens to a keyframe and its boxes together; CenterPoint's values for nuScenes are the defaults.

    rotate_max_deg: turned around z by at most so much.
    scale: smallest and largest.
    flip_x, flip_y: mirrored along x, along y, each for half of the keyframes.
    shift_std_m: of a shift along x, y and z, metres.
    """

    rotate_max_deg: Annotated[float, Field(ge=0, le=180)] = 45.0
    scale: tuple[PositiveFloat, PositiveFloat] = (0.95, 1.05)
    flip_x: bool = True
    flip_y: bool = True
    shift_std_m: NonNegativeFloat = 0.5

    @model_validator(mode="after")
    def _scale_rises(self) -> DetectionAugmentConfig:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f".scale: expected smallest, largest, got {list(self.scale)}")
        return self


class GTSamplingConfig(Strict):
    """Objects of other labelled keyframes are pasted into each; CenterPoint's counts for nuScenes are the defaults.

    counts: objects of car, truck, construction_vehicle, bus, trailer, barrier, motorcycle, bicycle, pedestrian and
        traffic_cone that a keyframe is filled up to.
    min_points: LiDAR points that an object must have.
    cache: folder in which the cut-out objects are kept; null holds them in memory.
    """

    counts: tuple[
        NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt,
        NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt,
    ] = (2, 3, 7, 4, 6, 2, 6, 6, 2, 2)  # fmt: skip
    min_points: PositiveInt = 5
    cache: str | None = None


class LabelledDataConfig(Strict):
    """Keyframes with labels of a share of the scenes.

    label_percent: share of the scenes of `train_split`, every k-th in database order; one where there are fewer than k.
    sweeps: scans before each keyframe that are added to it; CenterPoint's ten scans are nine and the keyframe.
    augment: what happens to a keyframe and its labels together.
    """

    dataroot: str
    version: str = "v1.0-trainval"
    train_split: str = "train"
    eval_split: str = "val"
    label_percent: Literal[5, 10, 20, 50, 100] = 100
    sweeps: NonNegativeInt = 9
    augment: DetectionAugmentConfig = DetectionAugmentConfig()
    batch_size: PositiveInt = 32
    num_workers: NonNegativeInt = 8
    max_corrupt: NonNegativeInt = 20


class DetectionDataConfig(LabelledDataConfig):
    """Keyframes with boxes.

    gt_sampling: null for none.
    class_balanced: rare classes as often as frequent ones, by repeating keyframes (CBGS).
    min_points: LiDAR and radar points that a box must have to be learnt.
    image_size: of the images that a camera network sees, (height, width); null leaves them. With `camera` alone.
    images: how they are read. With `camera` alone.
    """

    gt_sampling: GTSamplingConfig | None = GTSamplingConfig()
    class_balanced: bool = True
    min_points: NonNegativeInt = 1
    image_size: tuple[PositiveInt, PositiveInt] | None = None
    images: ImageConfig = ImageConfig()


class CenterConfig(Strict):
    """CenterPoint's head and what becomes of its maps; the defaults are its configuration of nuScenes.

    width: channels of the shared convolution and of the branches.
    box_weight: of the boxes' loss beside the heatmaps'.
    score_threshold: boxes at or below it are no detections.
    max_boxes: best boxes of each of the six groups of classes; nuScenes takes 500 of a keyframe.
    """

    width: PositiveInt = 64
    box_weight: PositiveFloat = 0.25
    score_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.1
    max_boxes: Annotated[int, Field(ge=1, le=83)] = 83


class DetectConfig(Strict):
    """A detector.

    camera: network whose map is fused with that of the LiDAR; null for LiDAR alone.
    lr_backbone: learning rate of the pretrained networks as a share of the optimiser's.
    calibration_keyframes: of the training split, boxes unread, that BatchNorm's statistics are measured anew on at the
        end; 0 leaves the running ones. A short run ends before they have caught up with the weights.
    """

    recipes: ClassVar[str] = "detect"

    name: str
    seed: NonNegativeInt = 0
    data: DetectionDataConfig
    voxels: VoxelConfig
    student: LidarBevConfig
    camera: CameraBevConfig | None = None
    head: CenterConfig = CenterConfig()
    optimizer: OptimizerConfig = AdamWConfig(kind="adamw")
    lr_backbone: PositiveFloat = 1.0
    schedule: ScheduleConfig = OneCycleConfig(kind="one_cycle")
    calibration_keyframes: NonNegativeInt = 0
    trainer: TrainerConfig

    @model_validator(mode="after")
    def _parts_fit(self) -> DetectConfig:
        check_student(self.student, self.voxels)
        check_warmup(self.schedule, self.trainer)
        if self.camera is not None and self.data.gt_sampling is not None:
            raise ValueError(
                "data.gt_sampling: a pasted object stands in no image, so with `camera` it must be null"
            )
        if self.camera is None and (self.data.image_size is not None or self.data.images != ImageConfig()):
            raise ValueError("data.image_size, data.images: there is no `camera` to see them; remove them")
        return self
