"""The training loop: plain values in, a run folder out. It knows no method by name.

A run is a function of (code, config, data, seed). The loop adds nothing to that: what it draws nothing, what it counts
is in the checkpoint, so a run that is killed at any step and started again gives the losses of one that was not.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lidardistill.atomic import remove_leftovers, write_json_atomic
from lidardistill.data.quarantine import Quarantine
from lidardistill.engine.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from lidardistill.engine.distributed import average_gradients, broadcast_module, gather_objects
from lidardistill.engine.logging import RunLogger, read_metrics
from lidardistill.engine.optim import EMA, Schedule
from lidardistill.engine.prefetch import Prefetcher
from lidardistill.engine.resume import Stateful, changing_state, put_back, take_state
from lidardistill.engine.signals import EXIT_INTERRUPTED, StopSignal
from lidardistill.methods.terms import Terms

if TYPE_CHECKING:
    from lightning_fabric import Fabric

log = logging.getLogger(__name__)

StepFunction = Callable[[Any, int], Terms]
BatchFactory = Callable[[int], Iterator[Any]]
LogCallback = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class LoopSettings:
    """How long, how often, how careful.

    Attributes:
        total_steps: optimiser steps of the whole run.
        log_every: steps between lines of metrics; the first and the last step are always logged.
        checkpoint_every: steps between checkpoints; the last step always has one.
        keep_checkpoints: newest checkpoints to keep.
        accumulate: batches a step.
        clip_norm: largest norm of all gradients together, None for no limit.
        ema_decay: keep a moving average of the weights, None for none.
        max_nonfinite: stop after so many steps in a row whose loss or gradient is not finite.
    """

    total_steps: int
    log_every: int = 50
    checkpoint_every: int = 1000
    keep_checkpoints: int = 2
    accumulate: int = 1
    clip_norm: float | None = None
    ema_decay: float | None = None
    max_nonfinite: int = 5

    def __post_init__(self) -> None:
        for name in (
            "total_steps",
            "log_every",
            "checkpoint_every",
            "keep_checkpoints",
            "accumulate",
            "max_nonfinite",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"LoopSettings.{name} must be at least 1, got {getattr(self, name)}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"LoopSettings.clip_norm must be above 0 or None, got {self.clip_norm}")

    def is_logged(self, step: int) -> bool:
        """Whether the metrics of this step (from 0) are written; diagnostics of other steps need not be computed."""
        return step == 0 or (step + 1) % self.log_every == 0 or step + 1 == self.total_steps


@dataclass
class LoopResult:
    """Where the run stands.

    Attributes:
        steps: optimiser steps done, over all parts of the run.
        metrics: the last line of metrics.jsonl.
        seconds: time in the loop, over all parts of the run.
        data_wait_seconds: share of it that was spent waiting for batches.
        interrupted: a signal stopped the run before its end; the checkpoint is written.
        nonfinite: steps that were skipped.
        ema: moving average of the weights, where asked for.
    """

    steps: int
    metrics: dict[str, Any]
    seconds: float
    data_wait_seconds: float
    interrupted: bool = False
    nonfinite: int = 0
    ema: EMA | None = None

    @property
    def exit_code(self) -> int:
        """0 for a finished run; 85 for one to be continued by the same command."""
        return EXIT_INTERRUPTED if self.interrupted else 0


@dataclass
class _Progress:
    """Plain numbers that a checkpoint carries."""

    step: int = 0
    seconds: float = 0.0
    data_wait_seconds: float = 0.0
    window_sum: float = 0.0
    window_count: int = 0
    nonfinite: int = 0
    nonfinite_in_a_row: int = 0
    overflows: int = 0


@dataclass
class _Step:
    """What one optimiser step left to be read."""

    loss: float
    grad_norm: float
    stop: bool
    terms: Terms
    tokens: list[str] = field(default_factory=list)


def run_loop(
    fabric: Fabric,
    step_fn: StepFunction,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    batches: BatchFactory,
    settings: LoopSettings,
    run_dir: Path,
    logger: RunLogger,
    quarantine: Quarantine | None = None,
    state_extra: Mapping[str, Stateful] | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    may_differ: tuple[str, ...] = (),
    on_log: Sequence[LogCallback] = (),
) -> LoopResult:
    """Train from the newest valid checkpoint in run_dir/checkpoints, or from the start, to the last step.

    Args:
        fabric: launched, of `distributed.make_fabric`; gives device, autocast and ranks.
        step_fn: (batch on the device, step from 0) to Terms; runs under autocast. Called `accumulate` times a step.
        model: all that trains, on the device, not wrapped, modes (train, eval) set by the caller.
        optimizer: over the model's parameters.
        schedule: learning rate of each step.
        batches: number of the first batch (step * accumulate) to an endless iterator of batches from there on.
        settings: see `LoopSettings`.
        run_dir: checkpoints/ and, where a run diverges, nonfinite.json go there.
        logger: gets metrics of logged steps and the progress of all.
        quarantine: told of the samples that a batch had to replace.
        state_extra: further things with a state to be carried through checkpoints, by name.
        config: resolved config as JSON values; a checkpoint of another one is refused.
        may_differ: dotted keys of the config that may change between parts of a run.
        on_log: called with (steps done, values) after each line of metrics, on rank 0.

    Returns:
        Where the run stands, at once where it was finished before.

    Raises:
        ValueError: the checkpoint belongs to another config or model, or all checkpoints are damaged.
        RuntimeError: too many steps in a row were not finite, with the sample tokens; the quarantine is over budget.
        OSError: a checkpoint cannot be written.
    """
    folder = run_dir / "checkpoints"
    extra = state_extra or {}
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    ema = EMA(model, settings.ema_decay) if settings.ema_decay is not None else None
    progress = _Progress()
    if fabric.is_global_zero and folder.is_dir():
        remove_leftovers(folder)
    newest = fabric.broadcast(latest_checkpoint(folder) if fabric.is_global_zero else None)
    if newest is not None:
        content = load_checkpoint(newest, config or {}, may_differ=may_differ)
        progress = _Progress(
            **put_back(content["state"], fabric.global_rank, model, optimizer, scaler, ema, extra)
        )
        log.info("continuing %s from step %d of %d", run_dir, progress.step, settings.total_steps)
    else:
        broadcast_module(model)
        if ema is not None:
            ema = EMA(model, ema.decay)

    def save() -> None:
        state = take_state(model, optimizer, scaler, ema, vars(progress), extra)
        if fabric.is_global_zero:
            save_checkpoint(folder, progress.step, state, config or {}, keep=settings.keep_checkpoints)

    logger.start(progress.step, settings.total_steps)
    stepper = _Stepper(fabric, step_fn, model, optimizer, scaler, settings, quarantine)
    saved_at = progress.step
    interrupted = False
    source: Prefetcher | None = None
    first: tuple[float, float] | None = (
        None  # seconds and wait after this part's first step, whose workers start
    )
    try:
        with StopSignal() as stop:
            if progress.step < settings.total_steps:
                source = Prefetcher(batches(progress.step * settings.accumulate), fabric.device)
            while source is not None and progress.step < settings.total_steps and not interrupted:
                started, waited = time.perf_counter(), source.waited_s
                lr = schedule.apply(optimizer, progress.step)
                done = stepper.step(source, progress.step, stop)
                if stepper.judge(done, progress, run_dir) and ema is not None:
                    ema.update(model)
                interrupted = done.stop
                logged = settings.is_logged(progress.step)
                progress.step += 1
                progress.seconds += time.perf_counter() - started
                progress.data_wait_seconds += source.waited_s - waited
                share = _share(progress.data_wait_seconds, progress.seconds)
                if logged and fabric.is_global_zero:
                    values = _values(done, lr, progress, share)
                    logger.log(progress.step, values)
                    for callback in on_log:
                        callback(progress.step, values)
                if logged:
                    progress.window_sum, progress.window_count = 0.0, 0
                first = first or (progress.seconds, progress.data_wait_seconds)
                logger.advance(
                    progress.step, _share(progress.data_wait_seconds - first[1], progress.seconds - first[0])
                )
                if progress.step % settings.checkpoint_every == 0 or interrupted:
                    save()
                    saved_at = progress.step
            if saved_at != progress.step:
                save()
    finally:
        logger.close()
        if source is not None:
            source.close()
    interrupted = interrupted and progress.step < settings.total_steps
    if interrupted:
        log.warning(
            "stopped at step %d of %d by %s and saved; the same command continues it (exit code %d)",
            progress.step,
            settings.total_steps,
            stop.name or "another rank's signal",
            EXIT_INTERRUPTED,
        )
    lines = read_metrics(run_dir / "metrics.jsonl")
    return LoopResult(
        steps=progress.step,
        metrics=lines[-1] if lines else {},
        seconds=progress.seconds,
        data_wait_seconds=progress.data_wait_seconds,
        interrupted=interrupted,
        nonfinite=progress.nonfinite,
        ema=ema,
    )


class _Stepper:
    """One optimiser step: batches, forward, backward, one collective, one look at the result."""

    def __init__(
        self,
        fabric: Fabric,
        step_fn: StepFunction,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler | None,
        settings: LoopSettings,
        quarantine: Quarantine | None,
    ) -> None:
        self.fabric, self.step_fn, self.optimizer, self.scaler = fabric, step_fn, optimizer, scaler
        self.settings, self.quarantine = settings, quarantine
        self.params = [param for group in optimizer.param_groups for param in group["params"]]
        names = {name for name, _ in model.named_parameters()}
        # A step that is skipped must leave no trace, and BatchNorm has averaged its NaN by then.
        self.buffers = [value for name, value in changing_state(model).items() if name not in names]
        self.backup = [value.clone() for value in self.buffers]

    def step(self, source: Prefetcher, step: int, stop: StopSignal) -> _Step:
        """Forward and backward of one step, gradients averaged over ranks; the weights are not touched yet."""
        for kept, value in zip(self.backup, self.buffers, strict=True):
            kept.copy_(value)
        self.optimizer.zero_grad(set_to_none=True)
        losses: list[Tensor] = []
        tokens: list[str] = []
        for _ in range(self.settings.accumulate):
            batch = next(source)
            tokens += batch.sample_tokens
            if self.quarantine is not None:
                for token, reason in batch.substitutes:
                    self.quarantine.add(token, None, reason)
            with self.fabric.autocast():
                terms = self.step_fn(batch, step)
            loss = terms.loss / self.settings.accumulate
            (self.scaler.scale(loss) if self.scaler is not None else loss).backward()
            losses.append(loss.detach())
            source.look_ahead()
        total = torch.stack(losses).sum().float()
        shared = average_gradients(
            self.params, torch.stack([total, total.new_tensor(float(stop.name is not None))])
        )
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        limit = math.inf if self.settings.clip_norm is None else self.settings.clip_norm
        norm = nn.utils.clip_grad_norm_(self.params, limit)
        # The one place of a step that waits for the device: whether to take it must be known.
        mean_loss, stopped, grad_norm = torch.cat([shared, norm.detach().float().view(1)]).tolist()
        return _Step(mean_loss, grad_norm, stopped > 0, terms, tokens)

    def judge(self, done: _Step, progress: _Progress, run_dir: Path) -> bool:
        """Take the step where loss and gradient are finite, on all ranks alike; else skip and count it.

        Returns:
            Whether the weights moved.
        """
        if math.isfinite(done.loss) and math.isfinite(done.grad_norm):
            if self.scaler is not None:
                self.scaler.step(self.optimizer)
                self.scaler.update()
            else:
                self.optimizer.step()
            progress.window_sum += done.loss
            progress.window_count += 1
            progress.nonfinite_in_a_row = 0
            return True
        for kept, value in zip(self.backup, self.buffers, strict=True):
            value.copy_(kept)
        self.optimizer.zero_grad(set_to_none=True)
        if self.scaler is not None:
            # Too large a scale overflows float16 with nothing wrong; update() lowers it. Below 1 it is no excuse.
            searching = math.isfinite(done.loss) and self.scaler.get_scale() > 1
            self.scaler.update()
            if searching:
                progress.overflows += 1
                return False
        progress.nonfinite += 1
        progress.nonfinite_in_a_row += 1
        tokens = [token for rank_tokens in gather_objects(done.tokens) for token in rank_tokens]
        found = f"loss {done.loss}, gradient norm {done.grad_norm}"
        log.warning("step %d skipped: %s; samples %s", progress.step, found, ", ".join(tokens))
        if progress.nonfinite_in_a_row >= self.settings.max_nonfinite:
            record = {"step": progress.step, "found": found, "sample_tokens": tokens}
            if self.fabric.is_global_zero:
                write_json_atomic(run_dir / "nonfinite.json", record)
            raise RuntimeError(
                f"{progress.nonfinite_in_a_row} steps in a row were not finite, the last is step {progress.step} "
                f"({found}) with the samples {', '.join(tokens)}. The weights are those before the first of them. "
                "Lower optimizer.lr, set trainer.clip_norm, or use bf16 or fp32; "
                f"{run_dir / 'nonfinite.json'} lists the samples"
            )
        return False


def _share(part: float, whole: float) -> float:
    return part / max(whole, 1e-9)


def _values(done: _Step, lr: float, progress: _Progress, data_wait_share: float) -> dict[str, float]:
    """One line of metrics: the loss is the mean over ranks, parts and diagnostics are of this rank."""
    terms = done.terms
    named = {
        **{f"loss/{name}": value for name, value in terms.losses.items()},
        **{f"count/{name}": value for name, value in terms.counts.items()},
        **terms.diagnostics,
    }
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    read = torch.stack([value.detach().double() for value in tensors.values()]).tolist() if tensors else []
    return {
        "loss": done.loss,
        "loss_window": progress.window_sum / progress.window_count if progress.window_count else math.nan,
        **{name: float(value) for name, value in named.items() if not isinstance(value, Tensor)},
        **dict(zip(tensors, read, strict=True)),
        "lr": lr,
        "grad_norm": done.grad_norm,
        "nonfinite": progress.nonfinite,
        "seconds": round(progress.seconds, 3),
        "data_wait_share": round(data_wait_share, 4),
    }
