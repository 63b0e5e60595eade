"""Config of `detect`: a detector that is fine-tuned on a share of the boxes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lidardistill.backbones.camera_bev.config import CameraBevConfig
from lidardistill.backbones.lidar_bev.config import LidarBevConfig
from lidardistill.config.base import Strict
from lidardistill.data.config import ImageConfig, VoxelConfig
from lidardistill.datasets.kinds import SourceKeys
from lidardistill.engine.config import (
    AdamWConfig,
    OneCycleConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainerConfig,
    check_warmup,
)


class DetectionAugmentConfig(Strict):
    """Random motion of a keyframe and its boxes.

    The defaults are CenterPoint's for nuScenes with voxels of 0.075 m. For voxels of 0.1 m and pillars of
    0.2 m CenterPoint and mmdet3d use 22.5 degrees and no shift.

    rotate_max_deg: largest rotation around z, degrees.
    scale: smallest and largest scale.
    flip_x, flip_y: mirror along x, along y, each with probability 0.5.
    shift_std_m: standard deviation of the shift along x, y and z, metres.
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
    """GT sampling: pastes objects of other labelled keyframes. The defaults are CenterPoint's for nuScenes.

    counts: number of objects that a keyframe is filled up to, for car, truck, construction_vehicle, bus,
        trailer, barrier, motorcycle, bicycle, pedestrian and traffic_cone.
    min_points: smallest number of LiDAR points of a pasted object.
    cache: folder that keeps the cut-out objects; null keeps them in memory.
    """

    counts: tuple[
        NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt,
        NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt,
    ] = (2, 3, 7, 4, 6, 2, 6, 6, 2, 2)  # fmt: skip
    min_points: PositiveInt = 5
    cache: str | None = None


class LabelledDataConfig(SourceKeys):
    """Keyframes with labels of a share of the scenes.

    label_percent: share of the scenes of `train_split`: every k-th scene in database order, but at least one.
    sweeps: number of earlier scans that are added to each keyframe. CenterPoint has 9, so ten scans in all.
    augment: random motion of a keyframe and its labels.
    """

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

    gt_sampling: paste objects of other keyframes; null disables it.
    class_balanced: repeat keyframes so that rare classes appear as often as frequent ones (CBGS).
    min_points: boxes with fewer LiDAR and radar points are not trained on.
    image_size: (height, width) of the images of the camera network; null keeps their size. Only with
        `camera`.
    images: how images are read. Only with `camera`.
    """

    gt_sampling: GTSamplingConfig | None = GTSamplingConfig()
    class_balanced: bool = True
    min_points: NonNegativeInt = 1
    image_size: tuple[PositiveInt, PositiveInt] | None = None
    images: ImageConfig = ImageConfig()


class CenterConfig(Strict):
    """CenterPoint's head and the decoding of its maps. The defaults are CenterPoint's for nuScenes.

    width: channels of the shared convolution and of the branches.
    box_weight: weight of the box loss; the heatmap loss has weight 1.
    score_threshold: boxes with this score or less are dropped.
    max_boxes: number of boxes that are kept of each of the six groups of classes. nuScenes accepts 500 a
        keyframe.
    """

    width: PositiveInt = 64
    box_weight: PositiveFloat = 0.25
    score_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.1
    max_boxes: Annotated[int, Field(ge=1, le=83)] = 83


class DetectConfig(Strict):
    """A CenterPoint detector on a pretrained backbone.

    camera: camera network, whose map is fused with the LiDAR's map; null for LiDAR alone.
    lr_backbone: learning rate of the pretrained networks as a share of the optimiser's rate.
    calibration_keyframes: keyframes of the training split on which BatchNorm statistics are measured again
        at the end, without boxes; 0 keeps the running statistics. Short runs end before these have settled.
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
        self.student.check(self.voxels)
        check_warmup(self.schedule, self.trainer)
        if self.camera is not None and self.data.gt_sampling is not None:
            raise ValueError(
                "data.gt_sampling: a pasted object stands in no image, so with `camera` it must be null"
            )
        if self.camera is None and (self.data.image_size is not None or self.data.images != ImageConfig()):
            raise ValueError("data.image_size, data.images: there is no `camera` to see them; remove them")
        return self
