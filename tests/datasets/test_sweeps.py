"""Scans of the past, where they belong in the present."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from lidardistill.data.frame import CorruptSample
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.datasets.sweeps import read_sweeps, scans_before
from tests.support.detection_world import KEYFRAMES, NUM_SWEEPS, POLE_XY, SWEEP_US

VERSION = "v1.0-mini"
AFTER = NUM_SWEEPS + 1
"""Scans from one keyframe to the next."""


@pytest.fixture(scope="module")
def index(detection_world: Path) -> NuScenesIndex:
    return NuScenesIndex.open(detection_world, VERSION)


@pytest.mark.parametrize("row", [0, 1, 4, 7])
@pytest.mark.parametrize("num_sweeps", [0, 1, NUM_SWEEPS, 9])
@pytest.mark.parametrize("close_m", [0.0, 1.0, 5.0])
def test_points_and_time_lags_are_those_of_the_devkit(index, row, num_sweeps, close_m) -> None:
    """Within 2e-5 m: the devkit multiplies float32 points by a float64 matrix too, but keeps float32 in
    between."""
    nuscenes = pytest.importorskip("nuscenes")
    from nuscenes.utils.data_classes import LidarPointCloud

    devkit = nuscenes.NuScenes(VERSION, str(index.dataroot), verbose=False)
    theirs, lags = LidarPointCloud.from_file_multisweep(
        devkit,
        devkit.get("sample", index.sample_token(row)),
        "LIDAR_TOP",
        "LIDAR_TOP",
        nsweeps=num_sweeps + 1,
        min_distance=close_m,
    )
    ours = read_sweeps(index, row, num_sweeps, close_m=close_m)
    assert ours.dtype == np.float32
    assert ours.shape == (theirs.nbr_points(), 5)
    np.testing.assert_allclose(ours[:, :3], theirs.points[:3].T, atol=2e-5)
    np.testing.assert_array_equal(ours[:, 3], theirs.points[3])
    np.testing.assert_allclose(ours[:, 4], lags[0], atol=5e-7)  # the devkit subtracts seconds since 1970
    assert (ours[:, 4] >= 0).all()


def test_a_pole_stands_still_while_the_car_turns(index) -> None:
    """Over 0.8 s the car of this world drives 4.8 m through 23 degrees, on a road that leans."""
    row = 4
    frame = index.frame(row)
    points = read_sweeps(index, row, 2 * AFTER)
    lidar2global = frame.ego2global @ frame.lidar2ego
    base, top = (np.linalg.inv(lidar2global) @ [*POLE_XY, height, 1.0] for height in (0.0, 5.0))
    axis = (top - base)[:3] / np.linalg.norm(top - base)
    offset = points[:, :3].astype(np.float64) - base[:3]
    from_axis = np.linalg.norm(offset - (offset @ axis)[:, None] * axis, axis=1)
    scans, found = np.unique(points[from_axis < 0.3, 4], return_counts=True)
    assert len(scans) == 2 * AFTER + 1
    assert (found >= 30).all()
    assert np.median(from_axis[from_axis < 0.3]) < 2e-5  # a handful of road points may come near
    # Without the car's motion the oldest scan's pole would stand metres away.
    oldest = list(scans_before(index, row))[2 * AFTER - 1]
    moved = np.linalg.inv(lidar2global) @ oldest.lidar2global
    assert np.linalg.norm(moved[:3, 3]) > 4
    assert np.degrees(np.arccos(moved[0, 0])) > 15


def test_lags_name_the_scans_and_the_keyframe_comes_first(index) -> None:
    points = read_sweeps(index, 3, 5)
    lags = np.array([0, SWEEP_US, 2 * SWEEP_US, 3 * SWEEP_US, 500_000, 500_000 + SWEEP_US]) * 1e-6
    np.testing.assert_allclose(list(dict.fromkeys(points[:, 4].tolist())), lags, atol=1e-7)
    frame = index.frame(3)
    np.testing.assert_array_equal(
        read_sweeps(index, 3, 5, close_m=0.0)[: len(frame.points), :4], frame.points
    )
    near = (np.abs(frame.points[:, :2]) < 1).all(axis=1)
    assert near.sum() >= 20
    np.testing.assert_array_equal(points[points[:, 4] == 0, :4], frame.points[~near])


def test_a_scene_begins_with_fewer_scans(index) -> None:
    assert list(scans_before(index, 0)) == []
    for row in range(
        KEYFRAMES, 2 * KEYFRAMES
    ):  # the second scene reaches no further than its own first keyframe
        before = list(scans_before(index, row))
        assert len(before) == (row - KEYFRAMES) * AFTER
        times = [scan.timestamp_us for scan in (index.keyframe_scan(row), *before)]
        assert times == sorted(times, reverse=True)
    np.testing.assert_array_equal(read_sweeps(index, 0, 9), read_sweeps(index, 0, 0))


def test_bad_input(index, tmp_path) -> None:
    with pytest.raises(ValueError, match="num_sweeps and close_m of at least 0, got -1"):
        read_sweeps(index, 0, -1)
    copied = NuScenesIndex.open(shutil.copytree(index.dataroot, tmp_path / "world"), VERSION)
    newest = next(iter(scans_before(copied, 1))).path
    newest.write_bytes(b"123")
    with pytest.raises(CorruptSample, match=f"{newest.name} is truncated"):
        read_sweeps(copied, 1, 1)
    read_sweeps(copied, 1, 0)
