"""Loss of a classifier of points: fine-tuning, and the linear probe whose backbone stays frozen.

Source: SLidR (CVPR 2022), section 4.2 and the authors' downstream configuration.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lidardistill.datasets.nuscenes.lidarseg_classes import IGNORE_INDEX
from lidardistill.engine.terms import Terms
from lidardistill.tasks.segment.classifier import Classifier
from lidardistill.tasks.segment.lovasz import lovasz_softmax
from lidardistill.tasks.segment.sample import ScanBatch


def classification_terms(model: Classifier, batch: ScanBatch, *, lovasz: bool) -> Terms:
    """Cross-entropy and Lovász-softmax over the labelled voxels of a batch."""
    targets = voxel_targets(batch)
    logits = model(batch.voxels)
    losses = {"cross_entropy": _cross_entropy(logits, targets)}
    if lovasz:
        losses["lovasz"] = lovasz_softmax(logits, targets, IGNORE_INDEX)
    return Terms(
        loss=torch.stack(list(losses.values())).sum(),
        losses={name: loss.detach() for name, loss in losses.items()},
        counts={"voxels": len(targets)},
    )


def voxel_targets(batch: ScanBatch) -> Tensor:
    """(M,) int64 label of the first labelled point of each voxel, `IGNORE_INDEX` if there is none."""
    voxels, target = batch.voxels, batch.labels()
    labelled = (voxels.point_mask & (target != IGNORE_INDEX)).nonzero()[:, 0]
    number = len(target)
    first = torch.full((len(voxels.features),), number, device=labelled.device)
    first = first.scatter_reduce(0, voxels.point2voxel[labelled], labelled, "amin")
    padded = torch.cat([target, target.new_full((1,), IGNORE_INDEX)])
    return padded[first]


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over labelled rows; a zero with gradient if there is none (torch gives NaN)."""
    total = F.cross_entropy(logits, targets, ignore_index=IGNORE_INDEX, reduction="sum")
    return total / (targets != IGNORE_INDEX).sum().clamp(min=1)
