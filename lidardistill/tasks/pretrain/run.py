"""Pretrain a backbone: from a config to a run folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from lidardistill.data.keyframes import Keyframes, Recipe
from lidardistill.data.quarantine import Quarantine
from lidardistill.datasets.base import Source
from lidardistill.datasets.kinds import open_source
from lidardistill.datasets.scan_layout import refuse_other_layout
from lidardistill.engine.data_wait import data_wait_advice
from lidardistill.engine.distributed import make_fabric
from lidardistill.engine.logging import read_metrics
from lidardistill.engine.loop import LogCallback, LoopResult
from lidardistill.engine.optim import build_optimizer
from lidardistill.engine.terms import Terms
from lidardistill.exchange.of_run import BACKBONE_FILE, save_student
from lidardistill.methods.base import Method
from lidardistill.methods.of_run import method_of, recipe_of
from lidardistill.objectives.diagnostics import is_collapsed
from lidardistill.streams import Stream
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.rows import recipe_rows
from lidardistill.tasks.verb import Learning, Task, Work, execute

if TYPE_CHECKING:
    from lightning_fabric import Fabric


log = logging.getLogger(__name__)


@dataclass
class Pretraining:
    """Parts of a pretraining run, built and on the device."""

    config: PretrainConfig
    fabric: Fabric
    index: Source
    rows: np.ndarray
    recipe: Recipe[Any]
    method: Method

    @classmethod
    def build(
        cls, config: PretrainConfig, fabric: Fabric | None = None, index: Source | None = None
    ) -> Pretraining:
        """Open the data and draw the weights; the config defines `fabric` and `index` if they are None."""
        if fabric is None:
            fabric = make_fabric(config.trainer.accelerator, precision=config.trainer.precision)
        if index is None:
            index = open_source(config.data)
        recipe = recipe_of(config)
        rows = recipe_rows(config.data, index, recipe)
        refuse_other_layout(index, rows)
        method = method_of(config).to(fabric.device).train()
        return cls(config, fabric, index, rows, recipe.of_run(rows), method)

    def compute_teacher_features(
        self,
        on_progress: Callable[[int, int], None] | None = None,
        on_unreadable: Callable[[str, str], object] | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> int:
        """Fill the caches that the method reads, or share i of n of them; see `Method.prepare`."""
        computed = 0
        if self.fabric.is_global_zero:
            computed = self.method.prepare(
                self.recipe,
                self.index,
                self.rows[share[0] :: share[1]],
                num_workers=self.config.data.num_workers,
                on_progress=on_progress,
                on_unreadable=on_unreadable,
            )
        self.fabric.barrier()
        return computed

    def dataset(self) -> Keyframes[Any]:
        """The keyframes of the run as samples."""
        return Keyframes(self.index, self.rows, self.recipe, seed=self.config.seed)

    def card(self) -> dict[str, Any]:
        """Card of the exported weights: the config, with a `student` that describes these weights."""
        return {**self.config.model_dump(mode="json"), **self.method.card()}

    def step(self, batch: Any, step: int, *, diagnose: bool) -> Terms:
        """Forward pass; its random numbers are a pure function of (seed, step)."""
        seed = np.random.SeedSequence([self.config.seed, step, Stream.METHOD]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(seed[0] >> np.uint64(1)))
        return self.method(batch, generator=generator, diagnose=diagnose)


def pretrain(
    config: PretrainConfig,
    run: Path,
    *,
    label: str = "pretrain",
    progress: bool = True,
    on_teacher: Callable[[int, int], None] | None = None,
    on_log: Sequence[LogCallback] = (),
) -> LoopResult:
    """Pretrain, or continue an interrupted run, and write the backbone to `backbone.safetensors`.

    Args:
        config: resolved config.
        run: run folder; another run in it is an error, and a finished run is not changed.
        label: first word of the progress line.
        progress: show progress.
        on_teacher: called with (keyframes done, keyframes in all) while the run caches teacher features.
        on_log: called with (steps done, values) after each line of metrics.

    Returns:
        State of the run when the loop returns.

    Raises:
        Interrupted: a signal stopped the run; repeat the command to resume it.
    """
    callbacks = [*on_log, *([_warn_of_collapse] if config.method.pairing == "real" else [])]
    done = execute(Pretrain(config, on_teacher), run, label=label, progress=progress, on_log=callbacks)
    if done.loop is not None:
        return done.loop
    last = done.metrics
    return LoopResult(int(last.get("step", 0)), last, float(last.get("seconds", 0.0)), 0.0)


@dataclass(kw_only=True)
class PretrainWork(Work):
    """A method and its data."""

    parts: Pretraining


class Pretrain(Task[PretrainWork]):
    """Pretraining by any method."""

    verb: ClassVar[str] = "pretrain"
    config: PretrainConfig

    def __init__(self, config: PretrainConfig, on_teacher: Callable[[int, int], None] | None = None) -> None:
        self.config, self.trainer, self.schedule = config, config.trainer, config.schedule
        self.inputs: dict[str, str] = {}
        self.on_teacher = on_teacher

    def finished(self, run: Path) -> dict[str, Any] | None:
        if not (run / BACKBONE_FILE).is_file():
            return None
        lines = read_metrics(run / "metrics.jsonl")
        return lines[-1] if lines else {}

    def build(self, fabric: Fabric, index: Source | None = None) -> PretrainWork:
        config = self.config
        parts = Pretraining.build(config, fabric, index)

        def terms(batch: Any, step: int, diagnose: bool) -> Terms:
            return parts.step(batch, step, diagnose=diagnose)

        optimizer = build_optimizer(config.optimizer, parts.method)
        learning = Learning(optimizer, terms, parts.dataset())
        text = f"{len(parts.rows)} keyframes of {config.data.split}"
        return PretrainWork(model=parts.method, learning=learning, parts=parts, data=text)

    def prepare(self, work: PretrainWork, quarantine: Quarantine) -> None:
        work.parts.compute_teacher_features(
            self.on_teacher, lambda token, reason: quarantine.add(token, None, reason)
        )

    def advice(self) -> str:
        data, reads = self.config.data, self.config.method.reads
        superpixels_ready = data.superpixels.cache is not None or data.superpixels.masks is not None
        images_ready = data.images.cache is not None or self.config.teacher_cache is not None
        return data_wait_advice(
            data.num_workers,
            superpixels_ready="data.superpixels" not in reads or superpixels_ready,
            images_ready="data.images" not in reads or images_ready,
        )

    def finish(self, work: PretrainWork, steps: int, run: Path) -> dict[str, Any]:
        save_student(work.parts.method.student, work.parts.card(), run / BACKBONE_FILE, steps=steps)
        return {}

    def result(self, run: Path) -> str:
        return (
            f"backbone: {run / BACKBONE_FILE}; next: lidardistill probe CONFIG --weights {run} --out RUN, or "
            "finetune, detect, mapseg, export"
        )


def _warn_of_collapse(step: int, values: dict[str, float]) -> None:
    warning = is_collapsed(values)
    if warning is not None:
        log.warning("step %d: %s", step, warning)
