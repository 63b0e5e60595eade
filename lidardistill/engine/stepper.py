"""One optimiser step without waiting for the device.

The device decides whether the step is taken; the host reads the decision one step later.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lidardistill.data.quarantine import Quarantine
from lidardistill.engine.distributed import average_gradients
from lidardistill.engine.optim import EMA
from lidardistill.engine.prefetch import Prefetcher
from lidardistill.engine.resume import changing_state, random_state, set_random_state
from lidardistill.engine.signals import Interrupted, StopSignal
from lidardistill.engine.terms import Terms
from lidardistill.spans import span

if TYPE_CHECKING:
    from lightning_fabric import Fabric

StepFunction = Callable[[Any, int], Terms]


@dataclass
class StepRecord:
    """Results of one step, possibly still being copied to the host.

    Attributes:
        step: number of the step, from 0.
        is_first: True if no step was taken before; read the record before the next step (see
            `Stepper.forget`).
        terms: terms of the last batch.
        tokens: sample tokens of the step's batches on this rank.
        numbers: (4,) float32 on the host, filled by an asynchronous copy: loss, stop flag (above 0 if a rank
            got a signal), gradient norm, fp16 loss scale.
        copied: event at the end of the copy; None if there is no copy to wait for.
    """

    step: int
    is_first: bool
    terms: Terms
    tokens: list[str]
    numbers: Tensor
    copied: torch.cuda.Event | None = None

    def read(self) -> StepOutcome:
        """Read the numbers; waits for the device if the step is not finished."""
        if self.copied is not None:
            self.copied.synchronize()
        loss, stop, grad_norm, scale = self.numbers.tolist()
        return StepOutcome(loss, grad_norm, stop > 0, scale)


@dataclass(frozen=True)
class StepOutcome:
    """Outcome of a step, the same on all ranks.

    Attributes:
        loss: mean loss over the ranks.
        grad_norm: norm of the gradient before clipping.
        stop: True if a rank got a stop signal.
        scale: fp16 loss scale; 1 without fp16.
    """

    loss: float
    grad_norm: float
    stop: bool
    scale: float

    @property
    def taken(self) -> bool:
        """True if the step moved the weights; `Stepper.step` applies the same rule on the device."""
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)

    @property
    def overflowed(self) -> bool:
        """True if the step was skipped only because the fp16 loss scale was too large (scale > 1)."""
        return not self.taken and math.isfinite(self.loss) and self.scale > 1


class _Buffers:
    """Tensors of one dtype and their values before a step, copied in one call because there are hundreds."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self.rows = [tensor.view(-1) for tensor in tensors]
        self.sizes = [len(row) for row in self.rows]
        self.kept = torch.cat(self.rows)

    def keep(self) -> None:
        torch.cat(self.rows, out=self.kept)

    def put_back(self) -> None:
        torch._foreach_copy_(self.rows, self.kept.split(self.sizes))

    def put_back_unless(self, finite: Tensor) -> None:
        values = torch.where(finite, torch.cat(self.rows), self.kept)
        torch._foreach_copy_(self.rows, values.split(self.sizes))


