"""Boxes of keyframes, against the devkit's own chain of transformations."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from lidardistill.datasets.nuscenes.labels.boxes import BoxTable
from lidardistill.datasets.nuscenes.detection_classes import ATTRIBUTES, CATEGORY_TO_CLASS, CLASSES
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from tests.support.detection_world import APART, EMPTY, GAP, KEYFRAMES, ONCE

VERSION = "v1.0-mini"


@pytest.fixture(scope="module")
def index(detection_world: Path) -> NuScenesIndex:
    return NuScenesIndex.open(detection_world, VERSION)


@pytest.fixture(scope="module")
def table(index: NuScenesIndex) -> BoxTable:
    return BoxTable.open(index)


@pytest.fixture(scope="module")
def devkit(detection_world: Path):  # type: ignore[no-untyped-def]
    nuscenes = pytest.importorskip("nuscenes")
    return nuscenes.NuScenes(VERSION, str(detection_world), verbose=False)


def copy_of(world: Path, tmp_path: Path) -> Path:
    root = shutil.copytree(world, tmp_path / "world")
    shutil.rmtree(root / ".lidardistill", ignore_errors=True)
    return root


def change_tables(root: Path, name: str, change) -> None:  # type: ignore[no-untyped-def]
    path = root / VERSION / f"{name}.json"
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))


def assert_equal_to_devkit(table: BoxTable, index: NuScenesIndex, devkit) -> int:  # type: ignore[no-untyped-def]
    """Centre, size, yaw and velocity to 1e-5 m, rad and m/s of float32; returns the number of boxes."""
    from nuscenes.eval.common.utils import quaternion_yaw

    total = 0
    for row in range(len(index)):
        ours = table.read(row)
        sample = devkit.get("sample", index.sample_token(row))
        lidar = devkit.get("sample_data", sample["data"]["LIDAR_TOP"])
        mounting = devkit.get("calibrated_sensor", lidar["calibrated_sensor_token"])
        pose = devkit.get("ego_pose", lidar["ego_pose_token"])
        theirs, extra = [], []
        for box in devkit.get_boxes(lidar["token"]):
            record = devkit.get("sample_annotation", box.token)
            if record["category_name"] not in CATEGORY_TO_CLASS:
                continue
            box.velocity = devkit.box_velocity(box.token)
            for frame in (pose, mounting):
                box.translate(-np.array(frame["translation"]))
                box.rotate(devkit_quaternion(frame["rotation"]).inverse)
            theirs.append(
                [*box.center, *box.wlh[[1, 0, 2]], quaternion_yaw(box.orientation), *box.velocity[:2]]
            )
            names = [devkit.get("attribute", token)["name"] for token in record["attribute_tokens"]]
            extra.append(
                (CATEGORY_TO_CLASS[record["category_name"]], record["num_lidar_pts"],
                 record["num_radar_pts"], ATTRIBUTES.index(names[0]) if names else -1)
            )  # fmt: skip
        np.testing.assert_allclose(ours.boxes, np.reshape(theirs, (-1, 9)), rtol=1e-6, atol=1e-5)
        ours_extra = [ours.labels, ours.num_lidar_pts, ours.num_radar_pts, ours.attributes]
        np.testing.assert_array_equal(np.stack(ours_extra, 1), np.reshape(extra, (-1, 4)))
        total += len(ours)
    return total


def devkit_quaternion(wxyz):  # type: ignore[no-untyped-def]
    from pyquaternion import Quaternion

    return Quaternion(wxyz)


def test_boxes_are_those_of_the_devkit(table, index, devkit) -> None:
    # eleven objects of the ten classes, an empty car, and in each scene five keyframes of the other three
    assert assert_equal_to_devkit(table, index, devkit) == 4 * (KEYFRAMES * 12 + 5)


def test_boxes_of_the_real_keyframe(nuscenes_one: Path, tmp_path: Path) -> None:
    nuscenes = pytest.importorskip("nuscenes")
    index = NuScenesIndex.open(nuscenes_one, VERSION, cache_dir=tmp_path)
    table = BoxTable.open(index, cache_dir=tmp_path)
    devkit = nuscenes.NuScenes(VERSION, str(nuscenes_one), verbose=False)
    assert assert_equal_to_devkit(table, index, devkit) > 60
    assert np.isnan(table.read(0).boxes[:, 7:]).all()  # a single keyframe shows no motion


def test_velocities_that_cannot_be_told_are_nan(index, table, devkit) -> None:
    speeds: dict[int, list[float]] = {}
    token_of = {row["token"]: row for row in devkit.sample_annotation}
    for row in range(KEYFRAMES):  # the first scene
        sample = devkit.get("sample", index.sample_token(row))
        kept = [token for token in sample["anns"] if token_of[token]["category_name"] in CATEGORY_TO_CLASS]
        for token, box in zip(kept, table.read(row).boxes, strict=True):
            y = token_of[token]["translation"][1]
            number = round(ONCE - (y + 20) / 3)
            if number in (ONCE, APART, GAP, EMPTY):
                speeds.setdefault(number, []).append(float(np.hypot(*box[7:])))
    assert {number: len(found) for number, found in speeds.items()} == {ONCE: 1, APART: 2, GAP: 2, EMPTY: 5}
    assert np.isnan(speeds[ONCE]).all()
    assert np.isnan(speeds[APART]).all()
    np.testing.assert_allclose(speeds[GAP] + speeds[EMPTY], 0, atol=1e-5)


def test_classes_present(table, index) -> None:
    present = table.classes_present([0, 2])
    assert present.shape == (2, len(CLASSES))
    assert present.all()
    many = table.classes_present(np.arange(len(index)), min_points=8)
    assert [CLASSES[label] for label in np.flatnonzero(~many.any(axis=0))] == []
    most = table.classes_present([0], min_points=15)
    assert {CLASSES[label] for label in np.flatnonzero(most[0])} == {"pedestrian", "traffic_cone"}


def test_it_is_built_once_and_again_when_annotations_change(detection_world, tmp_path, caplog) -> None:
    root = copy_of(detection_world, tmp_path)
    index = NuScenesIndex.open(root, VERSION)
    caplog.set_level("INFO")
    first = BoxTable.open(index)
    assert "happens once" in caplog.text
    caplog.clear()
    again = BoxTable.open(index)
    assert not caplog.records
    assert again.folder == first.folder
    assert len(again) == len(index)
    change_tables(root, "sample_annotation", lambda rows: rows[0].update(num_lidar_pts=77))
    changed = BoxTable.open(index)
    assert changed.folder != first.folder
    assert changed.read(0).num_lidar_pts[0] == 77


def test_it_travels_to_workers_by_its_place(table) -> None:
    data = pickle.dumps(table)
    assert len(data) < 1000
    np.testing.assert_array_equal(pickle.loads(data).read(3).boxes, table.read(3).boxes)
    table.read(3).boxes[:] = 0  # a copy
    assert table.read(3).boxes.any()


def test_a_keyframe_without_boxes(detection_world, tmp_path) -> None:
    root = copy_of(detection_world, tmp_path)
    change_tables(root, "sample_annotation", lambda rows: rows.clear())
    table = BoxTable.open(NuScenesIndex.open(root, VERSION))
    assert len(table.read(0)) == 0
    assert table.read(0).boxes.shape == (0, 9)
    assert not table.classes_present([0]).any()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("sample_annotation", {"sample_token": "nowhere"}, "sample nowhere is not in sample.json"),
        ("sample_annotation", {"instance_token": "nobody"}, "instance nobody is not in instance.json"),
        ("sample_annotation", {"next": "never"}, "sample_annotation never is not in sample_annotation"),
        ("sample_annotation", {"size": [1.0, 0.0, 1.0]}, "expected 3 finite positive numbers as size"),
        ("sample_annotation", {"translation": [1.0, 2.0]}, "expected 3 finite numbers as translation"),
        ("sample_annotation", {"attribute_tokens": ["a"]}, "expected at most one attribute"),
        ("sample_annotation", {"num_lidar_pts": None}, "expected a number of points as num_lidar_pts"),
        ("instance", {"category_token": "none"}, "category none is not in category.json"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(
    detection_world, tmp_path, name, change, message
) -> None:
    root = copy_of(detection_world, tmp_path)
    change_tables(root, name, lambda rows: rows[0].update(change))
    with pytest.raises(ValueError, match=message):
        BoxTable.open(NuScenesIndex.open(root, VERSION))


def test_missing_annotations_and_rows(detection_world, tmp_path, table) -> None:
    root = copy_of(detection_world, tmp_path)
    (root / VERSION / "instance.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks instance\.json"):
        BoxTable.open(NuScenesIndex.open(root, VERSION))
    with pytest.raises(IndexError, match=r"expected 0 \.\. 19"):
        table.read(20)
    with pytest.raises(FileNotFoundError, match="no usable table of boxes"):
        BoxTable(tmp_path / "nothing")


def test_an_index_of_other_keyframes_is_refused(detection_world, tmp_path) -> None:
    root = copy_of(detection_world, tmp_path)
    old = NuScenesIndex.open(root, VERSION, cache_dir=tmp_path / "old")
    BoxTable.open(old)
    change_tables(root, "sample", lambda rows: rows[0].update(timestamp=rows[1]["timestamp"] + 1))
    BoxTable.open(NuScenesIndex.open(root, VERSION))
    with pytest.raises(ValueError, match="of other keyframes than the index"):
        BoxTable.open(old)
