"""The steps of a pretraining run, taken one by one by the product's own loop, with the time of each part."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lidardistill.bench.profile.parts import Parts, clock_of
from lidardistill.spans import watching

if TYPE_CHECKING:
    from lidardistill.engine.loop import Training
    from lidardistill.engine.stepper import StepRecord
    from lidardistill.engine.terms import Terms
    from lidardistill.tasks.pretrain.config import PretrainConfig
    from lidardistill.tasks.verb import Learning

STEP = "step"
"""Part that holds all others; what is left of it is in none of them."""


@dataclass
class Steps:
    """A run whose steps are taken by `engine.loop.first_steps`; it writes nothing but the caches of its
    config.

    Attributes:
        learning: what the loop optimises, and its data.
        training: what the loop drives.
        running: takes a step each time it is advanced.
        parts: measures the step.
        batch: last batch, on the device.
    """

    learning: Learning
    training: Training
    running: Generator[StepRecord, None, None]
    parts: Parts
    batch: Any = field(default=None, repr=False)

    def take(self) -> dict[str, float]:
        """Take one step; milliseconds of each part, without the parts inside it."""
        with watching(self.parts), self.parts.span(STEP):
            next(self.running)
        found = self.parts.take()
        rest = found.pop(STEP)
        return {**{path.removeprefix(f"{STEP}/"): value for path, value in found.items()}, STEP: rest}


@contextmanager
def steps_of(config: PretrainConfig) -> Iterator[Steps]:
    """Build a pretraining run, fill its caches as the run would, and end its loader at the end."""
    from lidardistill.data.quarantine import Quarantine
    from lidardistill.engine.distributed import make_fabric
    from lidardistill.engine.loop import first_steps
    from lidardistill.tasks.pretrain.run import Pretrain
    from lidardistill.tasks.verb import build_training

    task = Pretrain(config)
    fabric = make_fabric(task.trainer.accelerator, precision=task.trainer.precision)
    work = task.build(fabric)
    assert work.learning is not None
    with tempfile.TemporaryDirectory(prefix="lidardistill-bench-") as folder:
        task.prepare(work, Quarantine(Path(folder) / "quarantine.json", config.data.max_corrupt))
    training = build_training(task, work.model, work.learning, fabric)

    def terms(batch: Any, step: int, diagnose: bool) -> Terms:
        steps.batch = batch
        return training.terms(batch, step, diagnose)

    running = first_steps(replace(training, terms=terms))
    steps = Steps(work.learning, training, running, Parts(clock_of(fabric.device), undivided={"data wait"}))
    try:
        yield steps
    finally:
        running.close()
