"""Ragged concatenation: every index still means the same thing in the batch."""

import dataclasses

import numpy as np
import pytest
import torch

from lidardistill.data.batch import VoxelBatch
from lidardistill.data.collate import collate_voxels
from lidardistill.data.voxel_input import VoxelInput
from lidardistill.methods.image_pairs import PairBatch, PairSample, collate_pairs

NUM_SUPERPIXELS = 9


def make_sample(seed, num_points=40, num_pairs=25, num_views=2, **changes):
    rng = np.random.default_rng(seed)
    num_voxels = min(num_points, 15)
    fields = {
        "sample_token": f"token-{seed}",
        "points": rng.normal(size=(num_points, 4)).astype(np.float32),
        "images": rng.random((num_views, 3, 6, 8), dtype=np.float32),
        "superpixels": rng.integers(NUM_SUPERPIXELS, size=(num_views, 6, 8)).astype(np.int32),
        "superpixel_mask": rng.random((num_views, 6, 8)) < 0.8,
        "num_superpixels": NUM_SUPERPIXELS,
        "pairing_points": rng.integers(max(num_points, 1), size=num_pairs),
        "pairing_images": rng.integers((num_views, 6, 8), size=(num_pairs, 3)),
    }
    voxels = {
        "voxel_coords": rng.integers(16 * (seed + 1), size=(num_voxels, 3)).astype(np.int32),
        "voxel_features": rng.random((num_voxels, 2), dtype=np.float32),
        "spatial_shape": (16 * (seed + 1), 64 - 16 * seed, 32),
        "point2voxel": rng.integers(max(num_voxels, 1), size=num_points),
        "point_mask": rng.random(num_points) < 0.9,
    }
    voxels |= {name: changes.pop(name) for name in list(changes) if name in VoxelInput._fields}
    return PairSample(**{**fields, "voxels": VoxelInput(**voxels), **changes})


def empty_sample(seed):
    return make_sample(seed, num_points=0, num_pairs=0)


@pytest.mark.parametrize("middle", [make_sample, empty_sample])
def test_every_index_still_means_the_same(middle):
    samples = [make_sample(0), middle(1), make_sample(2, num_points=30, num_views=3)]
    batch = collate_pairs(samples)
    assert isinstance(batch, PairBatch)
    assert batch.batch_size == batch.voxels.batch_size == 3
    assert batch.sample_tokens == ("token-0", "token-1", "token-2")
    assert batch.view_offsets.tolist() == [0, 2, 4, 7]
    assert batch.voxels.spatial_shape == (48, 64, 32)
    assert batch.num_superpixels == NUM_SUPERPIXELS
    pairs, voxels = 0, 0
    for b, sample in enumerate(samples):
        start, end = batch.point_offsets[b : b + 2].tolist()
        assert np.array_equal(batch.points[start:end], sample.points)
        here = slice(pairs, pairs + len(sample.pairing_points))
        pairs = here.stop
        assert np.array_equal(batch.points[batch.pairing_points[here]], sample.points[sample.pairing_points])
        view, row, col = batch.pairing_images[here].T
        v, r, c = sample.pairing_images.T
        assert np.array_equal(batch.superpixels[view, row, col], sample.superpixels[v, r, c])
        assert np.array_equal(batch.superpixel_mask[view, row, col], sample.superpixel_mask[v, r, c])
        assert np.array_equal(batch.images[view, :, row, col], sample.images[v, :, r, c])
        of_scan = batch.voxels.voxel_coords[:, 0] == b
        assert of_scan.sum() == len(sample.voxels.voxel_coords)
        assert np.array_equal(batch.voxels.voxel_coords[of_scan, 1:], sample.voxels.voxel_coords)
        rows = batch.voxels.point2voxel[start:end]
        assert np.array_equal(
            batch.voxels.features[rows], sample.voxels.voxel_features[sample.voxels.point2voxel]
        )
        assert np.array_equal(
            batch.voxels.voxel_coords[rows, 1:], sample.voxels.voxel_coords[sample.voxels.point2voxel]
        )
        voxels += len(sample.voxels.voxel_coords)
    assert voxels == len(batch.voxels.features)
    assert pairs == len(batch.pairing_points)


def test_dtypes_are_those_of_the_contract():
    batch = collate_pairs([make_sample(0), empty_sample(1)])
    dtypes = {
        "points": torch.float32, "point_offsets": torch.int64, "images": torch.float32,
        "view_offsets": torch.int64,
        "superpixels": torch.int32, "superpixel_mask": torch.bool, "pairing_points": torch.int64,
        "pairing_images": torch.int64,
    }  # fmt: skip
    assert {name: getattr(batch, name).dtype for name in dtypes} == dtypes
    voxels = batch.voxels
    parts = (voxels.features, voxels.voxel_coords, voxels.point2voxel, voxels.point_mask)
    assert [part.dtype for part in parts] == [torch.float32, torch.int32, torch.int64, torch.bool]


def test_samples_are_left_as_they_were():
    samples = [make_sample(0), make_sample(1)]
    collate_pairs(samples)
    again = make_sample(1)
    assert np.array_equal(samples[1].pairing_images, again.pairing_images)
    assert np.array_equal(samples[1].voxels.point2voxel, again.voxels.point2voxel)


def test_a_batch_of_nothing_is_a_batch():
    batch = collate_pairs([empty_sample(0)])
    assert batch.points.shape == (0, 4)
    assert batch.pairing_images.shape == (0, 3)
    assert batch.voxels.voxel_coords.shape == (0, 4)
    assert batch.voxels.batch_size == 1


def test_precomputed_features_stand_in_for_images():
    features = {
        "images": None,
        "teacher_features": np.ones((18, 5), np.float32),
        "teacher_count": np.ones(18, np.float32),
    }
    batch = collate_pairs([make_sample(0, **features), make_sample(1, **features)])
    assert batch.images is None
    assert batch.teacher_features.shape == (36, 5)
    assert batch.teacher_count.shape == (36,)
    with pytest.raises(ValueError, match="images: 1 of 2 samples"):
        collate_pairs([make_sample(0), make_sample(1, images=None)])


def test_what_does_not_fit_together_is_named():
    with pytest.raises(ValueError, match="at least one sample"):
        collate_pairs([])
    with pytest.raises(ValueError, match=r"num_superpixels: .* \[9, 10\]"):
        collate_pairs([make_sample(0), make_sample(1, num_superpixels=10)])
    wide = make_sample(1)
    wide = dataclasses.replace(wide, voxels=wide.voxels._replace(voxel_features=np.ones((15, 3), np.float32)))
    with pytest.raises(ValueError, match=r"voxel_features: .*\(15, 2\), \(15, 3\)"):
        collate_pairs([make_sample(0), wide])


def test_substitutes_are_collected():
    sample = make_sample(1, substitutes=(("broken", "why"),))
    assert collate_pairs([make_sample(0), sample, sample]).substitutes == (("broken", "why"),) * 2


def test_a_batch_moves_with_everything_in_it():
    batch = collate_pairs([make_sample(0)]).to("meta")
    assert batch.images.device.type == batch.voxels.features.device.type == "meta"
    assert isinstance(collate_voxels([make_sample(0).voxels]), VoxelBatch)
