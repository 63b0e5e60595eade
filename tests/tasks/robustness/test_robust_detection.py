"""A detector on corrupted scans: what it reads is corrupted, what it is judged by is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lidardistill.config.io import load_config
from lidardistill.datasets.labelled import FrameDetections
from lidardistill.datasets.nuscenes.detection_classes import CLASSES
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.datasets.sweeps import read_sweeps
from lidardistill.tasks.detect.config import DetectConfig
from lidardistill.tasks.detect.run import detect
from lidardistill.tasks.robustness import detection as robust_detection
from lidardistill.tasks.robustness.detection import DetectionJudge
from lidardistill.tasks.robustness.run import _check_comparable, evaluate_corrupted

pytest.importorskip("nuscenes", reason="scores come from nuscenes-devkit")

DEMO = Path(__file__).resolve().parents[3] / "configs" / "detect" / "demo.yaml"
VERSION = "v1.0-mini"


@pytest.fixture(scope="module")
def trained(detection_world, tmp_path_factory):
    changes = (
        f"data.dataroot={detection_world}",
        "data.label_percent=100",
        "data.batch_size=2",
        "data.sweeps=1",
        "head.width=8",
        "calibration_keyframes=2",
        "trainer={max_steps: 2, accelerator: cpu, checkpoint_every: 2, log_every: 1}",
        "voxels.voxel_size=[0.4, 0.4, 0.4]",
        "voxels.point_cloud_range=[-25.6, -25.6, -6.4, 25.6, 25.6, 6.4]",
    )
    run = tmp_path_factory.mktemp("trained") / "run"
    detect(load_config(DetectConfig, DEMO, changes), "random", run, progress=False)
    return run


def test_a_detector_against_itself(trained, tmp_path):
    out = tmp_path / "out"
    names = ["crosstalk", "incomplete-echo", "spoofing"]
    result = evaluate_corrupted(trained, "mini_val", out, names, task="detection", baseline=trained)
    assert result["metric"] == "NDS"
    assert result["mce"] == 1.0
    assert list(result["ce"]) == names[:2]
    assert all(0 <= nds <= 1 for values in result["accuracy"].values() for nds in values)
    assert len(result["by_class"]["crosstalk"]) == 3
    assert set(result["by_class"]["crosstalk"][0]) == set(CLASSES)
    assert result["attack_success"]["spoofing"] == [0.0, 0.0, 0.0]  # two steps make no detector
    assert "nuscenes-devkit" in result["evaluator"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    with pytest.raises(ValueError, match="with metric NDS and not mIoU"):
        _check_comparable(result, out, {"metric": "mIoU"}, names)


def fake_predictions(found):
    """Stands in for `predictions`: takes the scans through the data set's hook, then says what `found`
    makes of them.
    """

    def predict(detector, config, index, split, device, corrupt):
        for row in index.rows_of_scenes(["scene-0103", "scene-0916"]).tolist():
            points = corrupt(read_sweeps(index, row, config.data.sweeps), row)
            yield index.sample_token(row), found(points)

    return predict


def car_at(x: float, y: float, score: float = 0.9, label: str = "car") -> FrameDetections:
    box = np.array([[x, y, -1.0, 4.5, 1.9, 1.6, 0.0, 0.0, 0.0]], dtype=np.float32)
    return FrameDetections(box, np.array([score]), np.array([CLASSES.index(label)]))


@pytest.mark.parametrize(
    ("score", "label", "success"),
    [(0.9, "car", 1.0), (0.9, "truck", 1.0), (0.2, "car", 0.0), (0.9, "barrier", 0.0)],
)
def test_an_attack_succeeds_where_a_vehicle_is_found(trained, tmp_path, monkeypatch, score, label, success):
    def found(points):
        x, y = points[-100:, :2].mean(axis=0)  # the feigned points are the last
        return car_at(float(x), float(y), score, label)

    monkeypatch.setattr(robust_detection, "predictions", fake_predictions(found))
    judge = DetectionJudge(trained, "mini_val", tmp_path / "out", 0)
    assert judge.corrupted("spoofing", 2).success == success
    monkeypatch.setattr(robust_detection, "predictions", fake_predictions(lambda points: car_at(-15.0, 3.0)))
    assert judge.corrupted("spoofing", 2).success == 0.0


def test_the_data_set_hands_corrupted_points_on(trained, detection_world, monkeypatch):
    """What reaches the network has been through the corruption, with the row that seeds it."""
    judge = DetectionJudge(trained, "mini_val", Path("unused"), 0)
    index = NuScenesIndex.open(detection_world, VERSION)
    row = int(index.rows_of_scenes(["scene-0103"])[1])
    corruption = judge.corruption("beam-missing", 3)
    batches = list(
        robust_detection.predictions.__globals__["still_keyframes"](
            judge.config, index, np.array([row]), judge.device, corruption
        )
    )
    clean = read_sweeps(index, row, 1)
    assert len(batches[0].voxels.point_mask) == len(corruption(clean, row)) < len(clean)


def test_vehicles_come_from_boxes(trained, detection_world):
    judge = DetectionJudge(trained, "mini_val", Path("unused"), 0)
    index = NuScenesIndex.open(detection_world, VERSION)
    row = int(index.rows_of_scenes(["scene-0916"])[0])
    points = read_sweeps(index, row, 0)
    corruption = judge.corruption("incomplete-echo", 3)
    mask = corruption.vehicle_mask(points, row)
    assert 0 < mask.sum() < len(points)
    left = corruption(points, row)
    assert len(points) - len(left) == int(0.95 * mask.sum())


def test_a_run_of_another_task(trained, tmp_path):
    with pytest.raises(ValueError, match="is a detect run"):
        evaluate_corrupted(trained, "mini_val", tmp_path / "out", ["fog"])
