"""What fine-tuning of any kind has around its loss: the length of the run, its batches, and the loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import Dataset

from lidardistill.data.quarantine import Quarantine
from lidardistill.engine.batches import Collate, endless_batches, share_of_batch
from lidardistill.engine.logging import RunLogger
from lidardistill.engine.loop import LoopResult, LoopSettings, run_loop
from lidardistill.engine.optim import Schedule
from lidardistill.engine.run_folder import FREE_KEYS
from lidardistill.engine.terms import Terms

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def train_labelled(
    fabric: Fabric,
    model: nn.Module,
    terms_of: Callable[[Any], Terms],
    optimizer: torch.optim.Optimizer,
    dataset: Dataset,
    collate: Collate,
    run: Path,
    logger: RunLogger,
    *,
    batch_size: int,
    num_workers: int,
    seed: int,
    what: str,
    epochs: int | None,
    max_steps: int | None,
    settings_of: Callable[[int], LoopSettings],
    schedule_of: Callable[..., Schedule],
    config: dict[str, Any],
    quarantine: Quarantine | None = None,
) -> LoopResult:
    """Train to the last step.

    Args:
        fabric: of `distributed.make_fabric`.
        model: on the device, modes set.
        terms_of: loss of a batch.
        optimizer: over what trains.
        dataset: samples with labels.
        collate: makes a batch of them.
        run: run folder.
        logger: gets metrics and progress.
        batch_size: samples a step.
        num_workers: of the loader.
        seed: of the order.
        what: the samples' name in errors.
        epochs: length of the run, where `max_steps` is None.
        max_steps: length of the run, or None.
        settings_of: steps of the whole run to the loop's settings.
        schedule_of: steps=, steps_per_epoch= to the learning rates.
        config: resolved config as JSON values, for the checkpoints.
        quarantine: told of samples that a batch had to replace.

    Raises:
        ValueError: the batch cannot be shared out, or the schedule does not fit the length of the run.
    """
    steps_per_epoch = len(dataset) / batch_size  # type: ignore[arg-type]
    steps = max_steps or math.ceil((epochs or 1) * steps_per_epoch)
    settings = settings_of(steps)
    share = share_of_batch(batch_size, fabric, settings.accumulate, what)
    return run_loop(
        fabric,
        lambda batch, step: terms_of(batch),
        model,
        optimizer,
        schedule_of(steps=steps, steps_per_epoch=steps_per_epoch),
        lambda start: endless_batches(
            dataset, collate, fabric, share=share, seed=seed, num_workers=num_workers, start=start
        ),
        settings,
        run,
        logger,
        quarantine,
        config=config,
        may_differ=FREE_KEYS,
    )
