"""CenterPoint's losses: Gaussian focal loss of the heatmaps, and L1 of the boxes at the centres."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lidardistill.tasks.detect.center.targets import CenterTargets

VALUE_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2)
"""Weights of offset, z, log size, sine and cosine, velocity: CenterPoint's configuration of nuScenes."""


def gaussian_focal_loss(logits: Tensor, target: Tensor, alpha: float = 2.0, gamma: float = 4.0) -> Tensor:
    """Focal loss against a heatmap: cells near a centre count less as background.

    Args:
        logits: (B, K, H, W).
        target: (B, K, H, W) 0..1, exactly 1 at centres.
        alpha: power of the error.
        gamma: power of the distance from a centre.

    Returns:
        Scalar float32 (float64 stays): sum over cells, divided by the number of centres, at least 1.

    Raises:
        ValueError: different shapes.

    Source: CornerNet (Law and Deng, ECCV 2018) equation 1, with CenterPoint's powers.
    Differs from the paper in: computed from logits, where the released code clips the sigmoid to 1e-4..1 -
        1e-4.
    """
    if logits.shape != target.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and heatmap {tuple(target.shape)} differ in shape")
    logits = logits if logits.dtype == torch.float64 else logits.float()
    probability = logits.sigmoid()
    centre = target == 1
    hit = (1 - probability) ** alpha * F.logsigmoid(logits)
    miss = probability**alpha * F.logsigmoid(-logits) * (1 - target) ** gamma
    return -torch.where(centre, hit, miss).sum() / centre.sum().clamp(min=1)


def box_l1_loss(
    values: Tensor, targets: Sequence[CenterTargets], weights: Sequence[float] = VALUE_WEIGHTS
) -> Tensor:
    """Mean absolute error of the boxes; each box is read at the cell of its centre.

    Args:
        values: (B, 10, H, W) of `models.center_head.CenterMaps`.
        targets: targets of the B scans.
        weights: weights of the ten values.

    Returns:
        Scalar float32 (float64 stays): weighted sum over known values, divided by the number of boxes; 0
        without boxes.

    Raises:
        ValueError: not one target for each scan.
    """
    batch, channels, height, width = values.shape
    if len(targets) != batch:
        raise ValueError(f"expected targets of {batch} scans, got {len(targets)}")
    cell = torch.cat([target.cell + scan * height * width for scan, target in enumerate(targets)])
    wanted = torch.cat([target.values for target in targets])
    known = torch.cat([target.value_mask for target in targets])
    values = values if values.dtype == torch.float64 else values.float()
    # Boxes may share a cell: index_select adds their gradients in a fixed order.
    found = values.permute(0, 2, 3, 1).reshape(-1, channels).index_select(0, cell)
    error = torch.where(known, (found - wanted).abs(), 0.0) * found.new_tensor(tuple(weights))
    return error.sum() / max(len(cell), 1)
