"""Training loss of point classification, for fine-tuning and for the linear probe with frozen backbone.

Source: SLidR (CVPR 2022), section 4.2 and the authors' downstream configuration.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lidardistill.backbones.base import Features
from lidardistill.datasets.labelled import IGNORED
from lidardistill.engine.terms import Terms
from lidardistill.tasks.segment.classifier import Classifier
from lidardistill.tasks.segment.lovasz import lovasz_softmax
from lidardistill.tasks.segment.sample import ScanBatch


def classification_terms(model: Classifier, batch: ScanBatch, *, lovasz: bool) -> Terms:
    """Cross-entropy and Lovász-softmax over the labelled voxels, or cells of the map, of a batch."""
    logits, features = model(batch.voxels)
    targets = row_targets(features, batch.labels())
    losses = {"cross_entropy": _cross_entropy(logits, targets)}
    if lovasz:
        losses["lovasz"] = lovasz_softmax(logits, targets, IGNORED)
    return Terms(
        loss=torch.stack(list(losses.values())).sum(),
        losses={name: loss.detach() for name, loss in losses.items()},
        counts={"voxels": len(batch.voxels.features)},
    )


def row_targets(features: Features, target: Tensor) -> Tensor:
    """(M,) int64 label of the first labelled point of each row of features, `IGNORED` where there is none.

    Args:
        features: of a backbone.
        target: (N,) int64 class of each point, or `IGNORED`.
    """
    labelled = (features.point_mask & (target != IGNORED)).nonzero()[:, 0]
    number = len(target)
    first = torch.full((len(features.rows),), number, device=labelled.device)
    first = first.scatter_reduce(0, features.point2row[labelled], labelled, "amin")
    padded = torch.cat([target, target.new_full((1,), IGNORED)])
    return padded[first]


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over labelled rows; a zero with gradient if there is none (torch gives NaN)."""
    total = F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
    return total / (targets != IGNORED).sum().clamp(min=1)
