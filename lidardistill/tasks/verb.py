"""`execute` runs a verb: claim the folder, build, record, train, average, finish.

All verbs that train use it.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import nn

from lidardistill.data.keyframes import Keyframes
from lidardistill.data.quarantine import Quarantine
from lidardistill.engine.batches import endless_batches, share_of_batch
from lidardistill.engine.config import ScheduleConfig, TrainerConfig
from lidardistill.engine.data_wait import data_wait_advice
from lidardistill.engine.distributed import make_fabric
from lidardistill.engine.logging import RunLogger
from lidardistill.engine.loop import LogCallback, LoopResult, Training, run_loop
from lidardistill.engine.manifest import Manifest
from lidardistill.engine.optim import build_schedule
from lidardistill.engine.run_folder import FREE_KEYS, claim_run, finished_metrics
from lidardistill.engine.signals import Interrupted, interruptible
from lidardistill.engine.terms import Terms
from lidardistill.progress import clock

if TYPE_CHECKING:
    from lightning_fabric import Fabric

log = logging.getLogger(__name__)


class TrainingData(Protocol):
    """Loader keys of a verb's config."""

    batch_size: int
    num_workers: int
    max_corrupt: int


class VerbConfig(Protocol):
    """Keys that the configs of all verbs share."""

    name: str
    seed: int

    @property
    def data(self) -> TrainingData: ...

    def model_dump(self, *, mode: str) -> dict[str, Any]: ...


@dataclass
class Learning:
    """Optimizer, losses and samples of the loop.

    Attributes:
        optimizer: optimizer over the trainable parameters.
        terms: function from (batch on the device, step from 0, diagnose) to the losses.
        dataset: samples by `SampleKey`.
    """

    optimizer: torch.optim.Optimizer
    terms: Callable[[Any, int, bool], Terms]
    dataset: Keyframes


@dataclass(kw_only=True)
class Work:
    """Model and data that a task builds from its config.

    Attributes:
        model: model on the device of the run, with train and eval modes set.
        learning: optimizer, losses and samples of the loop; None if the task needs no loop.
        data: description of the training data, such as "24 keyframes of mini_train".
    """

    model: nn.Module
    learning: Learning | None = None
    data: str = ""


SomeWork = TypeVar("SomeWork", bound=Work)


class Task(ABC, Generic[SomeWork]):
    """One verb with its config; `execute` runs it.

    Attributes:
        verb: word of the command line.
        config: resolved config.
        inputs: other inputs that the run depends on, such as `weights`.
        trainer: length, device, precision and intervals of the loop.
        schedule: learning rate over the loop.
    """

    verb: ClassVar[str]
    config: Any
    inputs: Mapping[str, str]
    trainer: TrainerConfig
    schedule: ScheduleConfig

    @abstractmethod
    def build(self, fabric: Fabric) -> SomeWork:
        """Build model, optimizer and data; raise all errors of the config here."""

    @abstractmethod
    def finish(self, work: SomeWork, steps: int, run: Path) -> dict[str, Any]:
        """Calibrate, save and judge the model; returns the metrics. Only the first process calls it."""

    def finished(self, run: Path) -> dict[str, Any] | None:
        """Metrics of a run that has finished before, else None."""
        return finished_metrics(run)

    def prepare(self, work: SomeWork, quarantine: Quarantine) -> None:
        """Compute prerequisites of the first step, such as cached features."""

    def advice(self) -> str:
        """Advice for a loader that is too slow."""
        return data_wait_advice(self.config.data.num_workers)

    def result(self, run: Path) -> str:
        """Text about the files of a finished run and the next command."""
        return f"scores: {run / 'metrics.json'}"


@dataclass
class Done:
    """Result of a run.

    Attributes:
        metrics: metrics of `Task.finish`; empty on processes other than the first.
        loop: state of the loop; None if the run had finished before, or had no loop.
    """

    metrics: dict[str, Any]
    loop: LoopResult | None = None


def execute(
    task: Task[SomeWork],
    run: Path,
    *,
    label: str | None = None,
    progress: bool = True,
    on_log: Sequence[LogCallback] = (),
) -> Done:
    """Run a task to its end, or continue it.

    Args:
        task: verb and config.
        run: run folder; another run in it is an error, and a finished run is read, not repeated.
        label: first word of the progress line, None for the verb.
        progress: show progress.
        on_log: called with (steps done, values) after each line of metrics.

    Raises:
        ValueError, ImportError, FileNotFoundError: config, data or packages do not fit; nothing was recorded.
        RuntimeError: the run has learnt nothing, or diverged, or too many keyframes cannot be read.
        Interrupted: a signal stopped the run; its progress is saved.
    """
    fabric = make_fabric(task.trainer.accelerator, precision=task.trainer.precision)
    is_first = fabric.is_global_zero
    if not is_first:
        logging.getLogger("lidardistill").setLevel(logging.WARNING)
    if is_first:
        claim_run(run, task.verb, task.config, **task.inputs)
    fabric.barrier()
    earlier = fabric.broadcast(task.finished(run) if is_first else None)
    if earlier is not None:
        log.info("%s has finished already; nothing to do", run)
        return Done(earlier if is_first else {})
    work = task.build(fabric)
    training = None if work.learning is None else build_training(task, work.model, work.learning, fabric)
    with _recorded(task, run, is_first) as figures:
        log.info("%s", _introduction(task, work, training, fabric, run))
        quarantine = Quarantine(
            run / f"quarantine{fabric.global_rank or ''}.json", task.config.data.max_corrupt
        )
        task.prepare(work, quarantine)
        result = None
        if training is not None:
            logger = RunLogger(
                run,
                write=is_first,
                progress=progress,
                label=label or task.verb,
                data_wait_advice=task.advice(),
            )
            result = run_loop(training, run, logger, quarantine, on_log=on_log)
            if result.interrupted:
                raise Interrupted(f"{run} was stopped at step {result.steps}; the same command continues it")
            if result.ema is not None:
                result.ema.copy_to(work.model)
            check_learnt(work.model, result, run)
        if not is_first:
            return Done({}, result)
        metrics = task.finish(work, 0 if result is None else result.steps, run)
        figures.update({name: metrics[name] for name in ("miou", "nds") if name in metrics})
        log.info("%s", _summary(task, result, run))
    return Done(metrics, result)


