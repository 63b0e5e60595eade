"""What `doctor` says of data sets that cannot work."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from lidardistill.datasets import points as points_module
from lidardistill.datasets.kinds import source_config
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.doctor.checks import check_data
from tests.support.kitti_root import write_kitti

VERSION = "v1.0-mini"


@pytest.fixture
def world(tiny_world, tmp_path):
    return shutil.copytree(tiny_world, tmp_path / "world", ignore=shutil.ignore_patterns(".lidardistill"))


def texts(root, level, kind="nuscenes"):
    version = VERSION if kind == "nuscenes" else None
    found = check_data(source_config(kind, root, version))
    assert all(len(str(finding).splitlines()) == 1 for finding in found)
    return [finding.text for finding in found if finding.level == level]


def edit(root, table, change):
    path = root / VERSION / f"{table}.json"
    rows = json.loads(path.read_text())
    for row in rows:
        change(row)
    path.write_text(json.dumps(rows))


def test_links_to_nowhere_are_missing_files(world):
    index = NuScenesIndex.open(world, VERSION)
    for row in range(3):
        path = index.image_paths(row)[0]
        path.unlink()
        path.symlink_to(f"/mnt/not-mounted/{path.name}")
    (error,) = texts(world, "error")
    assert "3 files of 3 keyframes are missing" in error
    assert "3 of them are links to nowhere" in error


def test_links_that_lead_somewhere_are_files(world, tmp_path):
    (world / "samples").rename(tmp_path / "disk")
    (world / "samples").symlink_to(tmp_path / "disk")
    path = NuScenesIndex.open(world, VERSION).lidar_path(0)
    shutil.copy(path, tmp_path / "scan.bin")
    path.unlink()
    path.symlink_to(tmp_path / "scan.bin")
    assert texts(world, "error") == []


def test_scans_of_other_columns(world):
    index = NuScenesIndex.open(world, VERSION)
    for row in range(len(index)):
        points = np.fromfile(index.lidar_path(row), np.float32).reshape(-1, 5)
        index.lidar_path(row).write_bytes(np.ascontiguousarray(points[:, :4]).tobytes())
    shutil.rmtree(world / "lidarseg")
    errors = texts(world, "error")
    assert any("4 float32 a point fits" in text and f"({len(index)} of " in text for text in errors)


def test_points_that_are_nan(world, monkeypatch):
    monkeypatch.setattr(points_module, "_warned", set())
    index = NuScenesIndex.open(world, VERSION)
    points = np.fromfile(index.lidar_path(0), np.float32).reshape(-1, 5)
    points[::7, :3] = np.nan
    points.tofile(index.lidar_path(0))
    assert texts(world, "error") == []
    assert any(
        f"{len(points[::7])} of " in text and "NaN or infinite" in text for text in texts(world, "warning")
    )


def test_a_category_table_from_before_lidarseg(world):
    edit(world, "category", lambda row: row.pop("index"))
    (error,) = texts(world, "error")
    assert "category.json" in error
    assert "'index' is missing" in error


@pytest.mark.parametrize("value", [None, "3", 40])
def test_a_category_with_a_wrong_index(world, value):
    edit(world, "category", lambda row: row.update(index=value))
    (error,) = texts(world, "error")
    assert "table category.json" in error
    assert "field 'index'" in error


def test_a_lens(world):
    edit(world, "calibrated_sensor", lambda row: row.update(camera_distortion=[-0.2, 0.1, 0, 0, 0]))
    assert texts(world, "error") == []
    assert any(
        text.startswith("camera_distortion is not zero for CAM_FRONT,") for text in texts(world, "warning")
    )


def test_scenes_with_names_of_ones_own(world):
    number = iter(range(100))
    edit(world, "scene", lambda row: row.update(name=f"drive-{next(number)}"))
    assert texts(world, "error") == []
    assert any("data.split=all" in text for text in texts(world, "ok"))


def test_a_picture_that_its_decoder_cannot_stand(world):
    path = NuScenesIndex.open(world, VERSION).image_paths(0)[0]
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x75\x30\x00\x00\x75\x30\x08\x02\x00\x00\x00"
    path.write_bytes(head + b"\x00" * 50)
    assert any(str(path) in text for text in texts(world, "error"))


def test_kitti(tmp_path):
    root = write_kitti(tmp_path / "kitti")
    assert texts(root, "error", "kitti") == []
    assert any("training 3, testing 1" in text for text in texts(root, "ok", "kitti"))
    assert any("pretraining only" in text for text in texts(root, "ok", "kitti"))
    (root / "training" / "calib" / "000001.txt").unlink()
    (root / "training" / "image_2" / "000002.png").write_bytes(b"")
    missing, picture = texts(root, "error", "kitti")
    assert "calib/000001.txt" in missing
    assert "000002.png" in picture


def test_the_real_kitti_frame(kitti_one):
    assert texts(kitti_one, "error", "kitti") == []
