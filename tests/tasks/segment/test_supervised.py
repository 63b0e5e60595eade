"""Voxel labels and the losses of fine-tuning."""

from __future__ import annotations

import torch

from lidardistill.backbones.base import Features
from lidardistill.data.batch import VoxelBatch
from lidardistill.tasks.segment.classifier import seeded_head
from lidardistill.tasks.segment.sample import ScanBatch
from lidardistill.tasks.segment.train import row_targets


def scan(point2voxel: list[int], target: list[int], mask: list[bool], num_voxels: int) -> ScanBatch:
    voxels = VoxelBatch(
        torch.zeros(num_voxels, 1),
        torch.zeros(num_voxels, 4, dtype=torch.int32),
        (16, 16, 16),
        torch.tensor(point2voxel),
        torch.tensor(mask),
        1,
    )
    points = torch.zeros(len(target), 4)
    return ScanBatch(
        sample_tokens=("a",),
        rows=(0,),
        points=points,
        point_offsets=torch.tensor([0, len(target)]),
        voxels=voxels,
        target=torch.tensor(target),
        kept=None,
    )


def features_of(batch: ScanBatch) -> Features:
    voxels = batch.voxels
    return Features(voxels.features, voxels.point2voxel, voxels.point_mask)


def test_a_voxel_has_the_label_of_its_first_labelled_point() -> None:
    batch = scan([2, 0, 2, 0, 2], [255, 3, 7, 4, 8], [True] * 5, num_voxels=4)
    assert row_targets(features_of(batch), batch.labels()).tolist() == [3, 255, 7, 255]


def test_points_outside_the_grid_label_nothing() -> None:
    batch = scan([0, 0], [5, 6], [False, True], num_voxels=1)
    assert row_targets(features_of(batch), batch.labels()).tolist() == [6]


def test_the_first_head_follows_from_the_generator() -> None:
    first, second = (seeded_head(8, 3, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    assert torch.all(first.bias == 0)
