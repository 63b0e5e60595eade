"""A batch with cameras: pixels do not move when the cloud does."""

from __future__ import annotations

from functools import partial

import torch

from lidardistill.data.camera_input import CameraInput
from lidardistill.data.keyframes import Keyframes
from lidardistill.datasets.nuscenes.labels.boxes import BoxTable
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.tasks.detect.config import DetectionAugmentConfig
from lidardistill.tasks.detect.sample import DetectionRecipe
from tests.support.inputs import scan_input


def batch_of(root, *, train, cameras=True):
    index = NuScenesIndex.open(root, "v1.0-mini")
    recipe = DetectionRecipe(
        scan_input(kind="cartesian", voxel_size=(0.5, 0.5, 0.5)),
        partial(BoxTable.read, BoxTable.open(index)),
        augment=DetectionAugmentConfig() if train else None,
        cameras=CameraInput((30, 60)) if cameras else None,
    )
    dataset = Keyframes(index, [1, 2], recipe, seed=0)
    return dataset.collate([dataset[(0, place, place)] for place in range(2)])


def pixels(batch, scan):
    """(V, n, 2) pixels of the box centres of one scan in its views, through the batch's own matrices."""
    inputs = batch.camera_inputs()
    mine = (inputs["view_sample"] == scan).nonzero()[:, 0]
    centres = batch.boxes[scan][:, :3].double()
    homogeneous = torch.cat([centres, torch.ones(len(centres), 1, dtype=torch.float64)], dim=1)
    uvd = inputs["lidar2img"][mine] @ homogeneous.T
    return (uvd[:, :2] / uvd[:, 2:3]).transpose(1, 2)


def test_augmented_boxes_fall_on_the_pixels_that_they_fell_on(detection_world):
    moved, still = (batch_of(detection_world, train=train) for train in (True, False))
    assert not torch.allclose(moved.old2new, still.old2new)
    for scan in range(2):
        assert len(moved.boxes[scan]) == len(still.boxes[scan]) > 0
        torch.testing.assert_close(pixels(moved, scan), pixels(still, scan), rtol=1e-3, atol=0.05)
    inputs = moved.camera_inputs()
    assert inputs["batch_size"] == 2
    assert inputs["view_sample"].tolist() == [0] * 6 + [1] * 6
    assert len(inputs["images"]) == 12


def test_a_batch_without_cameras(detection_world):
    assert batch_of(detection_world, train=True, cameras=False).camera_inputs() is None
