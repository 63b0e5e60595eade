"""One keyframe for two methods: each half is the same as alone."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest

from lidardistill.data.config import ImageConfig
from lidardistill.data.keyframes import Keyframes
from lidardistill.data.loader import warm_up
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.methods.bevcontrast.config import BEVContrastConfig
from lidardistill.methods.bevcontrast.sample import ScanPairs
from lidardistill.methods.both import Both
from lidardistill.methods.image_pairs import ImagePairs
from tests.support.inputs import augment, scan_input

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


def parts(**images):
    moved = augment(image_size=(22, 40), drop_cuboid=False, crop_min_pairs=1)
    first = ImagePairs(VOXELS, moved, superpixels=Stripes(), **images)
    return first, ScanPairs(BEVContrastConfig(kind="bevcontrast", stride=1), VOXELS)


def keyframes(index, recipe):
    return Keyframes(index, recipe.rows(index, np.arange(index.num_keyframes)), recipe, seed=3)


@pytest.fixture
def index(tiny_world):
    return NuScenesIndex.open(tiny_world, "v1.0-mini")


def test_each_half_is_the_same_as_alone(index):
    first, second = parts()
    both = keyframes(index, Both(first, second))
    assert len(both) == 4
    sample = pickle.loads(pickle.dumps(both))[0, 1, 2]
    of_first = Keyframes(index, both.rows, first, seed=3)[0, 1, 2]
    of_second = keyframes(index, second)[0, 1, 2]
    assert sample.sample_token == of_first.sample_token == of_second.sample_token == index.sample_token(4)
    np.testing.assert_array_equal(sample.first.points, of_first.points)
    np.testing.assert_array_equal(sample.second.b.points, of_second.b.points)


def test_a_batch_holds_both(index):
    recipe = Both(*parts())
    samples = [keyframes(index, recipe)[0, place, place] for place in range(2)]
    batch = recipe.collate(samples)
    first = recipe.first.collate([s.first for s in samples])
    second = recipe.second.collate([s.second for s in samples])
    assert batch.sample_tokens == first.sample_tokens == second.sample_tokens
    assert batch.batch_size == 2
    np.testing.assert_array_equal(batch.first.points, first.points)
    np.testing.assert_array_equal(batch.second.voxel_xy, second.voxel_xy)
    moved = batch.to("meta")
    assert {moved.first.points.device.type, moved.second.voxels.features.device.type} == {"meta"}
    with pytest.raises(ValueError, match="at least one sample"):
        recipe.collate([])


def test_a_keyframe_that_either_cannot_read_is_replaced_for_both(tiny_world, tmp_path):
    index = NuScenesIndex.open(shutil.copytree(tiny_world, tmp_path / "world"), "v1.0-mini")
    recipe = Both(*parts())
    index.lidar_path(1).write_bytes(b"")  # only scan b of row 0
    sample = keyframes(index, recipe)[0, 0, 0]
    assert sample.first.sample_token == sample.second.sample_token == sample.sample_token
    batch = recipe.collate([sample])
    assert [token for token, _ in batch.substitutes] == [index.sample_token(0)]


def test_both_recipes_are_warmed_up(index):
    before = Stripes.warmed
    warm_up(keyframes(index, Both(*parts(images=ImageConfig(scale=2)))))
    assert Stripes.warmed == before + 1
