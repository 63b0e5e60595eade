"""The nuScenes index: what it says of good tables, and that it stays fresh and whole on disk."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from lidardistill.datasets.nuscenes.labels.points import read_lidarseg
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.datasets.nuscenes.tables import CAMERAS, LIDAR, stream_table

VERSION = "v1.0-mini"


def rotate(wxyz: list[float], xyz: np.ndarray) -> np.ndarray:
    """(N, 3) by a quaternion, q p q*: two cross products, no matrix."""
    w, axis = wxyz[0], np.array(wxyz[1:])
    return xyz + 2 * np.cross(axis, np.cross(axis, xyz) + w * xyz)


def forward(pose: dict, xyz: np.ndarray) -> np.ndarray:
    return rotate(pose["rotation"], xyz) + pose["translation"]


def back(pose: dict, xyz: np.ndarray) -> np.ndarray:
    w, x, y, z = pose["rotation"]
    return rotate([w, -x, -y, -z], xyz - pose["translation"])


def apply(matrix: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    return xyz @ matrix[:3, :3].T + matrix[:3, 3]


def test_a_frame_says_what_the_tables_say(small_root, rng):
    index = NuScenesIndex.open(small_root.write(), VERSION)
    assert index.num_keyframes == len(index) == 6
    assert index.channels == CAMERAS
    xyz = rng.normal(size=(20, 3)) * 30
    for row, sample in enumerate(small_root.tables["sample"]):
        frame = index.frame(row)
        lidar = small_root.keyframe(row, LIDAR)
        lidar_pose = small_root.find("ego_pose", token=lidar["ego_pose_token"])
        lidar_mount = small_root.find("calibrated_sensor", token=lidar["calibrated_sensor_token"])
        assert frame.sample_token == sample["token"]
        assert (
            frame.scene_name == index.scene_name(row) == lidar["calibrated_sensor_token"].split("-L")[0][12:]
        )
        assert frame.timestamp_us == lidar["timestamp"]
        assert frame.lidar_path == index.lidar_path(row) == small_root.path / lidar["filename"]
        assert index.lidar_token(row) == lidar["token"]
        stored = np.fromfile(frame.lidar_path, np.float32).reshape(-1, 5)
        np.testing.assert_array_equal(frame.points, stored[:, :4])
        np.testing.assert_allclose(apply(frame.lidar2ego, xyz), forward(lidar_mount, xyz), atol=1e-11)
        np.testing.assert_allclose(apply(frame.ego2global, xyz), forward(lidar_pose, xyz), atol=1e-11)
        assert frame.lidar2cam.dtype == frame.cam2img.dtype == np.float64
        for view, channel in enumerate(CAMERAS):
            camera = small_root.keyframe(row, channel)
            mount = small_root.find("calibrated_sensor", token=camera["calibrated_sensor_token"])
            pose = small_root.find("ego_pose", token=camera["ego_pose_token"])
            step_by_step = back(mount, back(pose, forward(lidar_pose, forward(lidar_mount, xyz))))
            np.testing.assert_allclose(apply(frame.lidar2cam[view], xyz), step_by_step, atol=1e-9)
            np.testing.assert_array_equal(frame.cam2img[view, :3, :3], mount["camera_intrinsic"])
            assert (
                frame.image_paths[view]
                == index.image_paths(row)[view]
                == small_root.path / camera["filename"]
            )
            assert frame.image_timestamps_us[view] == camera["timestamp"]
            assert frame.image_size[view].tolist() == [24, 40]


def test_rows_follow_scenes_in_database_order_then_time(small_root):
    expected = [row["token"] for row in small_root.tables["sample"]]
    small_root.tables["sample"].reverse()
    index = NuScenesIndex.open(small_root.write(), VERSION)
    assert index.scene_names == ("scene-0103", "scene-0061")
    assert list(index.tokens) == expected
    assert [index.sample_token(row) for row in range(6)] == expected
    assert [index.row_of(token) for token in expected] == list(range(6))
    assert index.rows_of_scenes(["scene-0061"]).tolist() == [3, 4, 5]
    assert index.rows_of_scenes(["scene-0061", "scene-0103"]).dtype == np.int64
    assert index.rows_of_scenes(["scene-0061", "scene-0103"]).tolist() == list(range(6))
    assert index.rows_of_scenes([]).tolist() == []


def test_sweeps_lead_up_to_their_keyframe(small_root):
    index = NuScenesIndex.open(small_root.write(), VERSION)
    for row in range(6):
        time_us = index.frame(row).timestamp_us
        sweeps = index.sweeps(row)
        assert [time_us - sweep.timestamp_us for sweep in sweeps] == [200_000, 100_000]
        for sweep in sweeps:
            data = small_root.find("sample_data", filename=str(sweep.path.relative_to(small_root.path)))
            mount = small_root.find("calibrated_sensor", token=data["calibrated_sensor_token"])
            pose = small_root.find("ego_pose", token=data["ego_pose_token"])
            xyz = np.eye(3)
            np.testing.assert_allclose(
                apply(sweep.lidar2global, xyz), forward(pose, forward(mount, xyz)), atol=1e-11
            )


def test_sweeps_after_the_last_keyframe_are_nobodys(small_root):
    last = small_root.keyframe(2, LIDAR)
    late = small_root.find(
        "sample_data",
        is_key_frame=False,
        timestamp=last["timestamp"] - 100_000,
        sample_token=last["sample_token"],
    )
    for row in small_root.tables["sample_data"]:
        if row["sample_token"] == late["sample_token"] and not row["is_key_frame"]:
            row["timestamp"] += 300_000
    index = NuScenesIndex.open(small_root.write(), VERSION)
    assert [len(index.sweeps(row)) for row in range(6)] == [2, 2, 0, 2, 2, 2]


def test_labels_are_named_by_the_index_and_opened_by_one_module(small_root):
    index = NuScenesIndex.open(small_root.write(), VERSION)
    for row in range(6):
        labels = read_lidarseg(index, row)
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, np.fromfile(index.lidarseg_path(row), np.uint8))
        assert len(labels) == len(index.frame(row).points)


def test_a_root_without_labels(small_root):
    del small_root.tables["lidarseg"]
    index = NuScenesIndex.open(small_root.write(), VERSION)
    assert index.lidarseg_path(0) is None
    with pytest.raises(
        ValueError, match=r"no lidarseg labels for sample sample-scene-0103-0.*lidarseg\.json"
    ):
        read_lidarseg(index, 0)


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("chunk_bytes", [1, 7, 1 << 20])
def test_a_table_streams_as_it_loads(small_root, indent, chunk_bytes):
    small_root.indent = indent
    small_root.write()
    for name in ("ego_pose", "sample_data"):
        rows = list(
            stream_table(
                small_root.path / VERSION,
                name,
                lambda body, rows: [True] * len(rows),
                chunk_bytes=chunk_bytes,
            )
        )
        assert rows == small_root.tables[name]
    empty = list(
        stream_table(
            small_root.path / VERSION,
            "ego_pose",
            lambda body, rows: [False] * len(rows),
            chunk_bytes=chunk_bytes,
        )
    )
    assert empty == []


def test_an_empty_table_streams(tmp_path):
    (tmp_path / "ego_pose.json").write_text(" [\n ]\n")
    assert list(stream_table(tmp_path, "ego_pose", lambda body, rows: [True] * len(rows))) == []


def test_the_real_keyframe_equals_the_devkits_chain(nuscenes_one, tmp_path):
    devkit = pytest.importorskip("nuscenes.nuscenes")
    from pyquaternion import Quaternion

    index = NuScenesIndex.open(nuscenes_one, VERSION, cache_dir=tmp_path)
    frame = index.frame(0)
    assert frame.points.shape == (34688, 4)
    nusc = devkit.NuScenes(VERSION, str(nuscenes_one), verbose=False)
    sample = nusc.sample[0]
    lidar = nusc.get("sample_data", sample["data"][LIDAR])

    def matrix(row):
        result = np.eye(4)
        result[:3, :3], result[:3, 3] = Quaternion(row["rotation"]).rotation_matrix, row["translation"]
        return result

    def sensor2global(data):
        mount = nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
        return matrix(nusc.get("ego_pose", data["ego_pose_token"])) @ matrix(mount)

    for view, channel in enumerate(CAMERAS):
        camera = nusc.get("sample_data", sample["data"][channel])
        expected = np.linalg.inv(sensor2global(camera)) @ sensor2global(lidar)
        np.testing.assert_allclose(frame.lidar2cam[view], expected, atol=1e-9)
        assert str(frame.image_paths[view]) == nusc.get_sample_data_path(camera["token"])


# --- on disk
# -----------------------------------------------------------------------------------------------------------


def test_it_is_built_once_and_lies_in_the_dataroot(small_root, monkeypatch):
    root = small_root.write()
    index = NuScenesIndex.open(root, VERSION)
    assert index.folder.parent == root / ".lidardistill" / f"index-{VERSION}"
    assert not [path for path in index.folder.parent.iterdir() if path != index.folder]
    assert all(path.suffix in {".npy", ".json"} for path in index.folder.iterdir())
    monkeypatch.setattr("lidardistill.datasets.nuscenes.index.build_columns", None)
    assert NuScenesIndex.open(root, VERSION, build=False).tokens == index.tokens


def test_changed_tables_are_indexed_anew(small_root, caplog):
    old = NuScenesIndex.open(small_root.write(), VERSION)
    small_root.keyframe(0, LIDAR)["filename"] = "samples/LIDAR_TOP/other.pcd.bin"
    small_root.write()
    with caplog.at_level(logging.WARNING):
        new = NuScenesIndex.open(small_root.path, VERSION)
    assert "changed since they were indexed" in caplog.text
    assert new.lidar_path(0).name == "other.pcd.bin"
    assert new.folder != old.folder
    assert not old.folder.exists()


def test_a_table_of_the_same_size_but_another_time_is_noticed(small_root):
    root = small_root.write()
    old = NuScenesIndex.open(root, VERSION)
    os.utime(root / VERSION / "scene.json", ns=(1, 1))
    assert NuScenesIndex.open(root, VERSION).folder != old.folder


def test_a_damaged_index_is_replaced(small_root):
    root = small_root.write()
    index = NuScenesIndex.open(root, VERSION)
    expected = index.frame(3).lidar2cam
    column = index.folder / "lidar2cam.npy"
    column.write_bytes(column.read_bytes()[:1000])
    again = NuScenesIndex.open(root, VERSION)
    np.testing.assert_array_equal(again.frame(3).lidar2cam, expected)
    assert [path.name for path in again.folder.parent.iterdir()] == [again.folder.name]


def test_a_root_that_cannot_be_written_uses_the_cache(small_root, tmp_path, monkeypatch):
    root = small_root.write()
    (root / ".lidardistill").write_text("a file where the folder should be")
    monkeypatch.setenv("LIDARDISTILL_CACHE", str(tmp_path / "cache"))
    index = NuScenesIndex.open(root, VERSION)
    assert index.folder.is_relative_to(tmp_path / "cache")
    assert index.frame(0).lidar_path.is_relative_to(root)
    assert NuScenesIndex.open(root, VERSION, build=False).tokens == index.tokens


def test_no_place_at_all_says_so_and_leaves_nothing(small_root, tmp_path, monkeypatch):
    root = small_root.write()

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lidardistill.datasets.columns.np.save", full)
    with pytest.raises(OSError, match=r"could not be written to .*No space left.*LIDARDISTILL_CACHE"):
        NuScenesIndex.open(root, VERSION, cache_dir=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_not_building_says_how_to(small_root):
    with pytest.raises(FileNotFoundError, match="lidardistill doctor --dataroot"):
        NuScenesIndex.open(small_root.write(), VERSION, build=False)


def open_in_another_process(root: Path, barrier, queue) -> None:
    barrier.wait()
    queue.put(NuScenesIndex.open(root, VERSION).frame(5).lidar2cam.tolist())


def test_processes_that_build_at_once_do_no_harm(small_root):
    root = small_root.write()
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(3), context.Queue()
    workers = [context.Process(target=open_in_another_process, args=(root, barrier, queue)) for _ in range(3)]
    for worker in workers:
        worker.start()
    results = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    index = NuScenesIndex.open(root, VERSION, build=False)
    assert results == [index.frame(5).lidar2cam.tolist()] * 3
    assert [path.name for path in index.folder.parent.iterdir()] == [index.folder.name]


def test_pickling_carries_the_place_not_the_contents(small_root):
    index = NuScenesIndex.open(small_root.write(), VERSION)
    pickled = pickle.dumps(index)
    assert len(pickled) < 1000
    again = pickle.loads(pickled)
    assert (again.dataroot, again.version, again.tokens) == (index.dataroot, index.version, index.tokens)
    np.testing.assert_array_equal(again.frame(4).lidar2cam, index.frame(4).lidar2cam)


def test_a_worker_whose_index_is_gone_says_so(small_root):
    index = NuScenesIndex.open(small_root.write(), VERSION)
    pickled = pickle.dumps(index)
    for path in index.folder.iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="no usable index"):
        pickle.loads(pickled)


def test_what_a_frame_gives_away_is_its_own(small_root):
    index = NuScenesIndex.open(small_root.write(), VERSION)
    frame = index.frame(0)
    for array in (
        frame.lidar2cam,
        frame.cam2img,
        frame.lidar2ego,
        frame.ego2global,
        frame.image_timestamps_us,
    ):
        assert array.flags.writeable
        array[:] = 0
    assert index.frame(0).lidar2cam.any()
