"""Optimiser, learning rate schedule, and length of a training run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lidardistill.config.base import Strict


class SGDConfig(Strict):
    """SGD with momentum. The defaults are SLidR's for pretraining.

    lr: learning rate at the start of the schedule.
    dampening: share of the gradient that momentum leaves out.
    weight_decay: also applies to BatchNorm and biases, as in SLidR.
    """

    kind: Literal["sgd"] = "sgd"
    lr: PositiveFloat = 0.5
    momentum: NonNegativeFloat = 0.9
    dampening: NonNegativeFloat = 0.1
    weight_decay: NonNegativeFloat = 1e-4


class AdamWConfig(Strict):
    """AdamW. `lr` is the peak of the schedule."""

    kind: Literal["adamw"]
    lr: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 1e-2


OptimizerConfig = Annotated[SGDConfig | AdamWConfig, Field(discriminator="kind")]


class CosineConfig(Strict):
    """Cosine from the learning rate down to zero.

    per: `epoch` changes the rate after each epoch, as SLidR does; `step` changes it after each step.
    warmup_steps: steps of linear warm-up from zero. Only with `per: step`.
    """

    kind: Literal["cosine"] = "cosine"
    per: Literal["epoch", "step"] = "epoch"
    warmup_steps: NonNegativeInt = 0


class WarmCosineConfig(Strict):
    """Linear warm-up from zero, then cosine, by step, as in BEVContrast.

    warmup_share: length of the warm-up as a share of all steps.
    final_share: rate at the end as a share of the learning rate.
    """

    kind: Literal["warm_cosine"]
    warmup_share: PositiveFloat = 0.05
    final_share: NonNegativeFloat = 0.01


class OneCycleConfig(Strict):
    """One cycle: cosine from 1/25 of the rate up to it, then down to almost zero, by step.

    warmup_share: length of the rise as a share of all steps.
    """

    kind: Literal["one_cycle"]
    warmup_share: PositiveFloat = 0.4


class ConstantConfig(Strict):
    """The learning rate never changes."""

    kind: Literal["constant"]


ScheduleConfig = Annotated[
    CosineConfig | WarmCosineConfig | OneCycleConfig | ConstantConfig, Field(discriminator="kind")
]


class TrainerConfig(Strict):
    """Length, precision and checkpoints of a run.

    epochs, max_steps: length of the run. Give exactly one of them.
    accelerator: `auto` takes a GPU if torch finds one.
    precision: arithmetic of the forward pass; weights stay in float32.
    accumulate: micro-batches whose gradients are added before each optimiser step.
    clip_norm: largest norm of the gradient; null does not clip.
    ema_decay: decay of the moving average of the weights that the run ends with; null for none.
    checkpoint_every: steps between two checkpoints.
    keep_checkpoints: number of recent checkpoints that are kept.
    log_every: steps between two lines of metrics.
    max_nonfinite: the run stops after this many steps in a row whose loss or gradient is not finite.
    """

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
    """Check that the warm-up is shorter than the run, if its length is given in steps.

    Raises:
        ValueError: `schedule.warmup_steps` is not below `trainer.max_steps`.
    """
    warmup = schedule.warmup_steps if isinstance(schedule, CosineConfig) else 0
    if trainer.max_steps is not None and warmup >= trainer.max_steps:
        raise ValueError(
            f"schedule.warmup_steps must be below trainer.max_steps = {trainer.max_steps}, got {warmup}"
        )
