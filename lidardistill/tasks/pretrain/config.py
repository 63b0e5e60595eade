"""The three kinds of run: pretrain, probe, finetune."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lidardistill.backbones.kinds import (
    MinkUNetConfig,
    StudentConfig,
    TeacherConfig,
    VoxelConfig,
    check_student,
)
from lidardistill.config.base import Strict
from lidardistill.data.config import (
    AugmentConfig,
    ImageConfig,
    PairDataConfig,
    ScanDataConfig,
    SuperpixelConfig,
)
from lidardistill.methods.calico_rad.config import RADConfig
from lidardistill.methods.kinds import BEVContrastConfig, BEVTermConfig, MethodConfig, SLidRConfig


class SGDConfig(Strict):
    kind: Literal["sgd"] = "sgd"
    lr: PositiveFloat = 0.5
    momentum: NonNegativeFloat = 0.9
    dampening: NonNegativeFloat = 0.1
    weight_decay: NonNegativeFloat = 1e-4


class AdamWConfig(Strict):
    kind: Literal["adamw"]
    lr: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 1e-2


OptimizerConfig = Annotated[SGDConfig | AdamWConfig, Field(discriminator="kind")]


class CosineConfig(Strict):
    """Cosine to zero. `per` epoch is SLidR's staircase; `per` step is smooth and may warm up."""

    kind: Literal["cosine"] = "cosine"
    per: Literal["epoch", "step"] = "epoch"
    warmup_steps: NonNegativeInt = 0


class WarmCosineConfig(Strict):
    """BEVContrast's: from zero up to the rate over a share of the run, then cosine down to a share of the rate."""

    kind: Literal["warm_cosine"]
    warmup_share: PositiveFloat = 0.05
    final_share: NonNegativeFloat = 0.01


class OneCycleConfig(Strict):
    kind: Literal["one_cycle"]
    warmup_share: PositiveFloat = 0.4


class ConstantConfig(Strict):
    kind: Literal["constant"]


ScheduleConfig = Annotated[
    CosineConfig | WarmCosineConfig | OneCycleConfig | ConstantConfig, Field(discriminator="kind")
]


class TrainerConfig(Strict):
    """Length, precision and safety of a run. Exactly one of `epochs` and `max_steps` is given."""

    epochs: PositiveInt | None = None
    max_steps: PositiveInt | None = None
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    accumulate: PositiveInt = 1
    clip_norm: PositiveFloat | None = None
    ema_decay: PositiveFloat | None = None
    checkpoint_every: PositiveInt = 1000
    keep_checkpoints: PositiveInt = 2
    log_every: PositiveInt = 50
    max_nonfinite: PositiveInt = 5

    @model_validator(mode="after")
    def _one_length(self) -> TrainerConfig:
        if (self.epochs is None) == (self.max_steps is None):
            raise ValueError("trainer: give exactly one of epochs and max_steps")
        return self


def check_warmup(schedule: ScheduleConfig, trainer: TrainerConfig) -> None:
    """A run shorter than its warm-up is refused before anything is built; a length in epochs is known only later."""
    warmup = schedule.warmup_steps if isinstance(schedule, CosineConfig) else 0
    if trainer.max_steps is not None and warmup >= trainer.max_steps:
        raise ValueError(
            f"schedule.warmup_steps must be below trainer.max_steps = {trainer.max_steps}, got {warmup}"
        )


