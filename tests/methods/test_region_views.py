"""One sweep in two views: the same points in both, regions of the sweep as it was measured."""

from __future__ import annotations

import pickle
import shutil
import sys

import numpy as np
import pytest

from lidardistill.data.frame import CorruptSample
from lidardistill.data.keyframes import Keyframes
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.methods.calico_prc.config import PRCConfig
from lidardistill.methods.calico_prc.sample import SweepInTwoViews, draw_view, move_cloud
from lidardistill.regions.sweep.clusters import propose_regions
from tests.support.inputs import changed, scan_input
from tests.support.streets import Streets

VOXELS = scan_input(
    kind="cartesian",
    voxel_size=(0.4, 0.4, 0.4),
    point_cloud_range=(-25.6, -25.6, -5.0, 25.6, 25.6, 3.0),
    point_features=("x", "y", "z", "intensity"),
    reduce="mean",
    align=1,
    per_point=True,
)
STILL = {"max_rotation_deg": 0.0, "scale": (1.0, 1.0), "flip_x": False, "flip_y": False}


INDEX = Streets()


def config(**changes) -> PRCConfig:
    return PRCConfig(**{"kind": "calico_prc", **changes})


def views(index=INDEX, *, rows=(0, 1, 2, 3), seed=3, scan_input=VOXELS, **changes) -> Keyframes:
    return Keyframes(index, rows, SweepInTwoViews(config(**changes), scan_input), seed=seed)


def rows_of(sample, points: np.ndarray, view: str) -> np.ndarray:
    """The rows of a still sweep that were sampled, by their place."""
    distance = np.abs(points[:, None, :2] - getattr(sample, f"xy_{view}")[None]).max(2)
    rows = distance.argmin(0)
    assert distance.min(0).max() < 1e-6
    return rows


def test_points_are_the_same_in_both_views_up_to_their_motion():
    """Turned, mirrored and scaled back, every sampled point lies on itself."""
    sample = views()[0, 0, 0]
    assert len(sample.xy_a) == len(sample.xy_b) == len(sample.region) > 100
    homogeneous = np.c_[sample.xy_a, np.ones(len(sample.xy_a))]
    motion, residual, rank, _ = np.linalg.lstsq(homogeneous, sample.xy_b, rcond=None)
    assert rank == 3
    assert residual.max() < 1e-6
    turn = motion[:2]
    scale = np.sqrt(abs(np.linalg.det(turn)))
    np.testing.assert_allclose(turn @ turn.T, scale**2 * np.eye(2), atol=1e-5)
    assert 0.9 / 1.1 <= scale <= 1.1 / 0.9
    np.testing.assert_allclose(motion[2], 0, atol=1e-4)
    assert not np.allclose(turn, np.eye(2), atol=0.02)


def test_views_are_moved_independently_and_hold_the_whole_sweep():
    sample = views()[0, 0, 0]
    points = INDEX.points[0]
    for view in (sample.a, sample.b):
        moved = view.point_features
        assert moved.shape == (len(points), 4)
        np.testing.assert_array_equal(moved[:, 3], points[:, 3])
        scale = np.linalg.norm(moved[:, :3], axis=1) / np.linalg.norm(points[:, :3], axis=1)
        np.testing.assert_allclose(scale, scale[0], rtol=1e-4)
        np.testing.assert_allclose(moved[:, 2], scale[0] * points[:, 2], rtol=1e-4, atol=1e-5)
    assert not np.allclose(sample.a.point_features, sample.b.point_features, atol=0.1)


def test_regions_are_those_of_the_sweep_and_every_point_is_on_both_maps():
    points = INDEX.points[0]
    found = propose_regions(points)
    sample = views(**STILL, num_rich=50, num_plain=70, max_per_region=30)[0, 0, 0]
    np.testing.assert_array_equal(sample.xy_a, sample.xy_b)
    rows = rows_of(sample, points, "a")
    np.testing.assert_array_equal(sample.region_mask, found.region_mask[rows])
    rich = sample.region_mask
    assert (rich.sum(), (~rich).sum()) == (50, 70)
    assert np.bincount(sample.region[rich]).max() <= 30
    assert sample.num_regions == found.num_regions == 2
    pairs = {(a, b) for a, b in zip(sample.region[rich], found.region[rows][rich], strict=True)}
    assert len(pairs) == 2
    assert sample.a.point_mask[rows].all()
    assert (~sample.a.point_mask).any(), "there are points beyond the map, and none of them is drawn"


