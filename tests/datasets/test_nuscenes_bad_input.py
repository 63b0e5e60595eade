"""Bad nuScenes roots: one clear error each, naming the file or the row."""

from __future__ import annotations

import numpy as np
import pytest

from lidardistill.data.frame import CorruptSample
from lidardistill.datasets.nuscenes.labels.points import read_lidarseg
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.datasets.nuscenes.tables import CAMERAS, LIDAR

VERSION = "v1.0-mini"


def open_root(root) -> NuScenesIndex:
    return NuScenesIndex.open(root.write(), VERSION)


def refuses(root, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_root(root)


def test_no_dataroot(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere is not a folder\. Expected tree:"):
        NuScenesIndex.open(tmp_path / "nowhere", VERSION)


def test_a_dataroot_without_tables(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"(?s)holds no tables\. Expected tree:.*sample_data\.json.*samples/"
    ):
        NuScenesIndex.open(tmp_path, VERSION)


def test_one_table_is_missing(small_root):
    del small_root.tables["ego_pose"]
    with pytest.raises(FileNotFoundError, match=r"(?s)lacks ego_pose\.json\. Expected tree:"):
        open_root(small_root)


def test_an_unknown_version_lists_those_present(small_root):
    root = small_root.write()
    with pytest.raises(ValueError, match=r"unknown version 'v1\.0-trainval'.* holds v1\.0-mini\."):
        NuScenesIndex.open(root, "v1.0-trainval")


def test_an_unknown_scene_names_the_nearest(small_root):
    with pytest.raises(ValueError, match=r"unknown scene 'scene-0062'.*'scene-0061'\?"):
        open_root(small_root).rows_of_scenes(["scene-0062"])


def test_an_unknown_token(small_root):
    index = open_root(small_root)
    for token in ("", "nothing", "zzz", "sample-scene-0103-0x"):
        with pytest.raises(ValueError, match=r"is not in .*such as sample-scene-0103-0"):
            index.row_of(token)


def test_a_row_out_of_range(small_root):
    index = open_root(small_root)
    for row in (-1, 6):
        with pytest.raises(IndexError, match=r"expected 0 \.\. 5"):
            index.frame(row)


def test_a_missing_camera_names_sample_and_channel(small_root):
    small_root.tables["sample_data"].remove(small_root.keyframe(4, "CAM_BACK_LEFT"))
    refuses(small_root, r"sample sample-scene-0061-1 has no keyframe of CAM_BACK_LEFT .*1 of 6 samples")


def test_a_missing_scan_in_the_tables(small_root):
    small_root.tables["sample_data"].remove(small_root.keyframe(0, LIDAR))
    refuses(small_root, "sample sample-scene-0103-0 has no keyframe of LIDAR_TOP")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rotation", [1.1, 0.0, 0.0, 0.0]),
        ("rotation", [0.0, 0.0, 0.0, 0.0]),
        ("rotation", [1.0, 0.0, 0.0]),
        ("rotation", None),
        ("rotation", ["a", 0, 0, 0]),
        ("translation", [0.0, 0.0, None]),
        ("translation", [0.0, 0.0]),
    ],
)
@pytest.mark.parametrize("channel", [LIDAR, "CAM_BACK"])
def test_a_mounting_that_is_not_rigid_names_its_token(small_root, channel, key, value):
    token = f"calibration-scene-0061-{channel}"
    small_root.find("calibrated_sensor", token=token)[key] = value
    refuses(small_root, rf"table calibrated_sensor\.json, row {token}: ")


def test_nan_in_a_table(small_root):
    small_root.tables["calibrated_sensor"][0]["translation"] = [
        0.0,
        0.0,
        float("nan"),
    ]  # no JSON, but json writes it
    refuses(small_root, r"calibrated_sensor\.json is not JSON")
    small_root.tables["calibrated_sensor"][0]["translation"] = [0.0, 0.0, 1e999]
    refuses(small_root, r"calibrated_sensor\.json is not JSON")


def test_a_pose_that_is_not_rigid_names_its_token(small_root):
    token = small_root.keyframe(1, "CAM_FRONT")["ego_pose_token"]
    small_root.find("ego_pose", token=token)["rotation"] = [0.5, 0.5, 0.5, 0.0]
    refuses(small_root, rf"table ego_pose\.json, row {token}: not a rigid motion.*length 0\.866")


@pytest.mark.parametrize("value", [[], [[1, 0], [0, 1]], [[0, 0, 20.0], [0, 30.0, 12.0], [0, 0, 1.0]], None])
def test_intrinsics_that_are_none_name_their_token(small_root, value):
    token = "calibration-scene-0103-CAM_FRONT"
    small_root.find("calibrated_sensor", token=token)["camera_intrinsic"] = value
    refuses(
        small_root, rf"calibrated_sensor\.json, row {token} \(CAM_FRONT\): expected a 3x3 camera_intrinsic"
    )


@pytest.mark.parametrize(
    "filename", ["../other/scan.bin", "samples/../../x", "/etc/passwd", "", "C:\\x", "a\\..\\..\\x"]
)
@pytest.mark.parametrize("channel", [LIDAR, "CAM_FRONT"])
def test_a_filename_that_leaves_the_dataroot(small_root, channel, filename):
    row = small_root.keyframe(2, channel)
    row["filename"] = filename
    refuses(
        small_root, rf"table sample_data\.json, row {row['token']}: filename .* points outside the dataroot"
    )


