"""Two scans of a scene: moved each for itself, and still in one world."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest

from lidardistill.data.collate import collate_voxels
from lidardistill.data.frame import CorruptSample
from lidardistill.data.keyframes import Keyframes
from lidardistill.datasets.base import rows_with_partner
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.geometry import transform_points
from lidardistill.methods.bevcontrast.config import BEVContrastConfig
from lidardistill.methods.bevcontrast.sample import ScanPairs, draw_motion, voxel_centres_xy
from tests.support.inputs import changed, scan_input

VOXELS = scan_input(kind="cartesian", voxel_size=(0.5, 0.5, 0.5), rounding="round")


@pytest.fixture
def index(tiny_world):
    """Four scenes of two keyframes on level ground."""
    return NuScenesIndex.open(tiny_world, "v1.0-mini")


def config(**changes):
    return BEVContrastConfig(**{"kind": "bevcontrast", "stride": 1, **changes})


def pairs(index, *, rows=None, seed=3, scan_input=VOXELS, **changes):
    recipe = ScanPairs(config(**changes), scan_input)
    rows = recipe.rows(index, np.arange(index.num_keyframes)) if rows is None else rows
    return Keyframes(index, rows, recipe, seed=seed)


def lidar2global(frame):
    return frame.ego2global @ frame.lidar2ego


def test_both_scans_stay_where_they_were_in_the_world(index):
    sample = pairs(index)[0, 0, 1]
    row = index.row_of(sample.sample_token)
    for scan, frame in ((sample.a, index.frame(row)), (sample.b, index.frame(row + 1))):
        assert not np.allclose(scan.points[:, :2], frame.points[:, :2], atol=0.1)
        np.testing.assert_array_equal(scan.points[:, 2:], frame.points[:, 2:])
        np.testing.assert_allclose(
            transform_points(scan.scan2global, scan.points[:, :3]),
            transform_points(lidar2global(frame), frame.points[:, :3]),
            atol=1e-4,
        )


def test_b2a_brings_points_of_b_to_the_points_of_a(index):
    sample = pairs(index)[0, 0, 1]
    here = np.random.default_rng(0).uniform(-40, 40, (30, 3))
    in_a = transform_points(np.linalg.inv(sample.a.scan2global) @ sample.b.scan2global, here)
    np.testing.assert_allclose(
        (np.c_[here[:, :2], np.ones(30)] @ sample.b2a.T)[:, :2], in_a[:, :2], atol=1e-6
    )


def test_the_two_scans_are_moved_independently(index):
    still = pairs(index, shift_std_m=0.0, rotate=False)[0, 0, 1]
    np.testing.assert_array_equal(still.a.points, index.frame(index.row_of(still.sample_token)).points)
    sample = pairs(index)[0, 0, 1]
    turns = [np.linalg.inv(moved.scan2global) @ kept.scan2global for moved, kept in
             ((sample.a, still.a), (sample.b, still.b))]  # fmt: skip
    assert not np.allclose(turns[0], turns[1], atol=0.1)


def test_a_motion_shifts_then_turns_and_is_clipped():
    generator = np.random.default_rng(0)
    motions = np.stack([draw_motion(config(), generator) for _ in range(4000)])
    shifts = (np.swapaxes(motions[:, :2, :2], 1, 2) @ motions[:, :2, 3:])[:, :, 0]
    assert shifts.std() == pytest.approx(4.0, rel=0.05)
    assert np.abs(np.corrcoef(shifts.T)[0, 1]) < 0.1
    for seed in range(3):  # the turn comes last, so the shift is the first thing that it undoes
        one, shifted = (
            draw_motion(config(rotate=rotate), np.random.default_rng(seed)) for rotate in (True, False)
        )
        np.testing.assert_allclose(one @ [*-shifted[:2, 3], 0, 1], [0, 0, 0, 1], atol=1e-12)
    angles = np.arctan2(motions[:, 1, 0], motions[:, 0, 0])
    assert np.histogram(angles, 4, (-np.pi, np.pi))[0].min() > 800
    np.testing.assert_array_equal(motions[:, 2], np.tile([0, 0, 1, 0], (4000, 1)))
    wide = np.stack([draw_motion(config(shift_std_m=40.0, rotate=False), generator) for _ in range(200)])
    assert np.abs(wide[:, :2, 3]).max() == 15.0


def test_a_sample_is_a_function_of_its_key(index):
    data, again = pairs(index), pickle.loads(pickle.dumps(pairs(index)))
    first = data[0, 0, 1]
    _ = again[5, 1, 0]  # what was asked before does not matter
    for name in ("points", "voxel_xy", "scan2global"):
        np.testing.assert_array_equal(getattr(first.a, name), getattr(again[0, 0, 1].a, name))
    for other in (data[1, 0, 1], data[0, 1, 1], pairs(index, seed=4)[0, 0, 1]):
        assert not np.allclose(first.b2a, other.b2a)


@pytest.mark.parametrize("rounding", ["floor", "round"])
@pytest.mark.parametrize("bounds", [None, (-20.0, -20.0, -3.0, 20.0, 20.0, 3.0)])
def test_voxels_know_where_they_are(rng, rounding, bounds):
    points = rng.uniform(-25, 25, (500, 4)).astype(np.float32)
    settings = changed(VOXELS, rounding=rounding, point_cloud_range=bounds)
    voxels = settings.read(points)
    centres = voxel_centres_xy(points, voxels, settings.voxels)
    assert centres.shape == (len(voxels.voxel_coords), 2)
    inside = voxels.point_mask
    offset = points[inside, :2] - centres[voxels.point2voxel[inside]]
    assert np.abs(offset).max() <= 0.25 + 1e-5
    # One step of a coordinate is one voxel, from one origin.
    origins = centres.astype(np.float64) - 0.5 * voxels.voxel_coords[:, :0:-1]
    np.testing.assert_allclose(origins - origins[0], 0, atol=1e-4)


def test_no_points_no_voxels(rng):
    empty = np.zeros((0, 4), np.float32)
    assert voxel_centres_xy(empty, VOXELS.read(empty), VOXELS.voxels).shape == (0, 2)


def test_partners_are_of_the_same_scene(index):
    rows = np.arange(index.num_keyframes)
    found = rows_with_partner(index, rows, 1)
    assert found.tolist() == [0, 2, 4, 6]
    assert rows_with_partner(index, rows[2:4], 1).tolist() == [2]
    assert ScanPairs(config(), VOXELS).rows(index, rows).tolist() == [0, 2, 4, 6]
    with pytest.raises(ValueError, match=r"no scene of the split has two keyframes 2 apart .*method\.stride"):
        rows_with_partner(index, rows, 2)


def test_batches_hold_all_scans_a_then_all_scans_b(index):
    samples = [pairs(index)[0, place, place] for place in range(3)]
    batch = pairs(index).collate(samples)
    assert (batch.batch_size, batch.voxels.batch_size) == (3, 6)
    assert batch.sample_tokens == tuple(s.sample_token for s in samples)
    for number, scan in enumerate([s.a for s in samples] + [s.b for s in samples]):
        here = batch.voxels.voxel_coords[:, 0] == number
        np.testing.assert_array_equal(batch.voxel_xy[here], scan.voxel_xy)
        np.testing.assert_array_equal(batch.voxels.features[here], scan.voxels.voxel_features)
    np.testing.assert_array_equal(batch.b2a, np.stack([s.b2a for s in samples]))
    assert batch.b2a.dtype.is_floating_point
    assert batch.to("meta").b2a.device.type == "meta"


def test_a_pair_that_cannot_be_read_is_replaced_and_named(tiny_world, tmp_path):
    import shutil

    index = NuScenesIndex.open(shutil.copytree(tiny_world, tmp_path / "world"), "v1.0-mini")
    index.lidar_path(3).write_bytes(b"")  # the partner of row 2
    data = pairs(index)
    sample = data[0, 0, 1]
    assert sample.sample_token != index.sample_token(2)
    ((token, reason),) = sample.substitutes
    assert token == index.sample_token(2)
    assert str(index.lidar_path(3)) in reason
    assert pairs(index)[0, 0, 1].sample_token == sample.sample_token
    assert data[0, 0, 0].substitutes == ()
    with pytest.raises(CorruptSample, match="could not be read"):
        pairs(index, rows=np.array([2]))[0, 0, 0]


def test_neither_labels_nor_images_are_opened(index):
    opened = []
    watching = True

    def hook(event, arguments):
        if watching and event == "open" and str(index.dataroot) in str(arguments[0]):
            opened.append(str(arguments[0]))

    sys.addaudithook(hook)  # for good; `watching` turns it off
    try:
        _ = pairs(index)[0, 0, 0]
    finally:
        watching = False
    assert len(opened) == 2
    assert all("LIDAR_TOP" in path for path in opened)


def test_the_authors_leave_out_the_last_pair_of_a_scene(detection_world):
    """Their pairs of a scene of n keyframes are range(n - 3)."""
    index = NuScenesIndex.open(detection_world, "v1.0-mini")
    rows = index.rows_of_scenes(index.scene_names[:1])
    assert len(rows) == 5
    every, theirs = (
        ScanPairs(config(stride=2, pairs=pairs), VOXELS).rows(index, rows) for pairs in ("all", "authors")
    )
    assert every.tolist() == rows[:3].tolist()
    assert theirs.tolist() == rows[:2].tolist()


def test_halves_of_a_batch_are_the_batches_of_its_scans(index):
    data = pairs(index, scan_input=changed(VOXELS, per_point=True))
    samples = [data[0, place, place] for place in range(3)]
    for half, scans in zip(
        data.collate(samples).halves(), ([s.a for s in samples], [s.b for s in samples]), strict=True
    ):
        alone = collate_voxels([scan.voxels for scan in scans])
        for name in ("features", "voxel_coords", "point2voxel", "point_mask", "point_features"):
            ours, theirs = getattr(half, name), getattr(alone, name)
            if name == "point2voxel":
                ours, theirs = ours[half.point_mask], theirs[half.point_mask]
            assert ours.equal(theirs), name
        assert half.batch_size == 3


def test_errors(index):
    with pytest.raises(ValueError, match="at least one keyframe"):
        pairs(index, rows=[])
