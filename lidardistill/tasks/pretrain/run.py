"""Pretrain a backbone: from a config to a run folder."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lidardistill.data.keyframes import Keyframes, Recipe
from lidardistill.data.quarantine import Quarantine
from lidardistill.datasets.base import Source
from lidardistill.datasets.kinds import open_source
from lidardistill.engine.batches import endless_batches
from lidardistill.engine.data_wait import data_wait_advice
from lidardistill.engine.distributed import make_fabric
from lidardistill.engine.logging import RunLogger, read_metrics
from lidardistill.engine.loop import LogCallback, LoopResult, loop_settings, run_loop
from lidardistill.engine.manifest import Manifest
from lidardistill.engine.optim import Schedule, build_optimizer, build_schedule
from lidardistill.engine.run_folder import FREE_KEYS, claim_run
from lidardistill.engine.terms import Terms
from lidardistill.exchange.of_run import BACKBONE_FILE, save_student
from lidardistill.methods.base import Method
from lidardistill.methods.of_run import method_of, recipe_of
from lidardistill.objectives.diagnostics import is_collapsed
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.rows import recipe_rows

if TYPE_CHECKING:
    from lightning_fabric import Fabric


log = logging.getLogger(__name__)

_CONTROL_STREAM = 3  # keeps what a method draws apart from the order of keyframes and the augmentations


@dataclass
class Pretraining:
    """Everything a pretraining run consists of, built and on its device."""

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
        """Open the data and draw the weights; `fabric` and `index` follow from the config where not given."""
        if fabric is None:
            fabric = make_fabric(config.trainer.accelerator, precision=config.trainer.precision)
        if index is None:
            index = open_source(config.data)
        recipe = recipe_of(config)
        rows = recipe_rows(config.data, index, recipe)
        method = method_of(config).to(fabric.device).train()
        return cls(config, fabric, index, rows, recipe.of_run(rows), method)

    @property
    def local_batch(self) -> int:
        """Keyframes (or pairs of scans) of one batch on this process; `data.batch_size` counts all processes and accumulated batches."""
        parts = self.fabric.world_size * self.config.trainer.accumulate
        size, rest = divmod(self.config.data.batch_size, parts)
        if rest or size == 0:
            raise ValueError(
                f"data.batch_size: {self.config.data.batch_size} keyframes a step cannot be shared out evenly over "
                f"{self.fabric.world_size} processes and {self.config.trainer.accumulate} accumulated batches"
            )
        return size

    @property
    def steps_per_epoch(self) -> float:
        return len(self.rows) / self.config.data.batch_size

    @property
    def total_steps(self) -> int:
        trainer = self.config.trainer
        if trainer.max_steps is not None:
            return trainer.max_steps
        assert trainer.epochs is not None
        return math.ceil(trainer.epochs * self.steps_per_epoch)

    def optimizer(self) -> torch.optim.Optimizer:
        """Over everything that trains."""
        return build_optimizer(self.config.optimizer, self.method)

    def schedule(self) -> Schedule:
        """Learning rate of each step; raises ValueError where it does not fit the length of the run."""
        assert self.local_batch > 0  # raises where the batch cannot be shared out
        return build_schedule(
            self.config.schedule, steps=self.total_steps, steps_per_epoch=self.steps_per_epoch
        )

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
        """The config as the card of the exported weights has it: `student` describes these weights."""
        return {**self.config.model_dump(mode="json"), **self.method.card()}

    def batches(self, start: int) -> Iterator[Any]:
        """Batches of this process, without end, beginning with batch number `start`."""
        dataset = self.dataset()
        return endless_batches(
            dataset,
            dataset.collate,
            self.fabric,
            share=self.local_batch,
            seed=self.config.seed,
            num_workers=self.config.data.num_workers,
            start=start,
        )

    def step(self, batch: Any, step: int, *, diagnose: bool) -> Terms:
        """Forward pass; what it draws is a pure function of (seed, step)."""
        seed = np.random.SeedSequence([self.config.seed, step, _CONTROL_STREAM]).generate_state(1, np.uint64)
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
    """Pretrain, or continue a run that was interrupted, and leave the backbone in `backbone.safetensors`.

    Args:
        config: resolved config.
        run: run folder; one that holds another run is refused, a finished one is left as it is.
        label: what the progress line begins with.
        progress: show progress.
        on_teacher: told of the keyframes whose teacher features are being cached.
        on_log: called with (steps done, values) after each line of metrics.

    Returns:
        Where the run stands.
    """
    fabric = make_fabric(config.trainer.accelerator, precision=config.trainer.precision)
    main, rank = fabric.is_global_zero, fabric.global_rank
    if main:
        claim_run(run, "pretrain", config)
    fabric.barrier()
    if (run / BACKBONE_FILE).is_file():
        lines = read_metrics(run / "metrics.jsonl")
        log.info("%s has finished already; nothing to do", run)
        last = lines[-1] if lines else {}
        return LoopResult(int(last.get("step", 0)), last, float(last.get("seconds", 0.0)), 0.0)
    # All that a config can have wrong comes out here, before anything is computed or recorded.
    parts = Pretraining.build(config, fabric)
    settings = loop_settings(config.trainer, parts.total_steps)
    optimizer, schedule = parts.optimizer(), parts.schedule()
    quarantine = Quarantine(run / f"quarantine{rank or ''}.json", config.data.max_corrupt)
    manifest = (
        Manifest(run / "manifest.json", seed=config.seed, extra={"config": config.name}) if main else None
    )
    outcome = "failed"
    try:
        parts.compute_teacher_features(on_teacher, lambda token, reason: quarantine.add(token, None, reason))
        result = run_loop(
            parts.fabric,
            lambda batch, step: parts.step(batch, step, diagnose=settings.is_logged(step)),
            parts.method,
            optimizer,
            schedule,
            parts.batches,
            settings,
            run,
            RunLogger(
                run,
                write=main,
                progress=progress,
                label=label,
                data_wait_advice=_data_wait_advice(config),
            ),
            quarantine=quarantine,
            config=config.model_dump(mode="json"),
            may_differ=FREE_KEYS,
            on_log=[*on_log, *([_warn_of_collapse] if config.method.pairing == "real" else [])],
        )
        if not result.interrupted and main:
            if result.ema is not None:
                result.ema.copy_to(parts.method)
            save_student(
                parts.method.student, parts.card(), run / BACKBONE_FILE, steps=result.steps
            )
        outcome = "interrupted" if result.interrupted else "finished"
    finally:
        if manifest is not None:
            manifest.finish(outcome)
    return result


def _data_wait_advice(config: PretrainConfig) -> str:
    """What to change if the device waits for data; names only keys that the method reads."""
    superpixels, images, reads = config.data.superpixels, config.data.images, config.method.reads
    return data_wait_advice(
        config.data.num_workers,
        superpixels_ready=(
            "data.superpixels" not in reads or superpixels.cache is not None or superpixels.masks is not None
        ),
        images_ready=(
            "data.images" not in reads or images.cache is not None or config.teacher_cache is not None
        ),
    )


def _warn_of_collapse(step: int, values: dict[str, float]) -> None:
    warning = is_collapsed(values)
    if warning is not None:
        log.warning("step %d: %s", step, warning)
