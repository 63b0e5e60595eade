"""Keyframes with boxes: read, pasted into, moved, made into voxels, put together."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lidardistill.data.camera_input import CameraInput
from lidardistill.data.frame import CorruptSample
from lidardistill.data.keyframes import Keyframes
from lidardistill.data.loader import make_loader, warm_up
from lidardistill.data.sampler import OnceSampler
from lidardistill.data.voxel_input import VoxelInput
from lidardistill.datasets.nuscenes.labels.boxes import BoxTable
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.datasets.sweeps import read_sweeps
from lidardistill.geometry.boxes import points_in_boxes
from lidardistill.tasks.detect.config import DetectionAugmentConfig, GTSamplingConfig
from lidardistill.tasks.detect.gt_database import GTDatabase
from lidardistill.tasks.detect.gt_sampling import GTSampler
from lidardistill.tasks.detect.sample import (
    DetectionRecipe,
    collate_detection,
)
from tests.support.inputs import changed, scan_input

VERSION = "v1.0-mini"
VOXELS = scan_input(
    kind="cartesian",
    voxel_size=(0.5, 0.5, 8.0),
    point_cloud_range=(-20.0, -20.0, -6.0, 20.0, 20.0, 2.0),
    point_features=("x", "y", "z", "intensity", "time_lag"),
    reduce="mean",
)


@pytest.fixture(scope="module")
def index(detection_world: Path) -> NuScenesIndex:
    return NuScenesIndex.open(detection_world, VERSION)


@pytest.fixture(scope="module")
def table(index: NuScenesIndex) -> BoxTable:
    return BoxTable.open(index)


@pytest.fixture(scope="module")
def sampler(index, table) -> GTSampler:
    return GTSampler(GTDatabase.build(index, table, np.arange(10), num_sweeps=2), GTSamplingConfig())


def dataset(index, table, *, rows=range(10), train=True, voxels=VOXELS, seed=3, **changes) -> Keyframes:  # type: ignore[no-untyped-def]
    options = {
        "read_boxes": table.read,
        "num_sweeps": 2,
        "augment": DetectionAugmentConfig() if train else None,
    }
    recipe = DetectionRecipe(voxels, **{**options, **changes})
    return Keyframes(index, rows, recipe, seed=seed, max_substitutes=8 if train else 0)


def assert_same(first: object, second: object) -> None:
    for name, value in vars(first).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, getattr(second, name), err_msg=name)
        elif isinstance(value, VoxelInput):
            for one, two in zip(value, getattr(second, name), strict=True):
                np.testing.assert_array_equal(one, two, err_msg=name)
        else:
            assert value == getattr(second, name)


def test_evaluation_sees_the_keyframe_as_it_is(index, table) -> None:
    sample = dataset(index, table, train=False)[0, 0, 7]
    frame, found = index.frame(7), table.read(7)
    np.testing.assert_array_equal(sample.points, read_sweeps(index, 7, 2))
    np.testing.assert_array_equal(sample.old2new, np.eye(4))
    np.testing.assert_allclose(sample.lidar2global, frame.ego2global @ frame.lidar2ego)
    inside = (np.abs(found.boxes[:, :2]) < 20).all(axis=1)
    seen = found.num_lidar_pts > 0
    assert 0 < (inside & seen).sum() < seen.sum() < len(found)
    np.testing.assert_array_equal(sample.boxes, found.boxes[inside & seen])
    np.testing.assert_array_equal(sample.labels, found.labels[inside & seen])
    everywhere = scan_input(kind="cartesian", voxel_size=(0.5, 0.5, 0.5))
    for min_points, expected in ((1, found.boxes[seen]), (0, found.boxes)):
        data = dataset(index, table, train=False, min_points=min_points, voxels=everywhere)
        np.testing.assert_array_equal(data[0, 0, 7].boxes, expected)
    assert sample.images is None
    assert (sample.sample_token, sample.row) == (frame.sample_token, 7)


def test_training_moves_points_boxes_and_what_says_so_alike(index, table) -> None:
    data = dataset(index, table)
    sample = data[0, 0, 7]
    still = read_sweeps(index, 7, 2)
    assert not np.allclose(sample.old2new, np.eye(4))
    moved = still[:, :3].astype(np.float64) @ sample.old2new[:3, :3].T + sample.old2new[:3, 3]
    np.testing.assert_allclose(sample.points[:, :3], moved, atol=1e-5)
    np.testing.assert_array_equal(sample.points[:, 3:], still[:, 3:])
    assert (np.abs(sample.boxes[:, :2]) <= 20).all()
    # The box of each object still holds the points that the tables count: those of the keyframe's own scan.
    found = table.read(7)
    own = sample.points[sample.points[:, 4] == 0]
    counts = np.diff(points_in_boxes(own, sample.boxes * np.array([1, 1, 1, 1.01, 1.01, 1.01, 1, 1, 1]))[1])
    for box, label, count in zip(sample.boxes, sample.labels, counts, strict=True):
        near = np.linalg.norm(
            found.boxes[:, :3] @ sample.old2new[:3, :3].T + sample.old2new[:3, 3] - box[:3], axis=1
        )
        assert near.min() < 1e-4
        assert found.labels[near.argmin()] == label
        assert count == found.num_lidar_pts[near.argmin()]
    assert len(counts) > 4


def test_voxels_are_those_of_the_moved_points_with_their_time_lags(index, table) -> None:
    sample = dataset(index, table)[0, 0, 7]
    inside = sample.voxels.point_mask
    assert 0 < inside.sum() < len(inside)
    for voxel in range(0, len(sample.voxels.voxel_coords), 17):
        points = sample.points[inside][sample.voxels.point2voxel[inside] == voxel]
        np.testing.assert_allclose(
            sample.voxels.voxel_features[voxel], points.mean(axis=0), rtol=1e-4, atol=1e-5
        )
    assert sample.voxels.point_features is None
    pillars = changed(VOXELS, per_point=True)
    per_point = dataset(index, table, voxels=pillars)[0, 0, 7]
    np.testing.assert_array_equal(per_point.voxels.point_features, sample.points)


def test_heights_are_those_above_the_road_before_the_scan_was_moved(index, table) -> None:
    heights = changed(VOXELS, point_features=("height",), per_point=True)
    sample, frame = dataset(index, table, voxels=heights)[0, 0, 7], index.frame(7)
    still = read_sweeps(index, 7, 2)[:, :3].astype(np.float64)
    expected = still @ frame.lidar2ego[2, :3] + frame.lidar2ego[2, 3]
    np.testing.assert_allclose(sample.voxels.point_features[:, 0], expected, atol=1e-4)


def test_a_sample_is_a_function_of_its_key(index, table, sampler) -> None:
    options = {"gt_sampler": sampler}
    data, again = (
        dataset(index, table, **options),
        pickle.loads(pickle.dumps(dataset(index, table, **options))),
    )
    first = data[0, 0, 1]
    _ = again[5, 1, 0]  # what was asked before does not matter
    assert_same(first, again[0, 0, 1])
    for other in (data[1, 0, 1], data[0, 1, 1], dataset(index, table, seed=4, **options)[0, 0, 1]):
        assert not np.allclose(first.old2new, other.old2new)
        assert other.sample_token == first.sample_token


def test_objects_are_pasted(index, table, sampler) -> None:
    off = None
    plain = dataset(index, table, augment=off)[0, 0, 2]
    filled = dataset(index, table, augment=off, gt_sampler=sampler)[0, 0, 2]
    assert len(filled.boxes) > len(plain.boxes)
    assert len(filled.points) > 0
    np.testing.assert_array_equal(filled.boxes[: len(plain.boxes)], plain.boxes)
    pasted = filled.boxes[len(plain.boxes) :]
    entries = [np.flatnonzero((sampler.database.boxes[:, :7] == box[:7]).all(axis=1)) for box in pasted]
    assert all(len(found) for found in entries)
    _, offsets = points_in_boxes(filled.points, pasted)
    assert (np.diff(offsets) >= 5).all()


def test_objects_move_with_the_scan_that_they_were_pasted_into(index, table, sampler) -> None:
    sample = dataset(index, table, gt_sampler=sampler)[0, 0, 2]
    _, offsets = points_in_boxes(
        sample.points, sample.boxes * np.float32([1, 1, 1, 1.01, 1.01, 1.01, 1, 1, 1])
    )
    assert (np.diff(offsets) >= 5).all()


def test_cameras_come_along_unturned(index, table) -> None:
    data = dataset(index, table, cameras=CameraInput((30, 48)))
    sample, frame = data[0, 0, 4], index.frame(4)
    assert sample.images.shape == (6, 3, 30, 48)
    np.testing.assert_array_equal(sample.lidar2cam, frame.lidar2cam)
    np.testing.assert_array_equal(data[1, 3, 4].images, sample.images)
    # a point of the augmented cloud finds its pixel through the inverse of what moved it
    new2img = sample.cam2img[0] @ sample.lidar2cam[0] @ np.linalg.inv(sample.old2new)
    still = frame.cam2img[0] @ frame.lidar2cam[0]
    points = read_sweeps(index, 4, 2)
    old, new = (np.c_[p[:, :3].astype(np.float64), np.ones(len(p))] for p in (points, sample.points))
    scale = np.array([48 / 80, 30 / 45])
    seen = (old @ still.T)[:, 2] > 1
    before, after = ((p @ m.T)[seen] for p, m in ((old, still), (new, new2img)))
    np.testing.assert_allclose(
        after[:, :2] / after[:, 2:3] + 0.5, (before[:, :2] / before[:, 2:3] + 0.5) * scale, atol=1e-2
    )


def test_batches(index, table) -> None:
    data = dataset(index, table, cameras=CameraInput((15, 24)))
    samples = [data[0, place, place] for place in range(3)]
    batch = collate_detection(samples)
    assert batch.batch_size == batch.voxels.batch_size == 3
    assert batch.sample_tokens == tuple(index.sample_token(row) for row in range(3))
    assert batch.rows == (0, 1, 2)
    for number, sample in enumerate(samples):
        np.testing.assert_array_equal(batch.boxes[number], sample.boxes)
        np.testing.assert_array_equal(batch.labels[number], sample.labels)
        np.testing.assert_array_equal(batch.old2new[number], sample.old2new)
        np.testing.assert_array_equal(batch.lidar2global[number], sample.lidar2global)
        here = batch.voxels.voxel_coords[:, 0] == number
        np.testing.assert_array_equal(batch.voxels.features[here], sample.voxels.voxel_features)
        start, end = batch.view_offsets[number : number + 2].tolist()
        for name in ("images", "lidar2cam", "cam2img"):
            np.testing.assert_array_equal(getattr(batch, name)[start:end], getattr(sample, name))
    assert {t.dtype for t in (batch.old2new, batch.lidar2global, batch.lidar2cam, batch.cam2img)} == {
        torch.float64
    }
    assert (batch.boxes[0].dtype, batch.labels[0].dtype) == (torch.float32, torch.int64)
    moved = batch.to("meta")
    tensors = [*moved.boxes, *moved.labels, moved.old2new, moved.lidar2global, moved.images, moved.lidar2cam]
    tensors += [moved.cam2img, moved.view_offsets, moved.voxels.features]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert collate_detection([dataset(index, table)[0, 0, 0]]).to("meta").images is None


def test_batches_of_nothing_and_of_what_does_not_fit(index, table) -> None:
    lidar, fused = dataset(index, table)[0, 0, 0], dataset(index, table, cameras=CameraInput())[0, 0, 0]
    with pytest.raises(ValueError, match="at least one sample"):
        collate_detection([])
    with pytest.raises(ValueError, match="1 of 2 samples have them"):
        collate_detection([lidar, fused])
    other = dataset(index, table, cameras=CameraInput((5, 5)))[0, 0, 0]
    with pytest.raises(ValueError, match="one size in the whole batch"):
        collate_detection([fused, other])
    far = changed(VOXELS, point_cloud_range=(400.0, 400.0, -6.0, 440.0, 440.0, 2.0))
    empty = dataset(index, table, voxels=far)[0, 0, 0]
    batch = collate_detection([empty, empty])
    assert [len(boxes) for boxes in batch.boxes] == [0, 0]
    assert batch.boxes[0].shape == (0, 9)
    assert len(batch.voxels.features) == 0
    unlabelled = dataset(index, table, read_boxes=None)[0, 0, 0]
    assert unlabelled.boxes.shape == (0, 9)
    assert unlabelled.boxes.dtype == np.float32


def test_workers_give_the_same_batches(index, table, sampler) -> None:
    data = dataset(index, table, gt_sampler=sampler)
    here, there = (
        list(make_loader(data, OnceSampler(4, 2), collate_detection, workers)) for workers in (0, 1)
    )
    for ours, theirs in zip(here, there, strict=True):
        assert ours.sample_tokens == theirs.sample_tokens
        for a, b in zip(ours.boxes, theirs.boxes, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(ours.voxels.features, theirs.voxels.features, rtol=0, atol=0)


def test_warming_up_compiles_what_pasting_needs(index, table, sampler) -> None:
    from lidardistill.geometry.kernels import boxes_numba as boxes_numba

    for data in (dataset(index, table), dataset(index, table, gt_sampler=sampler)):
        warm_up(data)
    assert boxes_numba.boxes_overlap.signatures
    assert boxes_numba.points_in_boxes.signatures
    known = len(boxes_numba.boxes_overlap.signatures), len(boxes_numba.points_in_boxes.signatures)
    for place in range(5):
        dataset(index, table, gt_sampler=sampler)[0, place, place]
    assert known == (
        len(boxes_numba.boxes_overlap.signatures),
        len(boxes_numba.points_in_boxes.signatures),
    )


def test_a_broken_keyframe_is_replaced_in_training_only(index, tmp_path) -> None:
    copied = NuScenesIndex.open(shutil.copytree(index.dataroot, tmp_path / "world"), VERSION)
    table = BoxTable.open(copied)
    copied.lidar_path(3).write_bytes(b"")
    data = dataset(copied, table, rows=[3, 8, 9])
    sample = data[0, 0, 0]
    assert sample.sample_token != copied.sample_token(3)
    ((token, reason),) = sample.substitutes
    assert token == copied.sample_token(3)
    assert "is empty" in reason
    batch = collate_detection([sample, data[0, 0, 1]])
    assert batch.substitutes == ((token, reason),)
    np.testing.assert_array_equal(sample.boxes, data[0, 0, 0].boxes)
    with pytest.raises(CorruptSample, match="is empty"):
        dataset(copied, table, rows=[3], train=False)[0, 0, 0]


def test_combinations_that_cannot_be_meant(index, table, sampler) -> None:
    with pytest.raises(ValueError, match="at least one keyframe"):
        dataset(index, table, rows=[])
    with pytest.raises(ValueError, match="a pasted object stands in no image"):
        dataset(index, table, gt_sampler=sampler, cameras=CameraInput())
    with pytest.raises(ValueError, match="objects are of 2 sweeps and num_sweeps is 0"):
        dataset(index, table, gt_sampler=sampler, num_sweeps=0)
    with pytest.raises(ValueError, match="expected read_boxes beside it"):
        dataset(index, table, gt_sampler=sampler, read_boxes=None)
