"""Train a classifier of points: fine-tuning, and the linear probe whose backbone stays frozen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lidardistill.backbones.base import Features
from lidardistill.datasets.nuscenes.lidarseg_classes import IGNORE_INDEX
from lidardistill.engine.config import CosineConfig, OptimizerConfig, ScheduleConfig, TrainerConfig
from lidardistill.engine.distributed import make_fabric
from lidardistill.engine.logging import RunLogger
from lidardistill.engine.loop import LoopResult, loop_settings
from lidardistill.engine.optim import build_optimizer, build_schedule
from lidardistill.engine.terms import Terms
from lidardistill.tasks.segment.classifier import Classifier
from lidardistill.tasks.segment.config import FinetuneConfig, OnlineProbeConfig, ProbeConfig
from lidardistill.tasks.segment.lovasz import lovasz_softmax
from lidardistill.tasks.segment.sample import ScanBatch, ScanDataset, collate_scans
from lidardistill.tasks.training import train_labelled


@dataclass(frozen=True)
class Recipe:
    """What fine-tuning and the online probe have in common.

    Attributes:
        label: what the progress line begins with.
        config: resolved config as JSON values, for the checkpoints.
        frozen_backbone: train the head alone; the backbone stays in eval mode, BatchNorm statistics included.
        lovasz: add Lovász-softmax to the cross-entropy.
        lr_head: learning rate of the head, None for the optimiser's.
    """

    label: str
    config: dict[str, Any]
    seed: int
    batch_size: int
    num_workers: int
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    trainer: TrainerConfig
    frozen_backbone: bool
    lovasz: bool
    lr_head: float | None = None

    @classmethod
    def finetune(cls, config: FinetuneConfig) -> Recipe:
        return cls(
            "finetune",
            config.model_dump(mode="json"),
            config.seed,
            config.data.batch_size,
            config.data.num_workers,
            config.optimizer,
            config.schedule,
            config.trainer,
            frozen_backbone=False,
            lovasz=config.lovasz,
            lr_head=config.lr_head,
        )

    @classmethod
    def online_probe(cls, config: ProbeConfig, probe: OnlineProbeConfig) -> Recipe:
        return cls(
            "probe",
            config.model_dump(mode="json"),
            config.seed,
            config.data.batch_size,
            config.data.num_workers,
            probe.optimizer,
            CosineConfig(),
            TrainerConfig(epochs=probe.epochs, accelerator=config.accelerator),
            frozen_backbone=True,
            lovasz=probe.lovasz,
        )


def train_classifier(recipe: Recipe, model: Classifier, dataset: ScanDataset, run: Path) -> LoopResult:
    """Minimise cross-entropy, and Lovász-softmax where asked for, on voxel labels.

    A voxel has the label of its first labelled point.

    Source: SLidR (CVPR 2022), section 4.2 and the authors' downstream configuration.

    Args:
        recipe: how.
        model: moves to the device of the run.
        dataset: labelled, augmented scans.
        run: run folder.
    """
    trainer = recipe.trainer
    fabric = make_fabric(trainer.accelerator, precision=trainer.precision)
    model.to(fabric.device).train()
    if recipe.frozen_backbone:
        model.backbone.requires_grad_(False).eval()
    head: dict[str, Any] = {"params": list(model.head.parameters())}
    if recipe.lr_head is not None:
        head["lr"] = recipe.lr_head
    return train_labelled(
        fabric,
        model,
        lambda batch: classification_terms(model, batch, lovasz=recipe.lovasz),
        build_optimizer(recipe.optimizer, [{"params": list(model.backbone.parameters())}, head]),
        dataset,
        collate_scans,
        run,
        RunLogger(run, write=fabric.is_global_zero, label=recipe.label),
        batch_size=recipe.batch_size,
        num_workers=recipe.num_workers,
        seed=recipe.seed,
        what="scans",
        epochs=trainer.epochs,
        max_steps=trainer.max_steps,
        settings_of=partial(loop_settings, trainer),
        schedule_of=partial(build_schedule, recipe.schedule),
        config=recipe.config,
    )


def classification_terms(model: Classifier, batch: ScanBatch, *, lovasz: bool) -> Terms:
    """Cross-entropy and Lovász-softmax over the labelled voxels, or cells of the map, of a batch."""
    logits, features = model(batch.voxels)
    targets = row_targets(features, batch.labels())
    losses = {"cross_entropy": _cross_entropy(logits, targets)}
    if lovasz:
        losses["lovasz"] = lovasz_softmax(logits, targets, IGNORE_INDEX)
    return Terms(
        loss=torch.stack(list(losses.values())).sum(),
        losses={name: loss.detach() for name, loss in losses.items()},
        counts={"voxels": len(batch.voxels.features)},
    )


def row_targets(features: Features, target: Tensor) -> Tensor:
    """(M,) int64 label of the first labelled point of each row of features, `IGNORE_INDEX` where there is none.

    Args:
        features: of a backbone.
        target: (N,) int64 class of each point, or `IGNORE_INDEX`.
    """
    labelled = (features.point_mask & (target != IGNORE_INDEX)).nonzero()[:, 0]
    number = len(target)
    first = torch.full((len(features.rows),), number, device=labelled.device)
    first = first.scatter_reduce(0, features.point2row[labelled], labelled, "amin")
    padded = torch.cat([target, target.new_full((1,), IGNORE_INDEX)])
    return padded[first]


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over labelled rows; a zero with gradient where there is none (torch gives NaN)."""
    total = F.cross_entropy(logits, targets, ignore_index=IGNORE_INDEX, reduction="sum")
    return total / (targets != IGNORE_INDEX).sum().clamp(min=1)
