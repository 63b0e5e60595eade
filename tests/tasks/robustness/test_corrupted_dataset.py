"""A corrupted root is a nuScenes root: our index opens it, the devkit scores it, and its source stays as
it was.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from lidardistill.corruptions.table import Corruption
from lidardistill.datasets.nuscenes.labels.corrupted import NOISE
from lidardistill.datasets.nuscenes.labels.judge_points import score, write_predictions
from lidardistill.datasets.nuscenes.labels.points import read_lidarseg
from lidardistill.datasets.nuscenes.lidarseg_classes import RAW_CLASSES, RAW_TO_CLASS
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.tasks.robustness.corrupted_root import labelled_corruption, write_corrupted

VERSION = "v1.0-mini"


@pytest.fixture
def index(tiny_world, tmp_path) -> NuScenesIndex:
    """The tiny world with a beam number in its scans and some cars among its labels."""
    root = tmp_path / "source"
    shutil.copytree(tiny_world, root)
    index = NuScenesIndex.open(root, VERSION)
    for row in range(index.num_keyframes):
        points = np.fromfile(index.lidar_path(row), dtype="<f4").reshape(-1, 5)
        points[:, 4] = np.arange(len(points)) % 32
        index.lidar_path(row).write_bytes(points.tobytes())
        labels = read_lidarseg(index, row)
        labels[:60] = RAW_CLASSES.index("vehicle.car")
        index.lidarseg_path(row).write_bytes(labels.tobytes())
    return index


def contents(root) -> dict:
    files = [p for p in root.rglob("*") if p.is_file() and ".lidardistill" not in p.parts]
    return {p.relative_to(root): p.read_bytes() for p in files}


@pytest.mark.parametrize("name", ["beam-missing", "crosstalk", "incomplete-echo", "spoofing"])
def test_scans_and_labels_are_those_of_the_corruption(index, tmp_path, name):
    before = contents(index.dataroot)
    rows = index.rows_of_scenes(["scene-0103"])
    corruption = labelled_corruption(index, name, 2, 0)
    _, attacked = write_corrupted(index, rows, tmp_path / "out", corruption)
    assert contents(index.dataroot) == before
    corrupted = NuScenesIndex.open(tmp_path / "out", VERSION, build=False)
    assert corrupted.tokens == index.tokens
    assert sorted(attacked) == (rows.tolist() if name == "spoofing" else [])
    for row in rows.tolist():
        stored = np.fromfile(index.lidar_path(row), dtype="<f4").reshape(-1, 5)
        expected = corruption.scan(stored, row, rings=stored[:, 4].astype(np.int64))
        np.testing.assert_array_equal(corrupted.frame(row).points, expected.points[:, :4])
        labels = read_lidarseg(corrupted, row)
        before, origin = read_lidarseg(index, row), expected.origin()
        np.testing.assert_array_equal(labels, np.where(origin < 0, NOISE, before[origin]))
        assert (labels == NOISE).sum() == expected.injected.sum()
        if name == "incomplete-echo":
            assert len(labels) == 600 - int(0.85 * 60)
    with pytest.raises(FileExistsError):
        write_corrupted(index, rows, tmp_path / "out", corruption)


def test_the_devkit_scores_what_is_left(index, tmp_path):
    pytest.importorskip("nuscenes", reason="scores come from nuscenes-devkit")
    rows = index.rows_of_scenes(["scene-0103", "scene-0916"])
    write_corrupted(index, rows, tmp_path / "out", Corruption("crosstalk", 3))
    corrupted = NuScenesIndex.open(tmp_path / "out", VERSION)
    right = [
        (corrupted.lidar_token(row), np.maximum(RAW_TO_CLASS[read_lidarseg(corrupted, row)], 1))
        for row in rows.tolist()
    ]
    write_predictions(tmp_path / "results", VERSION, "mini_val", right, dataroot=tmp_path / "out")
    metrics = score(tmp_path / "out", VERSION, "mini_val", tmp_path / "results")
    assert metrics["miou"] == 1.0
    assert "nuscenes-devkit" in metrics["evaluator"]
    assert metrics["num_points_ignored"] == 4 * int(0.12 * 600)
