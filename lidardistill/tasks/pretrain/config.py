"""The three kinds of run: pretrain, probe, finetune."""

from __future__ import annotations

from typing import ClassVar

from pydantic import NonNegativeInt, model_validator

from lidardistill.backbones.kinds import StudentConfig, check_student
from lidardistill.backbones.minkunet.config import MinkUNetConfig
from lidardistill.config.base import Strict
from lidardistill.data.config import AugmentConfig, ImageConfig, PairDataConfig, VoxelConfig
from lidardistill.engine.config import (
    CosineConfig,
    OptimizerConfig,
    ScheduleConfig,
    SGDConfig,
    TrainerConfig,
    check_warmup,
)
from lidardistill.methods.bevcontrast.config import BEVContrastConfig, BEVTermConfig
from lidardistill.methods.calico_rad.config import RADConfig
from lidardistill.methods.kinds import MethodConfig
from lidardistill.methods.slidr.config import SLidRConfig
from lidardistill.regions.superpixels.config import SuperpixelConfig
from lidardistill.teachers.config import TeacherConfig


class PretrainConfig(Strict):
    """What a method has no use for must keep its default, so that no key of a file is without effect."""

    recipes: ClassVar[str] = "pretrain"

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
