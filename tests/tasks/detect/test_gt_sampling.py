"""Objects cut out of scans and pasted into others."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from lidardistill.datasets.nuscenes.detection_classes import CLASSES
from lidardistill.datasets.nuscenes.labels.boxes import BoxTable
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.datasets.sweeps import read_sweeps
from lidardistill.geometry.boxes import box_corners_xy, points_in_boxes
from lidardistill.tasks.detect.config import GTSamplingConfig
from lidardistill.tasks.detect.gt_database import GTDatabase
from lidardistill.tasks.detect.gt_sampling import GTSampler

VERSION = "v1.0-mini"
CAR, TRUCK, PEDESTRIAN = (CLASSES.index(name) for name in ("car", "truck", "pedestrian"))


@pytest.fixture(scope="module")
def index(detection_world: Path) -> NuScenesIndex:
    return NuScenesIndex.open(detection_world, VERSION)


@pytest.fixture(scope="module")
def table(index: NuScenesIndex) -> BoxTable:
    return BoxTable.open(index)


@pytest.fixture(scope="module")
def database(index, table) -> GTDatabase:
    return GTDatabase.build(index, table, np.arange(10), num_sweeps=1)


def test_objects_are_what_lies_in_the_boxes_of_the_named_rows(index, table) -> None:
    rows = np.array([7, 3])
    database = GTDatabase.build(index, table, rows, num_sweeps=2, min_points=[5] * 9 + [20])
    expected = []
    for row in (3, 7):
        scan, found = read_sweeps(index, row, 2), table.read(row)
        for box, label in zip(found.boxes, found.labels, strict=True):
            inside, _ = points_in_boxes(scan, box[None], implementation="numpy")
            if len(inside) >= (20 if CLASSES[label] == "traffic_cone" else 5):
                expected.append((row, label, box, scan[inside]))
    assert len(database) == len(expected) > 20
    for entry, (row, label, box, points) in enumerate(expected):
        assert (database.rows[entry], database.labels[entry]) == (row, label)
        np.testing.assert_array_equal(database.boxes[entry], box)
        np.testing.assert_array_equal(database.points(entry), points)
    assert set(database.rows.tolist()) == {3, 7}


def test_a_database_is_kept_and_shared(index, table, database, tmp_path) -> None:
    settings = {"num_sweeps": 1, "folder": tmp_path / "objects"}
    kept = GTDatabase.build(index, table, np.arange(10), **settings)
    assert kept.folder is not None
    assert [path.name for path in (tmp_path / "objects").iterdir()] == [kept.folder.name]
    assert not isinstance(kept.points(0), np.memmap)
    again = pickle.loads(pickle.dumps(kept))
    assert len(pickle.dumps(kept)) < 1000
    for other in (kept, again, pickle.loads(pickle.dumps(database))):
        assert other.num_sweeps == 1
        np.testing.assert_array_equal(other.boxes, database.boxes)
        for entry in range(len(database)):
            np.testing.assert_array_equal(other.points(entry), database.points(entry))
    before = kept.folder.stat().st_mtime_ns
    assert GTDatabase.build(index, table, np.arange(10), **settings).folder == kept.folder
    assert kept.folder.stat().st_mtime_ns == before
    fewer = GTDatabase.build(index, table, np.arange(9), **settings)  # other rows, another place
    assert fewer.folder != kept.folder
    assert kept.folder.is_dir()
    shutil.rmtree(kept.folder)
    with pytest.raises(FileNotFoundError, match="no usable objects"):
        pickle.loads(pickle.dumps(kept))


def test_a_scan_is_filled_up_to_the_counts(index, table, database) -> None:
    points, found = read_sweeps(index, 12, 1), table.read(12)
    sampler = GTSampler(database, GTSamplingConfig(counts=(4, 3, 0, 2, 3, 2, 3, 2, 3, 1)))
    num_pasted = 0
    for seed in range(30):
        new_points, boxes, labels = sampler.paste(
            points, found.boxes, found.labels, np.random.default_rng(seed)
        )
        n = len(found)
        np.testing.assert_array_equal(boxes[:n], found.boxes)
        np.testing.assert_array_equal(labels[:n], found.labels)
        counts, own = (np.bincount(of, minlength=len(CLASSES)) for of in (labels, found.labels))
        assert (counts <= np.maximum(own, sampler.config.counts)).all()
        pasted = boxes[n:]
        num_pasted += len(pasted)
        assert_no_pasted_box_on_another(boxes, n)
        # What lies in a pasted box is the object's own; what lies outside is the scan's.
        entries = sampler._choose(found.boxes, found.labels, np.random.default_rng(seed))
        np.testing.assert_array_equal(pasted, database.boxes[entries])
        np.testing.assert_array_equal(labels[n:], database.labels[entries])
        objects = np.concatenate([database.points(entry) for entry in entries] or [points[:0]])
        gone, _ = points_in_boxes(points, pasted, implementation="numpy")
        np.testing.assert_array_equal(new_points, np.concatenate([np.delete(points, gone, axis=0), objects]))
    assert num_pasted > 60


def assert_no_pasted_box_on_another(boxes: np.ndarray, own: int) -> None:
    shapely = pytest.importorskip("shapely")
    grounds = [shapely.Polygon(corners) for corners in box_corners_xy(boxes)]
    for number in range(own, len(boxes)):
        for other in range(number):
            assert grounds[number].intersection(grounds[other]).area < 1e-9


def test_hidden_points_of_the_scan_are_removed(database) -> None:
    entry = int(np.flatnonzero(database.labels == TRUCK)[0])
    box = database.boxes[entry]
    inside = np.array([[*box[:3], 7.0, 0.0]], np.float32)
    outside = inside + np.array([[0, 0, 20, 0, 0]], np.float32)
    counts = [0] * len(CLASSES)
    counts[TRUCK] = len(np.flatnonzero(database.labels == TRUCK))
    points, boxes, labels = GTSampler(database, GTSamplingConfig(counts=tuple(counts))).paste(
        np.concatenate([inside, outside]),
        np.zeros((0, 9), np.float32),
        np.zeros(0, np.int64),
        np.random.default_rng(0),
    )
    assert len(boxes) > 1
    assert set(labels.tolist()) == {TRUCK}
    where = points[:, 3] == 7.0
    np.testing.assert_array_equal(points[where][:1], outside)
    assert not (points == inside).all(axis=1).any()


def test_a_full_scan_and_a_crowded_one_stay_as_they_are(database) -> None:
    points = np.zeros((5, 5), np.float32)
    everywhere = np.array([[0, 0, 0, 200, 200, 5, 0, 0, 0]], np.float32)
    one_of_each = np.arange(len(CLASSES))
    sampler = GTSampler(database, GTSamplingConfig(counts=(3,) * len(CLASSES)))
    same = sampler.paste(points, everywhere, np.array([CAR]), np.random.default_rng(0))
    assert same[0] is points
    assert same[1] is everywhere
    far = np.tile(everywhere + np.array([1000, 0, 0, -199, -199, 0, 0, 0, 0]), (len(CLASSES), 1)).astype("f4")
    full = GTSampler(database, GTSamplingConfig(counts=(1,) * len(CLASSES)))
    assert full.paste(points, far, one_of_each, np.random.default_rng(0))[1] is far


def test_the_same_generator_pastes_the_same_objects(index, table, database) -> None:
    found, points = table.read(12), read_sweeps(index, 12, 1)
    sampler, travelled = (
        GTSampler(database, GTSamplingConfig()),
        pickle.loads(pickle.dumps(GTSampler(database, GTSamplingConfig()))),
    )
    first, again, other = (
        s.paste(points, found.boxes, found.labels, np.random.default_rng(seed))
        for s, seed in ((sampler, 5), (travelled, 5), (sampler, 6))
    )
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first[1], other[1])


def test_a_broken_scan_gives_no_objects_and_is_named(index, tmp_path, caplog) -> None:
    copied = NuScenesIndex.open(shutil.copytree(index.dataroot, tmp_path / "world"), VERSION)
    copied.lidar_path(1).write_bytes(b"")
    database = GTDatabase.build(copied, BoxTable.open(copied), [0, 1], num_sweeps=0)
    assert set(database.rows.tolist()) == {0}
    assert "keyframe 1" in caplog.text


def test_no_objects_at_all(index, table) -> None:
    database = GTDatabase.build(index, table, [0], num_sweeps=0, min_points=[10_000] * len(CLASSES))
    assert len(database) == 0
    points = np.zeros((3, 5), np.float32)
    found = table.read(0)
    assert (
        GTSampler(database, GTSamplingConfig()).paste(
            points, found.boxes, found.labels, np.random.default_rng(0)
        )[0]
        is points
    )


def test_bad_input(index, table, database) -> None:
    with pytest.raises(ValueError, match="at least one labelled keyframe"):
        GTDatabase.build(index, table, [], num_sweeps=0)
    with pytest.raises(ValueError, match="min_points: expected one number for each of car, truck"):
        GTDatabase.build(index, table, [0], num_sweeps=0, min_points=[5])
    with pytest.raises(ValueError, match="counts"):
        GTSamplingConfig(counts=(1, 2))
    with pytest.raises(ValueError, match=r"expected \(N, 5\) with seconds"):
        GTSampler(database, GTSamplingConfig()).paste(
            np.zeros((3, 4), np.float32), np.zeros((0, 9)), np.zeros(0, int), np.random.default_rng(0)
        )
