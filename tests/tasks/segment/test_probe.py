"""The cached linear probe, its BatchNorm calibration, and the hand-made baseline."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lidardistill.backbones.base import Features
from lidardistill.data.batch import VoxelBatch
from lidardistill.tasks.segment.baselines import hand_made_features, hand_made_probe_features
from lidardistill.tasks.segment.config import CachedProbeConfig
from lidardistill.tasks.segment.probe import (
    ProbeFeatures,
    calibrate_batchnorm,
    extract_features,
    fit_linear,
    predict_points,
)


class Backbone(nn.Module):
    """BatchNorm over two channels: all that calibration can change."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)

    def forward(self, scans: VoxelBatch) -> Features:
        return Features(self.norm(scans.features), scans.point2voxel, scans.point_mask)


def voxels(features: Tensor, point2voxel: Tensor, point_mask: Tensor | None = None) -> VoxelBatch:
    mask = torch.ones(len(point2voxel), dtype=torch.bool) if point_mask is None else point_mask
    coords = torch.zeros(len(features), 4, dtype=torch.int32)
    return VoxelBatch(features, coords, (16, 16, 16), point2voxel, mask, 1)


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_calibration_is_the_plain_mean_over_the_batches() -> None:
    backbone = Backbone()
    batches = [torch.randn(50, 2, generator=draw(i)) * (i + 1) + i for i in range(3)]
    assert calibrate_batchnorm(backbone, (voxels(b, torch.arange(50)) for b in batches)) == 3
    torch.testing.assert_close(backbone.norm.running_mean, torch.stack([b.mean(0) for b in batches]).mean(0))
    torch.testing.assert_close(backbone.norm.running_var, torch.stack([b.var(0) for b in batches]).mean(0))
    assert backbone.norm.momentum == 0.1
    assert not backbone.training


def test_no_batches_leave_the_statistics_alone() -> None:
    backbone = Backbone()
    backbone.norm.running_mean.fill_(3.0)
    assert calibrate_batchnorm(backbone, ()) == 0
    assert torch.all(backbone.norm.running_mean == 3.0)


def test_features_are_those_of_labelled_points_inside_the_grid() -> None:
    backbone = Backbone().eval()
    scan = voxels(
        torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        torch.tensor([1, 0, 0, 1]),
        torch.tensor([True, True, False, True]),
    )
    found = extract_features(backbone, [(scan, torch.tensor([5, 255, 7, 9]))])
    assert found.targets.tolist() == [5, 9]
    torch.testing.assert_close(found.features, backbone.norm(torch.tensor([[3.0, 4.0], [3.0, 4.0]])).detach())


def test_nothing_labelled_is_an_error() -> None:
    scan = voxels(torch.ones(2, 2), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="no labelled point"):
        extract_features(Backbone(), [(scan, torch.tensor([255, 255]))])


def test_the_layer_takes_raw_features_and_separates_classes() -> None:
    targets = torch.randint(3, (600,), generator=draw(0))
    centres = torch.tensor([[1000.0, 0.01], [1003.0, 0.02], [1006.0, -0.03]])
    features = centres[targets] + torch.randn(600, 2, generator=draw(1)) * torch.tensor([0.2, 0.001])
    layer = fit_linear(
        ProbeFeatures(features, targets), 3, CachedProbeConfig(batch_points=100), generator=draw(2)
    )
    assert (layer(features).argmax(1) == targets).float().mean() > 0.98


def test_the_fit_is_a_function_of_the_generator() -> None:
    train = ProbeFeatures(torch.randn(64, 4, generator=draw(0)), torch.randint(3, (64,), generator=draw(1)))
    first, second = (
        fit_linear(train, 3, CachedProbeConfig(epochs=2, batch_points=16), generator=draw(5))
        for _ in range(2)
    )
    assert torch.equal(first.weight, second.weight)


def test_each_raw_point_has_the_class_of_its_voxel() -> None:
    backbone, head = Backbone().eval(), nn.Linear(2, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        head.bias.copy_(torch.tensor([0.5, 0.0]))
    scan = voxels(
        torch.tensor([[9.0, 0.0], [0.0, 9.0]]),
        torch.tensor([1, 0, 1, 1]),
        torch.tensor([True, True, True, False]),
    )
    assert predict_points(backbone, head, scan).tolist() == [1, 0, 1, 0]


def test_a_scan_without_voxels_still_has_predictions() -> None:
    head = nn.Linear(2, 3)
    scan = voxels(torch.zeros(0, 2), torch.zeros(4, dtype=torch.long), torch.zeros(4, dtype=torch.bool))
    assert len(predict_points(Backbone().eval(), head, scan)) == 4


def test_hand_made_features_are_intensity_height_and_range() -> None:
    points = torch.tensor([[3.0, 4.0, -2.0, 17.0]])
    torch.testing.assert_close(hand_made_features(points), torch.tensor([[17.0, -2.0, 4.0, 29.0**0.5]]))
    assert len(hand_made_probe_features(points, torch.tensor([255])).targets) == 0
