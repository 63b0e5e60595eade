"""Config of engine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lidardistill.config.base import Strict


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
