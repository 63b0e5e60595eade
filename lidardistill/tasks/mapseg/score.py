"""IoU of map masks over thresholds, as BEVFusion reports it: the best threshold of each class, then the mean.

Source: BEVFusion (Liu et al., ICRA 2023), section 4.2 and its released evaluation.
Differs from it in: a class without true or predicted cells is left out of the mean (the released code counts
    0).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

THRESHOLDS: tuple[float, ...] = (0.35, 0.40, 0.45, 0.50, 0.55, 0.60, 0.65)


def count_cells(probabilities: Tensor, masks: Tensor, thresholds: Sequence[float] = THRESHOLDS) -> np.ndarray:
    """Count right and wrong cells at each threshold; add the counts of several batches.

    Args:
        probabilities: (B, K, H, W) floating, 0..1.
        masks: (B, K, H, W) bool.
        thresholds: T; a cell counts as the class if its probability is at least the threshold.

    Returns:
        (3, K, T) int64 true positives, false positives, false negatives.

    Raises:
        ValueError: shapes that differ, or masks that are not bool.
    """
    if probabilities.shape != masks.shape or probabilities.ndim != 4 or masks.dtype != torch.bool:
        raise ValueError(
            f"expected probabilities and bool masks (B, K, H, W), got {tuple(probabilities.shape)} and "
            f"{tuple(masks.shape)} {masks.dtype}"
        )
    there = masks.sum(dim=(0, 2, 3))
    counts = []
    for threshold in thresholds:
        taken = probabilities >= threshold
        hits = (taken & masks).sum(dim=(0, 2, 3))
        counts.append(torch.stack([hits, taken.sum(dim=(0, 2, 3)) - hits, there - hits]))
    return torch.stack(counts, dim=2).cpu().numpy()


def map_scores(
    counts: np.ndarray, classes: Sequence[str], thresholds: Sequence[float] = THRESHOLDS
) -> dict[str, Any]:
    """Intersection over union of each class.

    Args:
        counts: (3, K, T) of `count_cells`.
        classes: K names.
        thresholds: T.

    Returns:
        miou: mean over classes of the best IoU, 0..1; iou: class to its best IoU; threshold: class to the
            threshold of its best IoU; iou_by_threshold: class to one IoU per threshold. None for a class
            without true or predicted cells.
    """
    hits, wrong, missed = counts
    union = hits + wrong + missed
    iou: dict[str, float | None] = {}
    best_at: dict[str, float | None] = {}
    curves: dict[str, list[float | None]] = {}
    for number, name in enumerate(classes):
        curve = [float(h / u) if u else None for h, u in zip(hits[number], union[number], strict=True)]
        known = [(value, at) for value, at in zip(curve, thresholds, strict=True) if value is not None]
        iou[name], best_at[name] = max(known, key=lambda pair: pair[0]) if known else (None, None)
        curves[name] = curve
    present = [value for value in iou.values() if value is not None]
    return {
        "miou": sum(present) / len(present) if present else None,
        "iou": iou,
        "threshold": best_at,
        "thresholds": list(thresholds),
        "iou_by_threshold": curves,
    }
