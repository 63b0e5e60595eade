"""Optimisers, learning rate schedules, and the moving average of the weights (EMA)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lidardistill.engine.config import OptimizerConfig, ScheduleConfig

ParameterGroup = dict[str, Any]


def make_optimizer(
    kind: str,
    params: nn.Module | Iterable[nn.Parameter] | Iterable[ParameterGroup],
    *,
    lr: float,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    dampening: float = 0.0,
) -> torch.optim.Optimizer:
    """SGD or AdamW over all trainable parameters; fused, so the device can skip a step without the host.

    Args:
        kind: "sgd" or "adamw".
        params: a module, parameters, or torch's parameter groups {"params": [...], "lr": ...}.
        lr: learning rate of groups without their own.
        weight_decay: weight decay of groups without their own.
        momentum: momentum of SGD.
        dampening: dampening of SGD; SLidR trains with 0.1.

    Raises:
        ValueError: unknown kind, no trainable parameter, or a learning rate that is not above 0.

    Source: SGD with momentum 0.9, dampening 0.1, weight decay 1e-4: SLidR (CVPR 2022), the authors'
        configuration.
    """
    if not lr > 0:
        raise ValueError(f"optimizer.lr must be above 0, got {lr}")
    groups = _groups(params, weight_decay)
    if not groups:
        raise ValueError("make_optimizer: no parameter requires a gradient, there is nothing to train")
    if kind == "sgd":
        return torch.optim.SGD(
            groups, lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, fused=True
        )
    if kind == "adamw":
        return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, fused=True)
    raise ValueError(f"optimizer.kind must be sgd or adamw, got {kind!r}")


def _groups(
    params: nn.Module | Iterable[nn.Parameter] | Iterable[ParameterGroup],
    weight_decay: float,
) -> list[ParameterGroup]:
    given: list[Any] = list(params.parameters()) if isinstance(params, nn.Module) else list(params)
    if given and not isinstance(given[0], dict):
        given = [{"params": given}]
    groups: list[ParameterGroup] = []
    for group in given:
        trained = [p for p in group["params"] if p.requires_grad]
        if trained:
            groups.append({"weight_decay": weight_decay, **group, "params": trained})
    return groups


@dataclass(frozen=True)
class Schedule:
    """Learning rate as a pure function of the step, so resuming needs no state.

    Attributes:
        share: function from step (from 0) to the factor of every group's learning rate.
    """

    share: Callable[[int], float]

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> float:
        """Set the learning rate of every group for this step; returns the rate of the first group."""
        share = self.share(step)
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * share
        return float(optimizer.param_groups[0]["lr"])


def make_schedule(
    kind: str,
    *,
    total_steps: int,
    steps_per_epoch: float | None = None,
    per: str = "epoch",
    warmup_steps: int = 0,
    warmup_share: float = 0.4,
    final_share: float = 0.0,
) -> Schedule:
    """Make the learning rate schedule of a run.

    Args:
        kind: "constant"; "cosine", from 1 to 0; "warm_cosine", linear from 0 up to 1, then cosine down;
            "one_cycle", cosine from 1/25 up to 1, then cosine down to 4e-6.
        total_steps: optimiser steps of the whole run.
        steps_per_epoch: steps of one epoch, may be fractional; "cosine" with per="epoch" needs it.
        per: "cosine" only: "epoch" keeps the rate over an epoch (SLidR), "step" changes it at every step.
        warmup_steps: "cosine" with per="step" only: steps of the linear rise to 1; 0 disables the warm-up.
        warmup_share: "one_cycle" and "warm_cosine" only: length of the rise as a share of the run, in 0..1.
        final_share: "warm_cosine" only: factor at the end of the run.

    Raises:
        ValueError: unknown kind, or arguments that contradict each other.

    Source: cosine by epoch: SLidR's CosineAnnealingLR. Warm cosine: BEVContrast, 0.05 and 0.01. One cycle:
        Smith and Topin, 2018, with torch's div_factor 25, final_div_factor 1e4. Differs from it in: momentum
        is not cycled.
    """
    if total_steps < 1:
        raise ValueError(f"make_schedule: total_steps must be at least 1, got {total_steps}")
    if kind == "constant":
        return Schedule(lambda step: 1.0)
    if kind == "cosine" and per == "epoch":
        if not steps_per_epoch or steps_per_epoch <= 0:
            raise ValueError(f"cosine per epoch needs steps_per_epoch above 0, got {steps_per_epoch}")
        if warmup_steps:
            raise ValueError(
                "schedule.warmup_steps needs schedule.per: step; SLidR's cosine per epoch has none"
            )

        def epoch(step: int) -> int:
            return math.floor(step / steps_per_epoch + 1e-9)

        num_epochs = epoch(total_steps - 1) + 1
        return Schedule(lambda step: _cosine(epoch(step) / num_epochs))
    if kind == "cosine" and per == "step":
        if not 0 <= warmup_steps < total_steps:
            raise ValueError(f"schedule.warmup_steps must lie in 0..{total_steps - 1}, got {warmup_steps}")

        def warm_cosine(step: int) -> float:
            if step < warmup_steps:
                return (step + 1) / warmup_steps
            return _cosine((step - warmup_steps) / (total_steps - warmup_steps))

        return Schedule(warm_cosine)
    if kind in ("warm_cosine", "one_cycle") and not 0 < warmup_share < 1:
        raise ValueError(f"schedule.warmup_share must lie between 0 and 1, got {warmup_share}")
    if kind == "warm_cosine":
        if not 0 <= final_share <= 1:
            raise ValueError(f"schedule.final_share must lie in 0..1, got {final_share}")
        rise = warmup_share * total_steps

        def rise_and_fall(step: int) -> float:
            if step < rise:
                return step / rise
            return final_share + (1 - final_share) * _cosine((step - rise) / (total_steps - rise))

        return Schedule(rise_and_fall)
    if kind == "one_cycle":
        top, last = warmup_share * total_steps - 1, total_steps - 1
        start, end = 1 / 25, 1 / 25 / 1e4

        def one_cycle(step: int) -> float:
            if step <= top:
                return 1 + (start - 1) * _cosine(step / top if top > 0 else 1.0)
            return end + (1 - end) * _cosine((step - top) / (last - top) if last > top else 1.0)

        return Schedule(one_cycle)
    raise ValueError(
        f"schedule must be constant, cosine (per epoch or step), warm_cosine or one_cycle, got {kind!r} per "
        f"{per!r}"
    )


def _cosine(progress: float) -> float:
    """Half cosine: 1 at progress 0, 0 at progress 1."""
    return 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))


class EMA:
    """Exponential moving average of trainable parameters and of the floating-point buffers beside them.

    Args:
        model: the model; its frozen parameters are left out.
        decay: weight of the past, in 0..1. The decay of update n is min(decay, (1 + n) / (10 + n)), so that
            the average forgets the initial weights.

    Source: the decay's start: TensorFlow's ExponentialMovingAverage; Polyak and Juditsky, 1992.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"trainer.ema_decay must lie between 0 and 1, got {decay}")
        self.decay = decay
        self.num_updates = 0
        self.average = {name: value.detach().clone() for name, value in _averaged(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module, taken: Tensor) -> None:
        """Update the average after an optimiser step; `taken`, () bool on the device, False if skipped."""
        self.num_updates += 1
        weight = 1 - min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        current = _averaged(model)
        average = list(self.average.values())
        change = torch._foreach_sub([current[name] for name in self.average], average)
        torch._foreach_mul_(change, taken.float() * weight)
        torch._foreach_add_(average, change)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Overwrite the model's weights with the average."""
        current = _averaged(model)
        for name, value in self.average.items():
            current[name].copy_(value)

    def state_dict(self) -> dict[str, Any]:
        return {"num_updates": self.num_updates, "average": self.average}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state.get("average", {}).keys() != self.average.keys():
            raise ValueError(
                "the checkpoint's moving average is of another model: its parameter names differ"
            )
        self.num_updates = int(state["num_updates"])
        for name, value in state["average"].items():
            self.average[name].copy_(value)


def _averaged(model: nn.Module) -> dict[str, Tensor]:
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    # Buffers of a module whose parameters are all frozen (a teacher) do not change.
    for prefix, module in model.named_modules():
        if not module.training:
            continue
        for name, buffer in module.named_buffers(prefix, recurse=False):
            if buffer.is_floating_point():
                trained[name] = buffer
    return trained


def build_optimizer(
    config: OptimizerConfig, params: nn.Module | list[dict[str, Any]]
) -> torch.optim.Optimizer:
    """Build the configured optimiser over the trainable parameters."""
    return make_optimizer(config.kind, params, **config.model_dump(exclude={"kind"}))


def build_schedule(config: ScheduleConfig, *, steps: int, steps_per_epoch: float) -> Schedule:
    options = config.model_dump(exclude={"kind"})
    return make_schedule(config.kind, total_steps=steps, steps_per_epoch=steps_per_epoch, **options)
