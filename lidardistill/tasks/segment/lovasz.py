"""Lovász-softmax: a convex surrogate of one minus the Jaccard index."""

from __future__ import annotations

import torch
from torch import Tensor


def lovasz_softmax(logits: Tensor, targets: Tensor, ignore_index: int = 255) -> Tensor:
    """Mean over the classes present of the Lovász extension of the Jaccard loss.

    Args:
        logits: (N, K) floating point.
        targets: (N,) int64 class, or `ignore_index`.
        ignore_index: target of ignored rows.

    Returns:
        0-d float32; a zero with gradient if all rows are ignored.

    Raises:
        ValueError: shapes that do not fit.

    Source: Berman et al., CVPR 2018, algorithm 1 and equation 11, classes present in the batch, unit weights.
    """
    if logits.ndim != 2 or targets.shape != logits.shape[:1]:
        raise ValueError(
            f"lovasz_softmax: expected logits (N, K) and targets (N,), got {tuple(logits.shape)}, "
            f"{tuple(targets.shape)}"
        )
    kept = targets != ignore_index
    targets = targets[kept]
    if len(targets) == 0:
        return logits.float().sum() * 0.0
    probabilities = logits[kept].float().softmax(dim=1)
    losses = []
    for class_index in targets.unique().tolist():
        foreground = (targets == class_index).float()
        errors, order = (foreground - probabilities[:, class_index]).abs().sort(descending=True)
        losses.append(torch.dot(errors, _jaccard_gradient(foreground[order])))
    return torch.stack(losses).mean()


def _jaccard_gradient(sorted_foreground: Tensor) -> Tensor:
    """Discrete derivative of the Jaccard loss along the sorted errors (algorithm 1)."""
    total = sorted_foreground.sum()
    intersection = total - sorted_foreground.cumsum(0)
    union = total + (1.0 - sorted_foreground).cumsum(0)
    jaccard = 1.0 - intersection / union
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