class PretrainConfig(Strict):
    """What a method has no use for must keep its default, so that no key of a file is without effect."""

    name: str
    seed: NonNegativeInt = 0
    data: PairDataConfig
    voxels: VoxelConfig = VoxelConfig()
    student: StudentConfig = MinkUNetConfig()
    teacher: TeacherConfig | None = None
    teacher_cache: str | None = None
    method: MethodConfig = SLidRConfig()
    bev_term: BEVTermConfig | None = None
    optimizer: OptimizerConfig = SGDConfig()
    schedule: ScheduleConfig = CosineConfig()
    trainer: TrainerConfig

    @model_validator(mode="after")
    def _warmup_fits(self) -> PretrainConfig:
        check_warmup(self.schedule, self.trainer)
        return self

    @model_validator(mode="after")
    def _parts_are_those_of_the_method(self) -> PretrainConfig:
        check_student(self.student, self.voxels)
        if self.student.kind not in self.method.students:
            raise ValueError(
                f"student.kind: {self.method.kind} trains {' or '.join(self.method.students)}, got {self.student.kind}"
            )
        if self.method.needs_teacher and self.teacher is None:
            raise ValueError(
                f"key 'teacher' is missing: {self.method.kind} distils one, such as {{kind: efficientnet_lite0}}"
            )
        if isinstance(self.method, RADConfig):
            keys = ("teacher", "teacher_cache", "bev_term")
            self.method.check_parts(self.data, **{key: getattr(self, key) for key in keys})
        if self.method.sees_cameras:
            return self
        unused = {
            "teacher": self.teacher is not None,
            "teacher_cache": self.teacher_cache is not None,
            "data.superpixels": self.data.superpixels != SuperpixelConfig(),
            "data.augment": self.data.augment != AugmentConfig(),
            "data.images": self.data.images != ImageConfig(),
            "data.visibility": self.data.visibility != "none",
        }
        given = [key for key, is_given in unused.items() if is_given]
        if given:
            raise ValueError(
                f"{', '.join(given)}: {self.method.kind} sees no camera; remove what belongs to one (scans are moved "
                "by keys of method)"
            )
        return self

    @model_validator(mode="after")
    def _scans_make_maps(self) -> PretrainConfig:
        scans, key = self.method, "method"
        if self.bev_term is not None:
            if not self.method.sees_cameras:
                raise ValueError(
                    f"bev_term: it is added to a method that sees cameras, and {self.method.kind} sees none; remove it"
                )
            scans, key = self.bev_term, "bev_term"
        if not isinstance(scans, BEVContrastConfig):
            return self
        if self.voxels.kind != "cartesian":
            raise ValueError(f"voxels.kind: {scans.kind} needs cartesian voxels, got {self.voxels.kind}")
        default = BEVContrastConfig(kind="bevcontrast")
        if self.student.kind == "lidar_bev":
            for name in ("bev_range", "cell_size"):
                if getattr(scans, name) != getattr(default, name):
                    raise ValueError(
                        f"{key}.{name}: the maps of student.preset {self.student.preset} have cells of their own; remove it"
                    )
        return self

    @model_validator(mode="after")
    def _cached_features_need_still_images(self) -> PretrainConfig:
        if not isinstance(self.method, SLidRConfig):
            return self
        augment = self.data.augment
        if self.teacher_cache and (augment.crop_images or augment.flip_images):
            raise ValueError(
                "teacher_cache: the teacher's features are computed once, so data.augment.crop_images and "
                "data.augment.flip_images must be false"
            )
        if self.teacher_cache and self.method.normalize != "superpixel":
            raise ValueError(
                "teacher_cache: pooled features are cached, so method.normalize must be superpixel"
            )
        if self.method.pairing == "other_keyframe" and not self.teacher_cache:
            raise ValueError(
                "method.pairing other_keyframe takes cached features: set teacher_cache to a folder"
            )
        return self


class CachedProbeConfig(Strict):
    """Features are computed once, standardised, and a linear layer is fitted until it has converged."""

    kind: Literal["cached"] = "cached"
    epochs: PositiveInt = 15
    lr: PositiveFloat = 0.1
    batch_points: PositiveInt = 16384
    calibration_keyframes: NonNegativeInt = 16


class OnlineProbeConfig(Strict):
    """SLidR's protocol: the head trains on augmented scans behind a frozen network in eval mode."""

    kind: Literal["online"]
    optimizer: OptimizerConfig = SGDConfig(lr=0.05)
    epochs: PositiveInt = 50
    lovasz: bool = True


class ProbeConfig(Strict):
    name: str
    seed: NonNegativeInt = 0
    data: ScanDataConfig
    voxels: VoxelConfig = VoxelConfig()
    student: MinkUNetConfig = MinkUNetConfig()
    probe: Annotated[CachedProbeConfig | OnlineProbeConfig, Field(discriminator="kind")] = CachedProbeConfig()
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"


class FinetuneConfig(Strict):
    """Cross-entropy and Lovasz on all weights; `lr_head` gives the new layer its own rate."""

    name: str
    seed: NonNegativeInt = 0
    data: ScanDataConfig
    voxels: VoxelConfig = VoxelConfig()
    student: MinkUNetConfig = MinkUNetConfig()
    optimizer: OptimizerConfig = SGDConfig(lr=0.02)
    lr_head: PositiveFloat | None = None
    schedule: ScheduleConfig = CosineConfig()
    lovasz: bool = True
    calibration_keyframes: NonNegativeInt = 0
    trainer: TrainerConfig

    @model_validator(mode="after")
    def _warmup_fits(self) -> FinetuneConfig:
        check_warmup(self.schedule, self.trainer)
        return self
