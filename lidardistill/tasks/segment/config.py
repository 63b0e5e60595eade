"""Configs of the linear probe and of fine-tuning on lidarseg labels."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lidardistill.backbones.kinds import StudentConfig
from lidardistill.backbones.minkunet.config import MinkUNetConfig
from lidardistill.config.base import Strict
from lidardistill.data.config import VoxelConfig
from lidardistill.datasets.kinds import SourceKeys
from lidardistill.engine.config import (
    CosineConfig,
    OptimizerConfig,
    ScheduleConfig,
    SGDConfig,
    TrainerConfig,
    check_warmup,
)


class ScanDataConfig(SourceKeys):
    """Labelled keyframes for probing and fine-tuning.

    Attributes:
        label_percent: share of the scenes of `train_split`, every k-th in database order.
        train_keyframes: at most this many labelled keyframes, evenly spread over those scenes.
        max_corrupt: stop the run if more training keyframes than this cannot be read; others replace them.
    """

    train_split: str = "train"
    val_split: str = "val"
    label_percent: Literal[1, 5, 10, 25, 100] = 100
    train_keyframes: PositiveInt | None = None
    rotate: bool = True
    flip: bool = True
    batch_size: PositiveInt = 16
    num_workers: NonNegativeInt = 8
    max_corrupt: NonNegativeInt = 20


class CachedProbeConfig(Strict):
    """Features are computed once, standardised, and a linear layer is fitted until it has converged."""

    kind: Literal["cached"] = "cached"
    epochs: PositiveInt = 15
    lr: PositiveFloat = 0.1
    batch_points: PositiveInt = 16384
    calibration_keyframes: NonNegativeInt = 16


class OnlineProbeConfig(Strict):
    """SLidR's protocol: a linear layer trains on augmented scans; the backbone is frozen and in eval mode.

    Differs from SLidR's code in, here and in fine-tuning: 16 outputs, where SLidR has 17 with class 0
    (never a target) in its softmax; the bias starts at 0, where SLidR draws it; a voxel has the label of
    its first labelled point, where SLidR takes its first point and ignores the voxel if that one has no
    label; the last, smaller batch of an epoch is used; a class that is absent from the split is left out of
    the mIoU, as in nuscenes-devkit, where SLidR counts 1.

    epochs: 100, as in SLidR's `semseg_nuscenes.yaml`, which its linear probe leaves unchanged.
    lovasz: add the Lovasz loss to cross-entropy.
    """

    kind: Literal["online"]
    optimizer: OptimizerConfig = SGDConfig(lr=0.05)
    epochs: PositiveInt = 100
    lovasz: bool = True


class ProbeConfig(Strict):
    recipes: ClassVar[str] = "probe"

    name: str
    seed: NonNegativeInt = 0
    data: ScanDataConfig
    voxels: VoxelConfig = VoxelConfig()
    student: StudentConfig = MinkUNetConfig()
    probe: Annotated[CachedProbeConfig | OnlineProbeConfig, Field(discriminator="kind")] = CachedProbeConfig()
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"

    @model_validator(mode="after")
    def _voxels_suit_the_student(self) -> ProbeConfig:
        self.student.check(self.voxels)
        return self

    @model_validator(mode="after")
    def _cached_features_are_of_still_scans(self) -> ProbeConfig:
        if self.probe.kind == "cached" and not (self.data.rotate and self.data.flip):
            raise ValueError(
                "data.rotate, data.flip: the cached probe reads scans without augmentation, so they have no "
                "effect; remove them, or set probe.kind to online"
            )
        return self


class FinetuneConfig(Strict):
    """Fine-tuning of all weights. Differences from SLidR's code: see `OnlineProbeConfig`.

    lr_head: learning rate of the new layer; null for that of the optimiser.
    lovasz: add the Lovasz loss to cross-entropy.
    calibration_keyframes: keyframes of the training split on which BatchNorm statistics are measured again
        at the end, without labels; 0 keeps the running statistics. Short runs end before these have
        settled.
    """

    recipes: ClassVar[str] = "finetune"

    name: str
    seed: NonNegativeInt = 0
    data: ScanDataConfig
    voxels: VoxelConfig = VoxelConfig()
    student: StudentConfig = MinkUNetConfig()
    optimizer: OptimizerConfig = SGDConfig(lr=0.02)
    lr_head: PositiveFloat | None = None
    schedule: ScheduleConfig = CosineConfig()
    lovasz: bool = True
    calibration_keyframes: NonNegativeInt = 0
    trainer: TrainerConfig

    @model_validator(mode="after")
    def _parts_fit(self) -> FinetuneConfig:
        self.student.check(self.voxels)
        check_warmup(self.schedule, self.trainer)
        return self
