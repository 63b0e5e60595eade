"""Fields of nuScenes' tables that are of another type than expected, and names that must not leave their
folder.
"""

from __future__ import annotations

import pytest

from lidardistill.datasets.nuscenes.labels.map_expansion import locations
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.datasets.nuscenes.tables import CAMERAS, LIDAR, is_file_name

VERSION = "v1.0-mini"

FIELDS = [
    ("scene", "token"),
    ("scene", "name"),
    ("sample", "token"),
    ("sample", "timestamp"),
    ("sample", "scene_token"),
    ("sample_data", "token"),
    ("sample_data", "sample_token"),
    ("sample_data", "ego_pose_token"),
    ("sample_data", "calibrated_sensor_token"),
    ("sample_data", "timestamp"),
    ("sample_data", "is_key_frame"),
    ("sample_data", "filename"),
    ("sensor", "token"),
    ("sensor", "channel"),
    ("calibrated_sensor", "token"),
    ("calibrated_sensor", "sensor_token"),
    ("lidarseg", "sample_data_token"),
    ("lidarseg", "filename"),
]


@pytest.mark.parametrize("value", [None, 7.5, True, ["a"]])
@pytest.mark.parametrize(("table", "key"), FIELDS)
def test_a_field_of_another_type_is_one_line(small_root, table, key, value):
    row = small_root.keyframe(1, "CAM_BACK") if table == "sample_data" else small_root.tables[table][0]
    if row[key] is value:
        pytest.skip("that is its type")
    if value is True and key == "is_key_frame":
        pytest.skip("that is its type")
    row[key] = value
    with pytest.raises(
        ValueError, match=rf"table {table}\.json, row .*: field '{key}': expected .*, got "
    ) as error:
        NuScenesIndex.open(small_root.write(), VERSION)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("key", ["height", "width"])
@pytest.mark.parametrize("value", [None, "900", 0, -4, 7.5, True, [900], 1 << 40])
def test_a_size_that_is_no_number_of_pixels(small_root, key, value):
    row = small_root.keyframe(0, CAMERAS[2])
    row[key] = value
    with pytest.raises(
        ValueError, match=rf"sample_data\.json, row {row['token']}: field '{key}': expected a whole"
    ):
        NuScenesIndex.open(small_root.write(), VERSION)


def test_whole_floats_are_whole_numbers(small_root):
    row = small_root.keyframe(0, CAMERAS[0])
    for key in ("height", "width", "timestamp"):
        row[key] = float(row[key])
    frame = NuScenesIndex.open(small_root.write(), VERSION).frame(0)
    assert frame.image_size[0].tolist() == [row["height"], row["width"]]


@pytest.mark.parametrize("value", [["1", "0", "0", "0"], [None, 0, 0, 0], [[1.0], 0, 0, 0], "1000", {"w": 1}])
@pytest.mark.parametrize("table", ["ego_pose", "calibrated_sensor"])
def test_a_rotation_of_another_type(small_root, table, value):
    if table == "ego_pose" and isinstance(value, dict):
        pytest.skip("rows of large tables are flat")
    key = small_root.keyframe(0, LIDAR)[f"{table}_token"]
    small_root.find(table, token=key)["rotation"] = value
    with pytest.raises(
        ValueError, match=rf"table {table}\.json, row {key}: (expected 4 numbers|not a rigid)"
    ):
        NuScenesIndex.open(small_root.write(), VERSION)


@pytest.mark.parametrize("value", [["a"] * 3, [[1, 2, "3"]] * 3, "identity", [[1, None, 0]] * 3])
def test_intrinsics_of_another_type(small_root, value):
    key = small_root.keyframe(0, "CAM_BACK")["calibrated_sensor_token"]
    small_root.find("calibrated_sensor", token=key)["camera_intrinsic"] = value
    with pytest.raises(ValueError, match=rf"row {key} \(CAM_BACK\): expected a 3x3 camera_intrinsic"):
        NuScenesIndex.open(small_root.write(), VERSION)


@pytest.mark.parametrize(
    "token", ["../../escaped", "/etc/passwd", "a/b", "a\\b", "", ".", "..", "a\nb", "C:x", "x" * 300]
)
@pytest.mark.parametrize("table", ["sample", "sample_data", "scene"])
def test_a_token_that_is_no_file_name_is_refused_when_indexed(small_root, table, token):
    row = small_root.keyframe(0, LIDAR) if table == "sample_data" else small_root.tables[table][0]
    row["token"] = token
    with pytest.raises(
        ValueError, match=rf"table {table}\.json, row .*: field 'token': expected a token that can be"
    ):
        NuScenesIndex.open(small_root.write(), VERSION)
    assert not (small_root.path / ".lidardistill").exists()


def test_names_of_every_language_are_file_names():
    assert all(
        map(is_file_name, ["abc", "3e8750f331d7499e9b5123e9eb70f2e2", "Straße 7", "東京-0", "a..b", "log:7"])
    )


def test_a_place_that_leaves_the_folder_of_maps(small_root):
    small_root.tables["log"] = [{"token": "log", "location": "../../elsewhere"}]
    for row in small_root.tables["scene"]:
        row["log_token"] = "log"
    with pytest.raises(
        ValueError, match=r"table log\.json, row log: field 'location': expected a token that can be"
    ):
        locations(small_root.write(), VERSION)
    small_root.tables["log"][0]["location"] = None
    with pytest.raises(ValueError, match=r"field 'location': expected a string, got null"):
        locations(small_root.write(), VERSION)
    small_root.tables["log"][0]["location"] = "boston"
    small_root.tables["scene"][0]["log_token"] = "other"
    with pytest.raises(
        ValueError, match=r"table scene\.json, row .*: field 'log_token': expected a token of log\.json"
    ):
        locations(small_root.write(), VERSION)
