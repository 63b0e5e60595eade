"""Linear probe: how well one linear layer predicts the labels from frozen features.

Source: SLidR (CVPR 2022), section 4.2, linear probing of a frozen backbone in eval mode.
Differs from the paper in: the features are computed once from scans without augmentation, standardised, and
the layer is fitted until it has converged; BatchNorm statistics can be recalibrated first, in every arm alike
(a random network has none, and would look worse than it is).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lidardistill.backbones.base import Backbone
from lidardistill.data.batch import VoxelBatch
from lidardistill.tasks.segment.config import CachedProbeConfig


class ProbeFeatures(NamedTuple):
    """features: (N, C) float32, one row per labelled point; targets: (N,) int64 class 0..K-1."""

    features: Tensor
    targets: Tensor


@torch.no_grad()
def calibrate_batchnorm(
    backbone: nn.Module,
    batches: Iterable[Any],
    run: Callable[[nn.Module, Any], object] = lambda backbone, scans: backbone(scans),
) -> int:
    """Replace the running statistics of every BatchNorm by the plain mean over some batches.

    The backbone is left in eval mode.

    Args:
        backbone: any network.
        batches: inputs of `run`, such as `VoxelBatch`.
        run: function of (backbone, batch) that does a forward pass.

    Returns:
        The number of batches; with 0 batches the statistics stay unchanged.
    """
    norms = [m for m in backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    seen = 0
    for batch in batches:
        if seen == 0:
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # cumulative average
        backbone.train()
        run(backbone, batch)
        seen += 1
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    backbone.eval()
    return seen


@torch.no_grad()
def extract_features(
    backbone: Backbone, batches: Iterable[tuple[VoxelBatch, Tensor]], ignore_index: int = 255
) -> ProbeFeatures:
    """Features of every labelled point of some batches, on the CPU.

    Args:
        backbone: frozen network; runs in eval mode.
        batches: voxels and the (N,) int64 target of each point.
        ignore_index: target of ignored points.

    Raises:
        ValueError: no point is labelled.
    """
    backbone.eval()
    features, targets = [], []
    for voxels, target in batches:
        kept = voxels.point_mask & (target != ignore_index)
        features.append(backbone(voxels).at(kept.nonzero()[:, 0]).float().cpu())
        targets.append(target[kept].cpu())
    if sum(map(len, targets)) == 0:
        raise ValueError("the labelled keyframes hold no labelled point inside the voxel grid")
    return ProbeFeatures(torch.cat(features), torch.cat(targets))


def fit_linear(
    train: ProbeFeatures,
    num_classes: int,
    config: CachedProbeConfig,
    *,
    generator: torch.Generator,
) -> nn.Linear:
    """Fit one linear layer on standardised features by cross-entropy (Adam, cosine to zero).

    The standardisation is folded into the layer, which therefore takes the raw features.

    Args:
        train: features and targets.
        num_classes: K.
        config: passes over the points, Adam's first rate, and points a step.
        generator: draws the order and the first weights.

    Returns:
        nn.Linear(C, K) in eval mode.
    """
    mean = train.features.mean(dim=0)
    std = train.features.std(dim=0).clamp(min=1e-6)
    features = (train.features - mean) / std
    channels = features.shape[1]
    layer = nn.Linear(channels, num_classes)
    with torch.no_grad():
        bound = channels**-0.5
        layer.weight.copy_(torch.rand(layer.weight.shape, generator=generator) * 2 * bound - bound)
        layer.bias.zero_()
    steps = config.epochs * -(-len(features) // config.batch_points)
    optimizer = torch.optim.Adam(layer.parameters(), lr=config.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(config.epochs):
        for rows in torch.randperm(len(features), generator=generator).split(config.batch_points):
            batch, targets = features.index_select(0, rows), train.targets.index_select(0, rows)
            loss = nn.functional.cross_entropy(layer(batch), targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        layer.weight.div_(std)
        layer.bias.sub_(layer.weight @ mean)
    return layer.eval()


@torch.no_grad()
def predict_points(backbone: Backbone, head: nn.Linear, voxels: VoxelBatch) -> Tensor:
    """Most likely class 0..K-1 of every raw point of a batch, (N,) int64.

    A point outside the voxel grid or the map has no features; it gets the class that the head gives to zero
    features.
    """
    features = backbone(voxels)
    logits = head(features.rows.float())
    nowhere = head(logits.new_zeros(1, head.in_features)).argmax(dim=1)
    if len(logits) == 0:
        return nowhere.expand(len(features.point_mask)).clone()
    return torch.where(features.point_mask, logits.argmax(dim=1)[features.point2row], nowhere)
