"""Config of `lidardistill pretrain`."""

from __future__ import annotations

from pydantic import BaseModel, Field, NonNegativeInt, model_validator

from lidardistill.backbones.kinds import StudentConfig
from lidardistill.backbones.minkunet.config import MinkUNetConfig
from lidardistill.config.base import Strict
from lidardistill.data.config import PairDataConfig, VoxelConfig
from lidardistill.engine.config import (
    CosineConfig,
    OptimizerConfig,
    ScheduleConfig,
    SGDConfig,
    TrainerConfig,
    check_warmup,
)
from lidardistill.methods.config import MethodConfig
from lidardistill.methods.kinds import SHARED_KEYS, AnyMethodConfig, BEVTermConfig, SLidRConfig
from lidardistill.teachers.config import TeacherConfig


class PretrainConfig(Strict):
    """Config of a pretraining run. A key that the method does not read must keep its default: no key is
    without effect."""

    name: str
    seed: NonNegativeInt = 0
    data: PairDataConfig
    voxels: VoxelConfig = VoxelConfig()
    student: StudentConfig = MinkUNetConfig()
    teacher: TeacherConfig | None = Field(default=None, examples=["{kind: efficientnet_lite0}"])
    teacher_cache: str | None = None
    method: AnyMethodConfig = SLidRConfig()
    bev_term: BEVTermConfig | None = None
    optimizer: OptimizerConfig = SGDConfig()
    schedule: ScheduleConfig = CosineConfig()
    trainer: TrainerConfig

    @model_validator(mode="after")
    def _warmup_fits(self) -> PretrainConfig:
        check_warmup(self.schedule, self.trainer)
        return self

    @property
    def methods(self) -> tuple[MethodConfig, ...]:
        """The method, and the term that is added to its loss, if there is one."""
        return (self.method,) if self.bev_term is None else (self.method, self.bev_term)

    @model_validator(mode="after")
    def _keys_suit_the_method(self) -> PretrainConfig:
        self.student.check(self.voxels)
        method = self.method
        for config in self.methods:
            if self.student.makes not in config.trains:
                wanted = " or ".join(sorted(config.trains))
                raise ValueError(
                    f"student.kind: {config.kind} trains backbones that make {wanted}, got "
                    f"{self.student.kind}, which "
                    f"makes {self.student.makes}"
                )
        for key in sorted(method.needs):
            holder, name = self._holder(key)
            if getattr(holder, name) is None:
                examples = type(holder).model_fields[name].examples or ()
                example = "".join(f", such as {text}" for text in examples)
                raise ValueError(f"key {key!r} is missing: {method.kind} needs it{example}")
        unread = [key for key in SHARED_KEYS if key not in method.reads and self._is_given(key)]
        if unread:
            it = "it" if len(unread) == 1 else "them"
            raise ValueError(f"{', '.join(unread)}: {method.kind} does not read {it}; remove {it}")
        for config in self.methods:
            config.check(self)
        return self

    def _holder(self, key: str) -> tuple[BaseModel, str]:
        """The mapping that a dotted key stands in, and its name there."""
        holder: BaseModel = self
        *parents, name = key.split(".")
        for parent in parents:
            holder = getattr(holder, parent)
        return holder, name

    def _is_given(self, key: str) -> bool:
        """True if a dotted key has another value than its default."""
        holder, name = self._holder(key)
        default = type(holder).model_fields[name].get_default(call_default_factory=True)
        return bool(getattr(holder, name) != default)
