"""The training loop trains a model from the newest checkpoint to the last step; it knows no method by name.

A run is a function of (code, config, data, seed). The loop draws no random numbers, and its counters are part
of the checkpoint. A run that is killed at any step and resumed gives the same losses as an uninterrupted run.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lidardistill.atomic import remove_leftovers, write_json_atomic
from lidardistill.data.quarantine import Quarantine
from lidardistill.engine.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from lidardistill.engine.config import TrainerConfig
from lidardistill.engine.distributed import broadcast_module, gather_objects, world_size
from lidardistill.engine.logging import RunLogger, read_metrics
from lidardistill.engine.optim import EMA, Schedule
from lidardistill.engine.prefetch import Prefetcher
from lidardistill.engine.resume import put_back, take_state
from lidardistill.engine.run_folder import CHECKPOINTS
from lidardistill.engine.signals import EXIT_INTERRUPTED, Interrupted, StopSignal
from lidardistill.engine.stepper import StepOutcome, Stepper, StepRecord
from lidardistill.engine.terms import Terms

if TYPE_CHECKING:
    from lightning_fabric import Fabric

log = logging.getLogger(__name__)

BatchFactory = Callable[[int], Iterator[Any]]
LogCallback = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Training:
    """Input of the training loop.

    Attributes:
        fabric: launched Fabric of `distributed.make_fabric`; gives device, autocast and ranks.
        model: the model on the device, not wrapped, with train and eval modes set.
        terms: function of (batch on the device, step from 0, diagnose) that returns the losses. The loop
            calls it under autocast, `trainer.accumulate` times per step. `diagnose` is true if the loop
            writes the step's metrics.
        optimizer: optimizer of `make_optimizer` over the model's parameters.
        schedule: learning rate of each step.
        batches: function from the number of the first batch (step * accumulate) to an endless iterator of
            batches.
        trainer: intervals, precision and limits; see `TrainerConfig`.
        total_steps: optimizer steps of the whole run.
        config: resolved config as JSON values; the loop refuses a checkpoint of another config.
        may_differ: dotted keys of the config that may change when a run is resumed.
    """

    fabric: Fabric
    model: nn.Module
    terms: Callable[[Any, int, bool], Terms]
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    batches: BatchFactory
    trainer: TrainerConfig
    total_steps: int
    config: Mapping[str, Any] | None = None
    may_differ: tuple[str, ...] = ()

    def is_logged(self, step: int) -> bool:
        """True if the loop writes the metrics of this step (from 0): first, last, every `log_every`th."""
        return step == 0 or (step + 1) % self.trainer.log_every == 0 or step + 1 == self.total_steps


@dataclass
class LoopResult:
    """State of the run when the loop returns.

    Attributes:
        steps: optimiser steps done, over all parts of the run.
        metrics: the last line of metrics.jsonl.
        seconds: time in the loop, over all parts of the run.
        data_wait_seconds: part of `seconds` that the loop waited for batches.
        interrupted: a signal stopped the run before its end; the checkpoint is written.
        nonfinite: steps that were skipped.
        learnt: steps that moved the weights by a gradient that was not zero.
        ema: moving average of the weights, if `trainer.ema_decay` asks for one.
    """

    steps: int
    metrics: dict[str, Any]
    seconds: float
    data_wait_seconds: float
    interrupted: bool = False
    nonfinite: int = 0
    learnt: int = 0
    ema: EMA | None = None

    @property
    def exit_code(self) -> int:
        """0 for a finished run; 85 for one to be continued by the same command."""
        return EXIT_INTERRUPTED if self.interrupted else 0


@dataclass
class _Progress:
    """Counters that are part of a checkpoint."""

    step: int = 0
    seconds: float = 0.0
    data_wait_seconds: float = 0.0
    window_sum: float = 0.0
    window_count: int = 0
    nonfinite: int = 0
    nonfinite_in_a_row: int = 0
    overflows: int = 0
    learnt: int = 0

    @classmethod
    def resumed(cls, values: Mapping[str, Any]) -> _Progress:
        """Counters of a checkpoint. An old checkpoint without `learnt` counts as having learnt."""
        return cls(**{"learnt": values["step"], **values})


def run_loop(
    training: Training,
    run_dir: Path,
    logger: RunLogger,
    quarantine: Quarantine | None = None,
    *,
    on_log: Sequence[LogCallback] = (),
) -> LoopResult:
    """Train from the newest valid checkpoint in run_dir/checkpoints, or from the start, to the last step.

    Args:
        training: model, losses, batches and limits.
        run_dir: folder that gets checkpoints/ and, if the run diverges, nonfinite.json.
        logger: gets the metrics of logged steps and the progress of all steps.
        quarantine: gets the unreadable samples that a batch replaced.
        on_log: called with (steps done, values) after each line of metrics, on rank 0.

    Returns:
        State of the run; returns at once if the run was already finished.

    Raises:
        ValueError: the checkpoint belongs to another config or model, or all checkpoints are damaged.
        RuntimeError: too many steps in a row were not finite (the message has the sample tokens), or the
            quarantine is over budget.
        OSError: a checkpoint cannot be written.
        Interrupted: a signal ended the wait of one of several processes, so the loop could not save.
    """
    fabric, trainer, model, optimizer = training.fabric, training.trainer, training.model, training.optimizer
    total_steps, folder = training.total_steps, run_dir / CHECKPOINTS
    scaler = _scaler(training)
    ema = EMA(model, trainer.ema_decay) if trainer.ema_decay is not None else None
    progress = _Progress()
    if fabric.is_global_zero and folder.is_dir():
        remove_leftovers(folder)
    newest = fabric.broadcast(latest_checkpoint(folder) if fabric.is_global_zero else None)
    config = training.config or {}
    if newest is not None:
        state = load_checkpoint(newest, config, may_differ=training.may_differ)["state"]
        progress = _Progress.resumed(put_back(state, fabric.global_rank, model, optimizer, scaler, ema))
        log.info("continuing %s from step %d of %d", run_dir, progress.step, total_steps)
    else:
        broadcast_module(model)
        if ema is not None:
            ema = EMA(model, ema.decay)

    def save() -> None:
        state = take_state(model, optimizer, scaler, ema, vars(progress))
        if fabric.is_global_zero:
            save_checkpoint(folder, progress.step, state, config, keep=trainer.keep_checkpoints)

    logger.start(progress.step, total_steps)
    stepper = _stepper(training, ema, quarantine)
    judge = _Judge(stepper, progress, fabric, trainer.max_nonfinite, run_dir)
    saved_at = progress.step
    source: Prefetcher | None = None
    # Seconds and data wait up to the end of the first step, in which workers start and kernels compile.
    first: tuple[float, float] | None = None
    try:
        with StopSignal() as stop:
            if progress.step < total_steps:
                source = Prefetcher(training.batches(progress.step * trainer.accumulate), fabric.device)
            while source is not None and progress.step < total_steps and not judge.stop:
                started, waited = time.perf_counter(), source.waited_s
                lr = training.schedule.apply(optimizer, progress.step)
                try:
                    record = stepper.step(source, progress.step, stop)
                except Interrupted:
                    if world_size() > 1:  # a checkpoint holds the random states of all ranks
                        raise
                    judge.stop = True
                    break
                judge.add(record)
                logged = training.is_logged(progress.step)
                progress.step += 1
                saving = progress.step % trainer.checkpoint_every == 0
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
    interrupted = judge.stop and progress.step < total_steps
    if interrupted:
        log.warning(
            "stopped at step %d of %d by %s and saved; the same command continues it (exit code %d)",
            progress.step,
            total_steps,
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
        learnt=progress.learnt,
        ema=ema,
    )


def first_steps(training: Training) -> Generator[StepRecord, None, None]:
    """Run steps from step 0, one per `next()` of the iterator, and write no files.

    Close the iterator to stop the loader.

    Yields:
        Record of the step; the device may still compute it.
    """
    stepper, stop = _stepper(training), StopSignal()
    source = Prefetcher(training.batches(0), training.fabric.device)
    try:
        for step in itertools.count():
            training.schedule.apply(training.optimizer, step)
            record = stepper.step(source, step, stop)
            if record.is_first and not record.read().taken:
                stepper.forget(record)
            yield record
    finally:
        source.close()


def _stepper(training: Training, ema: EMA | None = None, quarantine: Quarantine | None = None) -> Stepper:
    return Stepper(
        training.fabric,
        lambda batch, step: training.terms(batch, step, training.is_logged(step)),
        training.model,
        training.optimizer,
        _scaler(training),
        accumulate=training.trainer.accumulate,
        clip_norm=training.trainer.clip_norm,
        ema=ema,
        quarantine=quarantine,
    )


def _scaler(training: Training) -> torch.amp.GradScaler | None:
    """Loss scaler for float16, else None."""
    return getattr(training.fabric.strategy.precision, "scaler", None)


class _Judge:
    """Counts taken and skipped steps, one step late, so that the device never waits for the host."""

    def __init__(
        self, stepper: Stepper, progress: _Progress, fabric: Fabric, max_nonfinite: int, run_dir: Path
    ) -> None:
        self.stepper, self.progress, self.fabric = stepper, progress, fabric
        self.max_nonfinite, self.run_dir = max_nonfinite, run_dir
        self.waiting: StepRecord | None = None
        self.stop = False

    def add(self, record: StepRecord) -> None:
        """Count the previous step and keep this record for later."""
        self.settle()
        self.waiting = record

    def settle(self) -> StepOutcome | None:
        """Count the last step if it is not counted yet; returns the same on all ranks.

        Raises:
            RuntimeError: too many steps in a row were not finite.
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
            progress.learnt += outcome.grad_norm > 0
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
                f"{progress.nonfinite_in_a_row} steps in a row were not finite, the last is step "
                f"{record.step} ({found}) with the samples {', '.join(tokens)}. None of them has moved the "
                "weights. Lower "
                f"optimizer.lr, set trainer.clip_norm, or use bf16 or fp32; {path} lists the samples"
            )
        return outcome


def _share(part: float, whole: float) -> float:
    return part / max(whole, 1e-9)


def _values(
    terms: Terms, outcome: StepOutcome, lr: float, progress: _Progress, data_wait_share: float
) -> dict[str, float]:
    """One line of metrics: the loss is the mean over ranks, its parts and diagnostics are this rank's."""
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