class Stepper:
    """One step: batches, forward, backward, one collective, and an optimizer step.

    The optimizer step is skipped if the loss or a gradient is not finite.

    Args:
        fabric: gives autocast and the device.
        step_fn: function from (batch on the device, step) to Terms.
        model: the model that is trained.
        optimizer: fused optimizer of `make_optimizer`, so that the device can skip its step.
        scaler: fp16 loss scaler, else None.
        accumulate: batches per step.
        clip_norm: largest norm of all gradients together, None for no limit.
        ema: moving average of the weights, or None.
        quarantine: records the unreadable samples that a batch replaced.
    """

    def __init__(
        self,
        fabric: Fabric,
        step_fn: StepFunction,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler | None,
        *,
        accumulate: int,
        clip_norm: float | None,
        ema: EMA | None,
        quarantine: Quarantine | None,
    ) -> None:
        assert all(group.get("fused") for group in optimizer.param_groups), (
            "only a fused optimiser skips a step"
        )
        self.fabric, self.step_fn, self.model, self.optimizer = fabric, step_fn, model, optimizer
        self.scaler, self.accumulate, self.ema, self.quarantine = scaler, accumulate, ema, quarantine
        self.limit = math.inf if clip_norm is None else clip_norm
        self.params = [param for group in optimizer.param_groups for param in group["params"]]
        names = {name for name, _ in model.named_parameters()}
        # A skipped step must change nothing, but BatchNorm has already averaged the NaN: save its buffers.
        changing = [value for name, value in changing_state(model).items() if name not in names]
        kinds = dict.fromkeys((value.dtype, value.device) for value in changing)
        self.buffers = [
            _Buffers([value for value in changing if (value.dtype, value.device) == kind]) for kind in kinds
        ]

    def step(self, source: Prefetcher, step: int, stop: StopSignal) -> StepRecord:
        """Queue one step on the device and return without waiting for it.

        Raises:
            Interrupted: a signal ended the wait for a batch; model and random states are as before the step.
        """
        is_first = not self.optimizer.state
        random = random_state() if self.accumulate > 1 else None
        for buffers in self.buffers:
            buffers.keep()
        self.optimizer.zero_grad(set_to_none=True)
        losses: list[Tensor] = []
        tokens: list[str] = []
        for _ in range(self.accumulate):
            try:
                with stop.waiting():
                    batch = next(source)
            except Interrupted:
                for buffers in self.buffers:
                    buffers.put_back()
                if random is not None:
                    set_random_state(random)
                raise
            tokens += batch.sample_tokens
            if self.quarantine is not None:
                for token, reason in batch.substitutes:
                    self.quarantine.add(token, None, reason)
            with span("forward"), self.fabric.autocast():
                terms = self.step_fn(batch, step)
            loss = terms.loss / self.accumulate
            with span("backward"):
                (self.scaler.scale(loss) if self.scaler is not None else loss).backward()
            losses.append(loss.detach())
            with contextlib.suppress(Interrupted), stop.waiting():  # this step has its batch
                source.look_ahead()
        total = torch.stack(losses).sum().float()
        scale = torch.ones_like(total) if self.scaler is None else self.scaler.scale(torch.ones_like(total))
        stopped = total.new_tensor(float(stop.name is not None))
        with span("average gradients"):
            shared = average_gradients(self.params, torch.stack([total, stopped]))
        with span("optimizer"):
            if self.scaler is not None:
                self.scaler.unscale_(self.optimizer)
            norm = nn.utils.clip_grad_norm_(self.params, self.limit).detach().float()
            numbers = torch.cat([shared, norm.view(1), scale.view(1)])
            self._take((numbers[0] + numbers[2]).isfinite())
        return _record(step, is_first, terms, tokens, numbers)

    @torch.no_grad()
    def _take(self, finite: Tensor) -> None:
        """Move the weights if `finite`, () bool on the device; else restore the buffers."""
        skipped = (~finite).float()
        self.optimizer.grad_scale, self.optimizer.found_inf = None, skipped  # type: ignore[attr-defined]
        self.optimizer.step()
        del self.optimizer.grad_scale, self.optimizer.found_inf  # type: ignore[attr-defined]
        if self.scaler is not None:
            self.scaler.update()
        for buffers in self.buffers:
            buffers.put_back_unless(finite)
        if self.ema is not None:
            self.ema.update(self.model, finite)

    def forget(self, skipped: StepRecord) -> None:
        """Undo the host-side state of a skipped step.

        Fused SGD leaves undefined momentum if the first step is skipped, and the next step would use it.
        """
        if self.ema is not None:
            self.ema.num_updates -= 1
        if skipped.is_first:
            self.optimizer.state.clear()


def _record(step: int, is_first: bool, terms: Terms, tokens: list[str], numbers: Tensor) -> StepRecord:
    if not numbers.is_cuda:
        return StepRecord(step, is_first, terms, tokens, numbers)
    host = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
    host.copy_(numbers, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()
    return StepRecord(step, is_first, terms, tokens, host, copied)