def build_training(task: Task, model: nn.Module, learning: Learning, fabric: Fabric) -> Training:
    """Input of the loop: length, schedule and batches follow from config and data.

    Raises:
        ValueError: the batch size is not divisible over processes and accumulation, or the schedule does not
            fit the length of the run.
    """
    data, trainer = task.config.data, task.trainer
    share = share_of_batch(data.batch_size, fabric.world_size, trainer.accumulate)
    steps_per_epoch = len(learning.dataset) / data.batch_size
    steps = trainer.max_steps or math.ceil((trainer.epochs or 1) * steps_per_epoch)

    def batches(start: int) -> Iterator[Any]:
        return endless_batches(
            learning.dataset,
            fabric,
            share=share,
            seed=task.config.seed,
            num_workers=data.num_workers,
            start=start,
        )

    return Training(
        fabric,
        model,
        learning.terms,
        learning.optimizer,
        build_schedule(task.schedule, steps=steps, steps_per_epoch=steps_per_epoch),
        batches,
        trainer,
        steps,
        config=task.config.model_dump(mode="json"),
        may_differ=FREE_KEYS,
    )


def check_learnt(model: nn.Module, result: LoopResult, run: Path) -> None:
    """Refuse a model that no gradient has moved, or whose weights are not finite.

    Raises:
        RuntimeError: no gradient has moved the model, or its weights are not finite.
    """
    if result.learnt == 0:
        raise RuntimeError(
            f"{run} has learnt nothing: none of its {result.steps} steps moved the weights by a gradient "
            f"({result.nonfinite} were skipped because they were not finite). Usually no point lies in "
            "voxels.point_cloud_range, or no keyframe has a pair: `--dry-run` counts both. No weights were "
            "written"
        )
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise RuntimeError(
                f"{run}: the weights {name} are not finite after {result.steps} steps. Lower optimizer.lr or "
                "set trainer.clip_norm, and start a new run. No weights were written"
            )


@contextmanager
def _recorded(task: Task, run: Path, is_first: bool) -> Iterator[dict[str, Any]]:
    """Context manager of the manifest: records the end as finished, interrupted or failed.

    Yields:
        Figures that the manifest records at the end.
    """
    manifest = None
    if is_first:
        extra = {"config": task.config.name, **task.inputs}
        manifest = Manifest(run / "manifest.json", seed=task.config.seed, extra=extra)
    outcome = "failed"
    figures: dict[str, Any] = {}
    try:
        with interruptible():
            yield figures
        outcome = "finished"
    except (Interrupted, KeyboardInterrupt):
        outcome = "interrupted"
        raise
    finally:
        if manifest is not None:
            manifest.finish(outcome, **figures)


def _introduction(task: Task, work: Work, training: Training | None, fabric: Fabric, run: Path) -> str:
    """Introduction of a run: task, data and machine in one block of lines."""
    trainer, data = task.trainer, task.config.data
    device = "cpu"
    if fabric.device.type == "cuda":
        device = f"{fabric.device}, {torch.cuda.get_device_name(fabric.device)}"
    elif trainer.accelerator == "auto":
        log.warning("torch finds no GPU, so this run is on the CPU; `lidardistill doctor` may say why")
    if fabric.world_size > 1:
        device += f", {fabric.world_size} processes"
    counts = [p.numel() for p in work.model.parameters()]
    trained = [p.numel() for p in work.model.parameters() if p.requires_grad]
    lines = {
        task.verb: task.config.name,
        "device": f"{device}, {trainer.precision}",
        "data": work.data,
        **{name: value for name, value in task.inputs.items() if value},
    }
    if training is not None:
        lines["length"] = f"{training.total_steps} steps of {data.batch_size}"
        lines["trains"] = f"{sum(trained) / 1e6:.2f} of {sum(counts) / 1e6:.2f} M parameters"
    lines["run"] = str(run)
    return "\n".join(f"{name:<14s} {value}" for name, value in lines.items())


def _summary(task: Task, result: LoopResult | None, run: Path) -> str:
    """Summary of the run in one line."""
    parts = [f"{task.verb} finished"]
    if result is not None:
        parts = [f"{task.verb} finished: {result.steps} steps in {clock(result.seconds)}"]
        if result.metrics.get("loss") is not None:
            parts.append(f"loss {result.metrics['loss']:.3f}")
    return "; ".join([", ".join(parts), task.result(run)])