def test_what_one_view_has_lost_is_not_compared():
    small = changed(VOXELS, point_cloud_range=(-25.6, -8.0, -5.0, 25.6, 8.0, 3.0))
    data = views(scan_input=small, num_plain=10_000, num_rich=10_000, max_per_region=10_000)
    lost_by = {"a": False, "b": False}
    for position in range(6):
        sample = data[0, position, 0]
        a, b = sample.a.point_mask, sample.b.point_mask
        lost_by["a"] |= (b & ~a).any()
        lost_by["b"] |= (a & ~b).any()
        assert len(sample.region) == (a & b).sum()
        for xy in (sample.xy_a, sample.xy_b):
            assert (np.abs(xy) < (25.6, 8.0)).all()
    assert lost_by["a"]
    assert lost_by["b"]


def test_a_view_is_turned_mirrored_and_scaled_as_told():
    generator = np.random.default_rng(0)
    motions = np.stack([draw_view(config(flip_x=False, flip_y=False), generator) for _ in range(4000)])
    scale = motions[:, 2, 2]
    assert (scale.min(), scale.max()) == pytest.approx((0.9, 1.1), abs=1e-3)
    angle = np.degrees(np.arctan2(motions[:, 1, 0], motions[:, 0, 0]))
    assert (angle.min(), angle.max()) == pytest.approx((-90, 90), abs=0.5)
    assert np.abs(np.corrcoef(angle, scale)[0, 1]) < 0.1
    np.testing.assert_allclose(np.linalg.det(motions[:, :3, :3]), scale**3)
    np.testing.assert_array_equal(motions[:, 3], np.tile([0, 0, 0, 1], (4000, 1)))
    for flips, share in (({"flip_y": False}, 0.5), ({"flip_x": False}, 0.5), ({}, 0.5)):
        mirrored = [np.linalg.det(draw_view(config(**flips), generator)) < 0 for _ in range(1000)]
        assert np.mean(mirrored) == pytest.approx(share, abs=0.06)
    only_x = config(max_rotation_deg=0.0, scale=(1.0, 1.0), flip_y=False)
    assert {draw_view(only_x, generator)[0, 0] for _ in range(20)} == {-1.0, 1.0}
    np.testing.assert_array_equal(draw_view(config(**STILL), generator), np.eye(4))


def test_moving_leaves_the_other_columns_and_the_given_cloud():
    points = INDEX.points[0]
    before = points.copy()
    view = draw_view(config(), np.random.default_rng(1))
    moved = move_cloud(points, view)
    np.testing.assert_array_equal(points, before)
    assert moved.dtype == np.float32
    np.testing.assert_array_equal(moved[:, 3], points[:, 3])
    back = move_cloud(moved, np.linalg.inv(view))
    np.testing.assert_allclose(back[:, :3], points[:, :3], atol=1e-4)


def test_height_above_the_road_survives_the_scale():
    """Which is why a view whose height must not tell should not ask for it."""
    settings = changed(VOXELS, point_features=("x", "y", "z", "height"))
    sample = views(scan_input=settings)[0, 0, 0]
    np.testing.assert_allclose(sample.a.point_features[:, 3], INDEX.points[0][:, 2], atol=1e-4)


