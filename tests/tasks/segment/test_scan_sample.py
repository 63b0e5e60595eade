"""Scans for the downstream tasks: a target for every raw point, and no keyframe silently exchanged in
evaluation.
"""

from dataclasses import replace

import numpy as np
import pytest

from lidardistill.data.config import AugmentConfig
from lidardistill.data.frame import CorruptSample
from lidardistill.data.keyframes import Keyframes
from lidardistill.datasets.label_kinds import open_labels
from lidardistill.datasets.nuscenes.labels.points import read_lidarseg
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.tasks.segment.sample import ScanRecipe
from tests.support.inputs import scan_input

VOXELS = scan_input(kind="cartesian", voxel_size=(0.5, 0.5, 0.5))


@pytest.fixture
def index(small_root):
    return NuScenesIndex.open(small_root.write(), "v1.0-mini")


RECIPE = ScanRecipe(VOXELS)


def scans(index, *, rows=range(4), labels=True, train=False, **changes):
    read = open_labels(index).points() if labels is True else labels or None
    recipe = replace(RECIPE, **{"labels": read, **changes})
    return Keyframes(index, rows, recipe, seed=0, max_substitutes=8 if train else 0)


def test_every_raw_point_has_its_target(index):
    sample = scans(index)[0, 0, 2]
    raw = read_lidarseg(index, 2)
    assert sample.row == 2
    assert sample.sample_token == index.sample_token(2)
    assert np.array_equal(sample.points, index.frame(2).points)
    assert sample.target.dtype == np.int64
    # nuScenes: 17 car -> class 4 -> target 3; 30 vegetation -> 16 -> 15; 0 noise, 31 ego -> ignored
    for label, target in ((17, 3), (30, 15), (24, 10), (0, 255), (31, 255)):
        assert (sample.target[raw == label] == target).all()
    assert set(np.unique(sample.target)) <= {*range(16), 255}


def test_training_turns_the_cloud_and_evaluation_does_not(index):
    still = scans(index)[3, 9, 1]
    assert np.array_equal(still.points, index.frame(1).points)
    turned = scans(index, augment=AugmentConfig())
    assert not np.array_equal(turned[0, 0, 1].points, still.points)
    assert np.array_equal(turned[0, 5, 1].points, turned[0, 5, 1].points)
    assert np.array_equal(turned[0, 0, 1].target, still.target)


def test_batches_keep_scans_and_targets_together(index):
    samples = [scans(index)[0, place, place] for place in range(3)]
    batch = RECIPE.collate(samples)
    assert batch.rows == (0, 1, 2)
    assert batch.batch_size == batch.voxels.batch_size == 3
    for b, sample in enumerate(samples):
        here = slice(*batch.point_offsets[b : b + 2].tolist())
        assert np.array_equal(batch.target[here], sample.target)
        assert np.array_equal(batch.points[here], sample.points)
        rows = batch.voxels.point2voxel[here]
        assert np.array_equal(
            batch.voxels.features[rows, 0], sample.voxels.voxel_features[sample.voxels.point2voxel, 0]
        )
    assert batch.to("meta").target.device.type == "meta"


def test_labels_are_optional_but_not_mixed(index):
    bare = scans(index, labels=False)[0, 0, 0]
    assert bare.target is None
    assert RECIPE.collate([bare]).target is None
    with pytest.raises(ValueError, match="target: 1 of 2"):
        RECIPE.collate([bare, scans(index)[0, 1, 1]])


def test_a_broken_scan_stops_evaluation_and_is_replaced_in_training(index):
    index.lidar_path(1).write_bytes(b"")
    with pytest.raises(CorruptSample, match="is empty"):
        scans(index)[0, 0, 1]
    sample = scans(index, train=True)[0, 0, 1]
    assert sample.row != 1
    assert sample.substitutes[0][0] == index.sample_token(1)


class TooFew:
    def read(self, row):
        return np.zeros(49, np.uint8)


def test_labels_of_another_scan_are_refused(index):
    with pytest.raises(CorruptSample, match="expected one for each of the 50 points"):
        scans(index, labels=TooFew())[0, 0, 0]
    with pytest.raises(ValueError, match="at least one keyframe"):
        scans(index, rows=[])
