"""Baseline of hand-made point features: the minimum that learnt features must exceed."""

from __future__ import annotations

import torch
from torch import Tensor

from lidardistill.tasks.segment.probe import ProbeFeatures

HAND_MADE = "intensity + height + range"


def hand_made_features(points: Tensor) -> Tensor:
    """Intensity, height, its square, and range.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity, LiDAR frame.

    Returns:
        (N, 4) float32. The square lets a linear model see a band of heights, such as the road.
    """
    height = points[:, 2]
    return torch.stack([points[:, 3], height, height.square(), points[:, :3].norm(dim=1)], dim=1)


def hand_made_probe_features(points: Tensor, targets: Tensor, ignore_index: int = 255) -> ProbeFeatures:
    """The hand-made features of the labelled points."""
    kept = targets != ignore_index
    return ProbeFeatures(hand_made_features(points)[kept], targets[kept])
