"""One keyframe for two losses: each side is what it would be alone."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest

from lidardistill.data.augment import AugmentSettings, ScanAugment
from lidardistill.data.loader import warm_up
from lidardistill.data.view_image import ImageReading
from lidardistill.datasets.base import rows_with_partner
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.methods.bevcontrast.sample import ScanPairDataset, collate_scan_pairs
from lidardistill.methods.both import JointDataset, collate_joint
from lidardistill.methods.slidr.sample import PairDataset, collate_pairs
from tests.support.inputs import scan_input

VOXELS = scan_input(kind="cartesian", voxel_size=(0.5, 0.5, 0.5))


class Stripes:
    """Four superpixels side by side."""

    max_id_bound = 4
    warmed = 0

    def __call__(self, image, key):
        height, width = np.asarray(image() if callable(image) else image).shape[:2]
        ids = np.broadcast_to(np.arange(width) * 4 // width, (height, width)).astype(np.int32)
        return ids, np.ones((height, width), bool)

    def warm_up(self):
        Stripes.warmed += 1


def joint(index, rows=None, **reading):
    rows = rows_with_partner(index, np.arange(index.num_keyframes), 1) if rows is None else rows
    images = PairDataset(
        index,
        rows,
        superpixels=Stripes(),
        augment=AugmentSettings(image_size=(22, 40), drop_cuboid=False, crop_min_pairs=1),
        voxels=VOXELS,
        seed=3,
        train=True,
        **reading,
    )
    scans = ScanPairDataset(index, rows, stride=1, voxels=VOXELS, augment=ScanAugment(), seed=3)
    return JointDataset(images, scans)


@pytest.fixture
def index(tiny_world):
    return NuScenesIndex.open(tiny_world, "v1.0-mini")


def test_each_side_is_what_it_is_alone(index):
    both = joint(index)
    sample = pickle.loads(pickle.dumps(both))[0, 1, 2]
    for side in ("images", "scans"):
        alone = getattr(both, side)[0, 1, 2]
        assert getattr(sample, side).sample_token == alone.sample_token == index.sample_token(4)
    np.testing.assert_array_equal(sample.images.points, both.images[0, 1, 2].points)
    np.testing.assert_array_equal(sample.scans.b.points, both.scans[0, 1, 2].b.points)
    assert len(both) == 4


def test_a_batch_holds_both(index):
    samples = [joint(index)[0, place, place] for place in range(2)]
    batch = collate_joint(samples)
    images, scans = collate_pairs([s.images for s in samples]), collate_scan_pairs([s.scans for s in samples])
    assert batch.sample_tokens == images.sample_tokens == scans.sample_tokens
    assert batch.batch_size == 2
    np.testing.assert_array_equal(batch.images.points, images.points)
    np.testing.assert_array_equal(batch.scans.voxel_xy, scans.voxel_xy)
    moved = batch.to("meta")
    assert {moved.images.points.device.type, moved.scans.voxels.features.device.type} == {"meta"}
    with pytest.raises(ValueError, match="at least one sample"):
        collate_joint([])


def test_what_either_could_not_read_is_named_once(tiny_world, tmp_path):
    index = NuScenesIndex.open(shutil.copytree(tiny_world, tmp_path / "world"), "v1.0-mini")
    index.lidar_path(2).write_bytes(b"")  # a keyframe of both
    batch = collate_joint([joint(index)[0, 0, 1]])
    assert [token for token, _ in batch.substitutes] == [index.sample_token(2)]
    index.lidar_path(1).write_bytes(b"")  # the partner of row 0
    batch = collate_joint([joint(index)[0, 0, 0]])
    assert batch.images.substitutes == ()
    assert next(token for token, _ in batch.substitutes) == index.sample_token(0)


def test_it_is_warmed_up_as_its_parts_are(index):
    before = Stripes.warmed
    warm_up(joint(index, reading=ImageReading(scale=2)))
    assert Stripes.warmed == before + 1


def test_other_rows_are_refused(index):
    both = joint(index)
    with pytest.raises(ValueError, match="expected the same rows, got 4 and 1 keyframes"):
        JointDataset(both.images, joint(index, [0]).scans)
