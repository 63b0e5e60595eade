"""Scenes whose files are not on disk, splits of one's own, and points that are dropped."""

from __future__ import annotations

import logging
import pickle

import numpy as np
import pytest

from lidardistill.data.frame import CorruptSample
from lidardistill.datasets import points as points_module
from lidardistill.datasets.nuscenes.source import NuScenesIndex

VERSION = "v1.0-mini"


def opened(root, missing="skip"):
    return NuScenesIndex.open(root, VERSION, missing=missing)


@pytest.mark.parametrize("link", [False, True])
def test_scenes_that_lack_a_file_are_left_out_and_named(small_root, caplog, link):
    root = small_root.write()
    gone = opened(root, "error").image_paths(1)[3]
    gone.unlink()
    if link:
        gone.symlink_to("/mnt/not-mounted/picture.jpg")
    with caplog.at_level(logging.WARNING):
        index = opened(root)
    assert "1 of 2 scenes are left out" in caplog.text
    assert "scene-0103" in caplog.text
    assert str(gone) in caplog.text
    assert index.rows_of_split("all").tolist() == [3, 4, 5]
    assert index.rows_of_split("train").tolist() == [3, 4, 5]
    assert len(index) == 6
    assert pickle.loads(pickle.dumps(index)).rows_of_split("all").tolist() == [3, 4, 5]
    with pytest.raises(ValueError, match=r"'mini_val': each of its 1 scenes lacks files on disk"):
        index.rows_of_split("mini_val")
    assert opened(root, "error").rows_of_split("all").tolist() == list(range(6))


def test_nothing_is_left(small_root):
    root = small_root.write()
    index = opened(root, "error")
    for row in (0, 3):
        index.lidar_path(row).unlink()
    with pytest.raises(FileNotFoundError, match=r"data\.missing=skip leaves nothing: each of the 2 scenes"):
        opened(root)


def test_a_missing_file_names_the_key(small_root):
    index = opened(small_root.write(), "error")
    index.lidar_path(2).unlink()
    with pytest.raises(FileNotFoundError, match=r"LiDAR scan .* is missing .* data\.missing=skip"):
        index.frame(2)


def test_scenes_with_names_of_ones_own(small_root, tmp_path):
    for number, row in enumerate(small_root.tables["scene"]):
        row["name"] = f"drive-{number}"
    index = opened(small_root.write(), "error")
    assert index.rows_of_split("all").tolist() == list(range(6))
    listed = tmp_path / "some.txt"
    listed.write_text("# mine\ndrive-1\n")
    assert index.rows_of_split(str(listed)).tolist() == [3, 4, 5]
    with pytest.raises(ValueError, match=r"Splits with scenes here: all\. .* a \.txt file"):
        index.rows_of_split("mini_train")
    listed.write_text("drive-1\n\ndrive-7\n")
    with pytest.raises(ValueError, match=r"some\.txt, line 3: no scene 'drive-7' .* nearest is 'drive-"):
        index.rows_of_split(str(listed))
    listed.write_text("\n")
    with pytest.raises(ValueError, match=r"some\.txt: expected a scene a line, got an empty list"):
        index.rows_of_split(str(listed))
    with pytest.raises(FileNotFoundError, match=r"split gone\.txt: no such file"):
        index.rows_of_split("gone.txt")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_points_that_are_not_finite_are_dropped_with_one_warning(small_root, value, caplog, monkeypatch):
    monkeypatch.setattr(points_module, "_warned", set())
    index = opened(small_root.write(), "error")
    for row in (3, 4):
        stored = np.fromfile(index.lidar_path(row), np.float32).reshape(-1, 5)
        stored[[4, 9], [0, 3]] = value
        stored.tofile(index.lidar_path(row))
    with caplog.at_level(logging.WARNING):
        frame = index.frame(3)
        index.frame(4)
    assert np.flatnonzero(~frame.kept).tolist() == [4, 9]
    assert frame.points.shape == (48, 4)
    expected = np.fromfile(index.lidar_path(3), np.float32).reshape(-1, 5)
    np.testing.assert_array_equal(frame.points, np.delete(expected, [4, 9], axis=0)[:, :4])
    assert index.frame(0).kept is None
    assert caplog.text.count("dropped 2 of 50 points") == 1


def test_a_scan_of_hardly_any_finite_points_is_corrupt(small_root):
    index = opened(small_root.write(), "error")
    stored = np.fromfile(index.lidar_path(3), np.float32).reshape(-1, 5)
    stored[4:44, 1] = np.nan
    stored.tofile(index.lidar_path(3))
    with pytest.raises(CorruptSample, match=r"holds NaN or infinity in 40 of 50 points .*point 4"):
        index.frame(3)


# --- lenses
# ------------------------------------------------------------------------------------------------------------


def test_a_lens_of_the_tables_reaches_the_frame(small_root):
    for row in small_root.tables["calibrated_sensor"]:
        if row["token"] == "calibration-scene-0103-CAM_BACK":
            row["camera_distortion"] = [-0.35, 0.12, 0.01, 0.0]
        else:
            row["camera_distortion"] = [0, 0, 0, 0, 0]
    index = opened(small_root.write(), "error")
    frame = index.frame(0)
    expected = np.zeros((6, 8))
    expected[frame.channels.index("CAM_BACK"), :3] = -0.35, 0.12, 0.01
    np.testing.assert_array_equal(frame.distortion, expected)
    assert index.frame(3).distortion is None


@pytest.mark.parametrize("value", [None, [], [0.0] * 5, [0] * 14])
def test_no_lens(small_root, value):
    for row in small_root.tables["calibrated_sensor"]:
        row["camera_distortion"] = value
    assert opened(small_root.write(), "error").frame(0).distortion is None


@pytest.mark.parametrize("value", [[0.1], ["a"] * 5, [0.1] * 14, "fisheye", 0.3, {"k1": 0.1}])
def test_a_lens_that_is_none_names_its_row(small_root, value):
    token = "calibration-scene-0103-CAM_BACK"
    small_root.find("calibrated_sensor", token=token)["camera_distortion"] = value
    with pytest.raises(
        ValueError, match=rf"row {token} \(CAM_BACK\): field 'camera_distortion': expected 4, 5 or 8"
    ):
        opened(small_root.write(), "error")


# --- damage on disk
# ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"\0" * 4000, b"PK\x03\x04" + b"\0" * 100, b"\x93NUMPY", b"junk"])
@pytest.mark.parametrize("name", ["scene.npy", "names.npy", "meta.json"])
def test_a_damaged_file_of_the_index_is_built_anew(small_root, caplog, name, content):
    root = small_root.write()
    index = opened(root, "error")
    expected = index.frame(3)
    (index.folder / name).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        again = opened(root, "error").frame(3)
    assert "is damaged" in caplog.text
    assert again.sample_token == expected.sample_token
    np.testing.assert_array_equal(again.lidar2cam, expected.lidar2cam)
