"""The training loop: plain values in, a run folder out. It knows no method by name.

A run is a function of (code, config, data, seed). The loop adds nothing to that: what it draws nothing, what it counts
is in the checkpoint, so a run that is killed at any step and started again gives the losses of one that was not.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lidardistill.atomic import remove_leftovers, write_json_atomic
from lidardistill.data.quarantine import Quarantine
from lidardistill.engine.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from lidardistill.engine.config import TrainerConfig
from lidardistill.engine.distributed import broadcast_module, gather_objects
from lidardistill.engine.logging import RunLogger, read_metrics
from lidardistill.engine.manifest import Manifest
from lidardistill.engine.optim import EMA, Schedule
from lidardistill.engine.prefetch import Prefetcher
from lidardistill.engine.resume import Stateful, put_back, take_state
from lidardistill.engine.signals import EXIT_INTERRUPTED, Interrupted, StopSignal
from lidardistill.engine.stepper import StepFunction, StepOutcome, Stepper, StepRecord
from lidardistill.engine.terms import Terms

if TYPE_CHECKING:
    from lightning_fabric import Fabric

log = logging.getLogger(__name__)

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
    stepper = Stepper(
        fabric,
        step_fn,
        model,
        optimizer,
        scaler,
        accumulate=settings.accumulate,
        clip_norm=settings.clip_norm,
        ema=ema,
        quarantine=quarantine,
    )
    judge = _Judge(stepper, progress, fabric, settings.max_nonfinite, run_dir)
    saved_at = progress.step
    source: Prefetcher | None = None
    first: tuple[float, float] | None = (
        None  # seconds and wait after this part's first step, whose workers start
    )
    try:
        with StopSignal() as stop:
            if progress.step < settings.total_steps:
                source = Prefetcher(batches(progress.step * settings.accumulate), fabric.device)
            while source is not None and progress.step < settings.total_steps and not judge.stop:
                started, waited = time.perf_counter(), source.waited_s
                lr = schedule.apply(optimizer, progress.step)
                record = stepper.step(source, progress.step, stop)
                judge.add(record)
                logged = settings.is_logged(progress.step)
                progress.step += 1
                saving = progress.step % settings.checkpoint_every == 0
                outcome = judge.settle() if logged or saving or record.is_first else None
                progress.seconds += time.perf_counter() - started
                progress.data_wait_seconds += source.waited_s - waited
                share = _share(progress.data_wait_seconds, progress.seconds)
                if logged and fabric.is_global_zero:
                    assert outcome is not None
                    values = _values(record.terms, outcome, lr, progress, share)
                    logger.log(progress.step, values)
                    for callback in on_log:
                        callback(progress.step, values)
                if logged:
                    progress.window_sum, progress.window_count = 0.0, 0
                first = first or (progress.seconds, progress.data_wait_seconds)
                logger.advance(
                    progress.step, _share(progress.data_wait_seconds - first[1], progress.seconds - first[0])
                )
                if saving:
                    save()
                    saved_at = progress.step
            judge.settle()
            if saved_at != progress.step:
                save()
    finally:
        logger.close()
        if source is not None:
            source.close()
    interrupted = judge.stop and progress.step < settings.total_steps
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


class _Judge:
    """Counts what became of the steps, each when the next one is on its way: the device never waits for the host."""

    def __init__(
        self, stepper: Stepper, progress: _Progress, fabric: Fabric, max_nonfinite: int, run_dir: Path
    ) -> None:
        self.stepper, self.progress, self.fabric = stepper, progress, fabric
        self.max_nonfinite, self.run_dir = max_nonfinite, run_dir
        self.waiting: StepRecord | None = None
        self.stop = False

    def add(self, record: StepRecord) -> None:
        """Look at the step before this one."""
        self.settle()
        self.waiting = record

    def settle(self) -> StepOutcome | None:
        """Look at the last step, if nobody has yet; the same on all ranks.

        Raises:
            RuntimeError: too many in a row were not finite.
        """
        if self.waiting is None:
            return None
        record, progress = self.waiting, self.progress
        self.waiting = None
        outcome = record.read()
        self.stop |= outcome.stop
        if outcome.taken:
            progress.window_sum += outcome.loss
            progress.window_count += 1
            progress.nonfinite_in_a_row = 0
            return outcome
        self.stepper.forget(record)
        if outcome.overflowed:
            progress.overflows += 1
            return outcome
        progress.nonfinite += 1
        progress.nonfinite_in_a_row += 1
        tokens = [token for rank_tokens in gather_objects(record.tokens) for token in rank_tokens]
        found = f"loss {outcome.loss}, gradient norm {outcome.grad_norm}"
        log.warning("step %d skipped: %s; samples %s", record.step, found, ", ".join(tokens))
        if progress.nonfinite_in_a_row >= self.max_nonfinite:
            path = self.run_dir / "nonfinite.json"
            if self.fabric.is_global_zero:
                write_json_atomic(path, {"step": record.step, "found": found, "sample_tokens": tokens})
            raise RuntimeError(
                f"{progress.nonfinite_in_a_row} steps in a row were not finite, the last is step {record.step} "
                f"({found}) with the samples {', '.join(tokens)}. None of them has moved the weights. Lower "
                f"optimizer.lr, set trainer.clip_norm, or use bf16 or fp32; {path} lists the samples"
            )
        return outcome


def _share(part: float, whole: float) -> float:
    return part / max(whole, 1e-9)


def _values(
    terms: Terms, outcome: StepOutcome, lr: float, progress: _Progress, data_wait_share: float
) -> dict[str, float]:
    """One line of metrics: the loss is the mean over ranks, parts and diagnostics are of this rank."""
    named = {
        **{f"loss/{name}": value for name, value in terms.losses.items()},
        **{f"count/{name}": value for name, value in terms.counts.items()},
        **terms.diagnostics,
    }
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    read = torch.stack([value.detach().double() for value in tensors.values()]).tolist() if tensors else []
    return {
        "loss": outcome.loss,
        "loss_window": progress.window_sum / progress.window_count if progress.window_count else math.nan,
        **{name: float(value) for name, value in named.items() if not isinstance(value, Tensor)},
        **dict(zip(tensors, read, strict=True)),
        "lr": lr,
        "grad_norm": outcome.grad_norm,
        "nonfinite": progress.nonfinite,
        "seconds": round(progress.seconds, 3),
        "data_wait_share": round(data_wait_share, 4),
    }


def loop_settings(trainer: TrainerConfig, steps: int) -> LoopSettings:
    kept = {f.name for f in fields(LoopSettings)} - {"total_steps"}
    return LoopSettings(total_steps=steps, **trainer.model_dump(include=kept))


def to_the_end(result: LoopResult, manifest: Manifest | None, run: Path) -> None:
    """A run that a signal stopped is not to be judged yet; only the first process has a manifest.

    Raises:
        Interrupted: it was.
    """
    if result.interrupted:
        if manifest is not None:
            manifest.finish("interrupted")
        raise Interrupted(f"{run} was stopped at step {result.steps}; the same command continues it")