def test_a_sample_is_a_function_of_its_key():
    data, again = views(), pickle.loads(pickle.dumps(views()))
    first = data[0, 0, 1]
    _ = again[5, 1, 0]  # what was asked before does not matter
    repeated = again[0, 0, 1]
    for name in ("xy_a", "xy_b", "region", "region_mask"):
        np.testing.assert_array_equal(getattr(first, name), getattr(repeated, name))
    np.testing.assert_array_equal(first.a.voxel_features, repeated.a.voxel_features)
    for other in (data[1, 0, 1], data[0, 1, 1], views(seed=4)[0, 0, 1]):
        assert not np.allclose(first.a.point_features, other.a.point_features)


def test_a_sweep_without_regions_has_plain_points_and_an_empty_one_none():
    bare, empty = views()[0, 0, 2], views()[0, 0, 3]
    assert bare.num_regions == 0
    assert not bare.region_mask.any()
    assert len(bare.region) == 1024
    assert (len(empty.region), len(empty.a.voxel_coords), empty.num_regions) == (0, 0, 0)


def test_batches_hold_all_views_a_then_all_views_b():
    samples = [views()[0, place, place] for place in range(4)]
    batch = views().collate(samples)
    assert (batch.batch_size, batch.voxels.batch_size) == (4, 8)
    assert batch.num_points == tuple(len(s.region) for s in samples)
    for number, view in enumerate([s.a for s in samples] + [s.b for s in samples]):
        here = batch.voxels.voxel_coords[:, 0] == number
        np.testing.assert_array_equal(batch.voxels.features[here], view.voxel_features)
    first = 0
    for number, sample in enumerate(samples):
        rows = slice(first, first + len(sample.region))
        first = rows.stop
        assert (batch.batch_idx[rows] == number).all()
        np.testing.assert_array_equal(batch.xy_a[rows], sample.xy_a)
        np.testing.assert_array_equal(batch.xy_b[rows], sample.xy_b)
        np.testing.assert_array_equal(batch.region_mask[rows], sample.region_mask)
    # Two regions in each of the streets: four in the batch, none of them in two sweeps.
    scene_of_region = {
        (region, scene)
        for region, scene, rich in zip(
            batch.region.tolist(), batch.batch_idx.tolist(), batch.region_mask.tolist(), strict=True
        )
        if rich
    }
    assert {region for region, _ in scene_of_region} == {0, 1, 2, 3}
    assert len(scene_of_region) == batch.num_regions == 4
    on_meta = batch.to("meta")
    assert on_meta.region.device.type == on_meta.voxels.features.device.type == "meta"
    assert on_meta.num_points == batch.num_points
    with pytest.raises(ValueError, match="at least one sample"):
        views().collate([])


def test_a_sweep_that_cannot_be_read_is_replaced_and_named(tiny_world, tmp_path):
    index = NuScenesIndex.open(shutil.copytree(tiny_world, tmp_path / "world"), "v1.0-mini")
    index.lidar_path(2).write_bytes(b"")
    sample = views(index)[0, 0, 2]
    ((token, reason),) = sample.substitutes
    assert token == index.sample_token(2) != sample.sample_token
    assert str(index.lidar_path(2)) in reason
    assert views(index)[0, 0, 2].sample_token == sample.sample_token
    assert views().collate([sample]).substitutes == sample.substitutes
    with pytest.raises(CorruptSample, match="could not be read"):
        views(index, rows=np.array([2]))[0, 0, 0]


def test_neither_labels_nor_images_are_opened(tiny_world):
    index = NuScenesIndex.open(tiny_world, "v1.0-mini")
    opened = []
    watching = True

    def hook(event, arguments):
        if watching and event == "open" and str(index.dataroot) in str(arguments[0]):
            opened.append(str(arguments[0]))

    sys.addaudithook(hook)  # for good; `watching` turns it off
    try:
        _ = views(index)[0, 0, 0]
    finally:
        watching = False
    assert len(opened) == 1
    assert "LIDAR_TOP" in opened[0]


def test_errors():
    with pytest.raises(ValueError, match="at least one keyframe"):
        views(rows=[])
    with pytest.raises(ValueError, match="max_rotation_deg"):
        config(max_rotation_deg=190)
    with pytest.raises(ValueError, match="smallest, largest"):
        config(scale=(1.1, 0.9))