def test_a_sweep_and_a_label_that_leave_the_dataroot(small_root):
    label = small_root.tables["lidarseg"][0]
    kept, label["filename"] = label["filename"], "../labels.bin"
    refuses(small_root, rf"table lidarseg\.json, row {label['token']}: filename '../labels\.bin'")
    label["filename"] = kept
    sweep = small_root.find(
        "sample_data", is_key_frame=False, calibrated_sensor_token=f"calibration-scene-0061-{LIDAR}"
    )
    sweep["filename"] = "/sweep.bin"
    refuses(small_root, rf"row {sweep['token']}: filename '/sweep\.bin'")


def test_dots_inside_a_name_are_a_name(small_root):
    small_root.keyframe(0, LIDAR)["filename"] = "samples/LIDAR_TOP/a..b.bin"
    assert open_root(small_root).lidar_path(0).name == "a..b.bin"


def test_tables_that_do_not_belong_together(small_root):
    small_root.tables["sample"][0]["scene_token"] = "other"
    refuses(small_root, r"table sample\.json, row sample-scene-0103-0: scene other is not in scene\.json")
    small_root.tables["sample"][0]["scene_token"] = "token-scene-0103"
    pose = small_root.keyframe(0, "CAM_BACK")["ego_pose_token"]
    small_root.tables["ego_pose"].remove(small_root.find("ego_pose", token=pose))
    refuses(
        small_root, rf"ego pose {pose} is named in sample_data\.json and is not in ego_pose\.json \(1 such\)"
    )
    small_root.tables["sample"].pop(0)
    refuses(small_root, r"sample sample-scene-0103-0 is not in sample\.json")


@pytest.mark.parametrize(
    ("table", "key"),
    [("sample_data", "filename"), ("sample", "timestamp"), ("scene", "name"), ("lidarseg", "filename")],
)
def test_a_missing_field_is_named(small_root, table, key):
    row = small_root.keyframe(0, LIDAR) if table == "sample_data" else small_root.tables[table][0]
    del row[key]
    refuses(small_root, rf"table {table}\.json, row {row['token']}: field '{key}' is missing")


@pytest.mark.parametrize("table", ["scene", "sample_data", "ego_pose"])
def test_a_truncated_table(small_root, table):
    path = small_root.write() / VERSION / f"{table}.json"
    whole = path.read_text()
    for end in (len(whole) // 2, len(whole) - 2, 0):
        path.write_text(whole[:end])
        with pytest.raises(ValueError, match=rf"{table}\.json (is not JSON|cannot be read)"):
            NuScenesIndex.open(small_root.path, VERSION)


def test_a_table_that_is_no_list(small_root):
    root = small_root.write()
    (root / VERSION / "ego_pose.json").write_text('{"token": "a"}')
    with pytest.raises(ValueError, match=r"ego_pose\.json cannot be read: it does not start with \["):
        NuScenesIndex.open(root, VERSION)
    (root / VERSION / "ego_pose.json").write_text('[{"token": {"nested": "a"}}]')
    with pytest.raises(ValueError, match=r"ego_pose\.json cannot be read"):
        NuScenesIndex.open(root, VERSION)


def test_no_keyframes(small_root):
    small_root.tables["sample"] = []
    refuses(small_root, r"sample\.json is empty")


@pytest.mark.parametrize(
    ("length", "what"), [(0, "is empty"), (20 * 7 + 3, "is truncated"), (20 * 7 + 8, "is truncated")]
)
def test_a_truncated_or_empty_scan(small_root, length, what):
    index = open_root(small_root)
    path = index.lidar_path(3)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(
        CorruptSample, match=rf"LiDAR scan {path} {what}: expected .* 20 bytes .* got {length}\."
    ):
        index.frame(3)


def test_the_ring_is_not_read_so_it_may_be_anything(small_root):
    index = open_root(small_root)
    points = np.fromfile(index.lidar_path(3), np.float32).reshape(-1, 5)
    points[0, 4] = np.nan
    points.tofile(index.lidar_path(3))
    assert index.frame(3).points.shape == (50, 4)


def test_a_scan_that_is_not_there(small_root):
    index = open_root(small_root)
    index.lidar_path(2).unlink()
    with pytest.raises(FileNotFoundError, match=r"LiDAR scan .* is missing although the data set names it"):
        index.frame(2)


def test_labels_that_do_not_fit(small_root):
    index = open_root(small_root)
    path = index.lidarseg_path(1)
    labels = path.read_bytes()
    path.write_bytes(labels[:-1])
    with pytest.raises(
        CorruptSample, match=rf"label file {path}: expected one byte for each of the 50 points .* got 49"
    ):
        read_lidarseg(index, 1)
    path.write_bytes(labels[:-1] + b"\x20")
    with pytest.raises(CorruptSample, match=r"expected raw classes 0\.\.31, got 32"):
        read_lidarseg(index, 1)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"label file {path} is missing"):
        read_lidarseg(index, 1)
