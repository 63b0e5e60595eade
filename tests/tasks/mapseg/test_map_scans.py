"""Scans with maps: moved together, the same whatever reads them."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
import torch

from lidardistill.data.frame import CorruptSample
from lidardistill.data.keyframes import Keyframes
from lidardistill.data.loader import make_loader
from lidardistill.data.sampler import OnceSampler
from lidardistill.datasets.nuscenes.labels.map_masks import CLASSES, MapMasks
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.tasks.detect.config import DetectionAugmentConfig
from lidardistill.tasks.mapseg.config import MapDataConfig
from lidardistill.tasks.mapseg.sample import MapRecipe
from tests.support.inputs import scan_input

pytest.importorskip("shapely", reason="maps are read with shapely")

VERSION = "v1.0-mini"
VOXELS = scan_input(
    kind="cartesian",
    voxel_size=(0.4, 0.4, 0.4),
    point_cloud_range=(-25.6, -25.6, -6.4, 25.6, 25.6, 6.4),
    point_features=("x", "y", "z", "intensity"),
    reduce="mean",
    align=1,
)


AUGMENT = MapDataConfig(dataroot="").augment


def dataset_of(root, train: bool = True, augment: DetectionAugmentConfig = AUGMENT) -> Keyframes:
    index = NuScenesIndex.open(root, VERSION)
    maps = MapMasks(root, VERSION, bev_range=(-24, -24, 24, 24), cell_size=0.5)
    recipe = MapRecipe(VOXELS, maps, augment if train else None)
    return Keyframes(index, np.arange(len(index)), recipe, seed=3, max_substitutes=8 if train else 0)


def test_scan_and_map_move_together(tiny_world):
    """A point keeps the classes of the cell that it lies in, however both are moved."""
    augment = DetectionAugmentConfig(shift_std_m=2.0)
    still, moved = dataset_of(tiny_world, train=False), dataset_of(tiny_world, augment=augment)
    area = CLASSES.index("drivable_area")
    for place in range(4):
        before, after = still[(0, 0, place)], moved[(0, place, place)]
        assert before.points.shape == after.points.shape
        assert not np.allclose(before.points[:, :2], after.points[:, :2], atol=0.5)
        on_road = []
        for sample in (before, after):
            cell = np.floor((sample.points[:, :2] + 24) / 0.5).astype(int)
            inside = ((cell >= 0) & (cell < 96)).all(axis=1)
            cell = cell.clip(0, 95)
            on_road.append((inside, sample.masks[area][cell[:, 1], cell[:, 0]]))
        both = on_road[0][0] & on_road[1][0]
        same = on_road[0][1][both] == on_road[1][1][both]
        assert both.sum() > 200
        assert same.mean() > 0.93  # but for those at a kerb
        assert 0.2 < on_road[0][1][both].mean() < 0.95


def test_a_sample_is_a_function_of_its_key(tiny_world):
    dataset = dataset_of(tiny_world)
    first, again, other = (
        dataset[(1, 2, 0)],
        pickle.loads(pickle.dumps(dataset))[(1, 2, 0)],
        dataset[(1, 3, 0)],
    )
    np.testing.assert_array_equal(first.points, again.points)
    np.testing.assert_array_equal(first.masks, again.masks)
    assert not np.array_equal(first.masks, other.masks)


def test_batches(tiny_world):
    dataset = dataset_of(tiny_world, train=False)
    loader = make_loader(dataset, OnceSampler(len(dataset), 3), dataset.collate, 0)
    batches = list(loader)
    assert [batch.batch_size for batch in batches] == [3, 3, 2]
    batch = batches[0].to("cpu")
    assert batch.masks.shape == (3, 6, 96, 96)
    assert batch.masks.dtype == torch.bool
    assert batch.rows == (0, 1, 2)
    assert batch.voxels.batch_size == 3
    assert torch.equal(batch.masks[1], torch.from_numpy(dataset[(0, 0, 1)].masks))
    short, whole = dataset[(0, 0, 0)], dataset[(0, 0, 1)]
    short.masks = short.masks[:, :10]
    with pytest.raises(ValueError, match="masks: expected the same shape"):
        dataset.collate([short, whole])


def test_a_scan_that_cannot_be_read(tiny_world, tmp_path):
    root = shutil.copytree(tiny_world, tmp_path / "world")
    index = NuScenesIndex.open(root, VERSION)
    index.lidar_path(0).write_bytes(b"")
    sample = dataset_of(root)[(0, 0, 0)]
    assert sample.substitutes[0][0] == index.sample_token(0)
    with pytest.raises(CorruptSample):
        dataset_of(root, train=False)[(0, 0, 0)]
