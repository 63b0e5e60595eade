from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidardistill.datasets.nuscenes.labels import judge_points as lidarseg
from lidardistill.datasets.nuscenes.labels.devkit import META
from lidardistill.datasets.nuscenes.labels.judge_points import score, write_predictions
from lidardistill.datasets.nuscenes.labels.points import read_lidarseg
from lidardistill.datasets.nuscenes.lidarseg_classes import CLASSES, RAW_TO_CLASS
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.datasets.nuscenes.splits import scenes_of_split
from lidardistill.datasets.nuscenes.tables import CAMERAS
from lidardistill.engine.run_folder import write_metrics
from lidardistill.synthetic.write.dataset import write_world
from lidardistill.synthetic.write.recording import (
    CameraImage,
    GroundMap,
    Keyframe,
    LidarScan,
    Rig,
    SceneRecording,
)

VERSION, SPLIT = "v1.0-mini", "mini_val"

PRESENT = np.array([0, 9, 14, 17, 24, 26, 28, 30], dtype=np.uint8)
"""Raw classes of the labels: ignore and seven evaluated ones."""


def record(name: str, seed: int, *, keyframes: int, image_size: Any, palette: str) -> SceneRecording:
    """Points and labels at random, black pictures, nothing else."""

    def stream() -> Iterator[Keyframe]:
        rng = np.random.default_rng(seed)
        for number in range(keyframes):
            time_us = 1_000_000 + number * 500_000
            points = rng.normal(0, 20, (200 + number, 5)).astype(np.float32)
            labels = rng.choice(PRESENT, len(points))
            images = tuple(
                CameraImage(name, time_us, np.eye(4), np.zeros((*image_size, 3), np.uint8))
                for name in CAMERAS
            )
            yield Keyframe(LidarScan(time_us, np.eye(4), points, labels), images, (), ())

    rig = Rig(np.eye(4), CAMERAS, np.tile(np.eye(4), (6, 1, 1)), np.tile(np.eye(3), (6, 1, 1)), image_size)
    return SceneRecording(name, "", rig, GroundMap(np.ones((2, 2), dtype=bool), np.zeros(2), 0.1), stream())


@pytest.fixture(scope="module")
def dataroot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("nuscenes")
    out = tmp_path_factory.mktemp("world") / "root"
    return write_world(out, train_scenes=1, keyframes=3, image_size=(4, 6), workers=1, record=record)


@pytest.fixture(scope="module")
def truth(dataroot: Path) -> dict[str, np.ndarray]:
    """Evaluated class of every point of the split, 0 where ignored."""
    index = NuScenesIndex.open(dataroot, VERSION)
    rows = index.rows_of_scenes(scenes_of_split(SPLIT, index.scene_names))
    return {index.lidar_token(row): RAW_TO_CLASS[read_lidarseg(index, row)] for row in rows}


def half_right(truth: dict[str, np.ndarray], seed: int = 0) -> list[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [
        (
            token,
            np.where(rng.random(len(t)) < 0.5, np.maximum(t, 1), rng.integers(1, 17, len(t))).astype(
                np.uint8
            ),
        )
        for token, t in truth.items()
    ]


def write(out: Path, dataroot: Path, predictions: Any, **changes: Any) -> Path:
    return write_predictions(out, VERSION, SPLIT, predictions, dataroot=dataroot, **changes)


def test_perfect_predictions_score_one(dataroot: Path, truth: dict[str, np.ndarray], tmp_path: Path) -> None:
    results = write(tmp_path, dataroot, ((token, np.maximum(t, 1)) for token, t in truth.items()))
    metrics = score(dataroot, VERSION, SPLIT, results)
    assert metrics["miou"] == metrics["fwiou"] == 1.0
    assert list(metrics["iou"]) == list(CLASSES[1:])
    assert {name for name, value in metrics["iou"].items() if value == 1.0} == {
        "barrier", "bicycle", "car", "driveable_surface", "sidewalk", "manmade", "vegetation",
    }  # fmt: skip
    assert [value for value in metrics["iou"].values() if value != 1.0] == [None] * 9
    assert metrics["evaluator"] == "nuscenes-devkit 1.2.0 LidarSegEval"
    assert metrics["num_points"] == sum(map(len, truth.values())) == 2 * (200 + 201 + 202)
    assert metrics["num_points_ignored"] == sum(int((t == 0).sum()) for t in truth.values()) > 0
    assert (metrics["num_keyframes"], metrics["split"], metrics["version"]) == (6, SPLIT, VERSION)
    json.dumps(metrics, allow_nan=False)


def test_score_is_that_of_the_devkit_on_its_own(
    dataroot: Path, truth: dict[str, np.ndarray], tmp_path: Path
) -> None:
    from nuscenes import NuScenes
    from nuscenes.eval.lidarseg.evaluate import LidarSegEval
    from nuscenes.eval.lidarseg.validate_submission import validate_submission

    results = write(tmp_path, dataroot, half_right(truth))
    metrics = score(dataroot, VERSION, SPLIT, results)
    nusc = NuScenes(VERSION, str(dataroot), verbose=False)
    validate_submission(nusc, str(results), SPLIT)
    official = LidarSegEval(nusc, str(results), SPLIT).evaluate()
    assert metrics["miou"] == official["miou"]
    assert 0.05 < metrics["miou"] < 0.6
    assert metrics["fwiou"] == official["freq_weighted_iou"]
    for name, value in metrics["iou"].items():
        assert value == official["iou_per_class"][name]


def test_nothing_is_printed(
    dataroot: Path, truth: dict[str, np.ndarray], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    score(dataroot, VERSION, SPLIT, write(tmp_path, dataroot, half_right(truth)))
    assert capfd.readouterr() == ("", "")


def test_a_difference_to_the_devkit_is_not_let_through(
    dataroot: Path, truth: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = write(tmp_path, dataroot, half_right(truth))
    right = lidarseg.confusion_matrix

    def off_by_one(*arguments: Any, **options: Any) -> np.ndarray:
        matrix = right(*arguments, **options)
        matrix[4, 4] += 1
        return matrix

    monkeypatch.setattr(lidarseg, "confusion_matrix", off_by_one)
    with pytest.raises(AssertionError, match="nuscenes-devkit says"):
        score(dataroot, VERSION, SPLIT, results)


def test_submission_has_the_official_shape(
    dataroot: Path, truth: dict[str, np.ndarray], tmp_path: Path
) -> None:
    predictions = half_right(truth)
    results = write(tmp_path / "a" / "b", dataroot, predictions, meta={"use_external": True})
    assert json.loads((results / SPLIT / "submission.json").read_text()) == {
        "meta": {**META, "use_external": True}
    }
    files = sorted(path.name for path in (results / "lidarseg").rglob("*") if path.is_file())
    assert files == sorted(f"{token}_lidarseg.bin" for token in truth)
    for token, labels in predictions:
        assert (results / "lidarseg" / SPLIT / f"{token}_lidarseg.bin").read_bytes() == labels.tobytes()
    mask = os.umask(0o022)
    os.umask(mask)
    assert (results / "lidarseg" / SPLIT).stat().st_mode & 0o055 == 0o055 & ~mask


def test_predictions_are_taken_one_at_a_time(
    dataroot: Path, truth: dict[str, np.ndarray], tmp_path: Path
) -> None:
    seen: list[int] = []

    def stream() -> Iterator[tuple[str, np.ndarray]]:
        for pair in half_right(truth):
            seen.append(len(list(tmp_path.rglob("*.bin"))))
            yield pair

    write(tmp_path, dataroot, stream())
    assert seen == list(range(len(truth)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda token, labels: (token, labels.astype(np.int64)), r"\(N,\) uint8, got \(\d+,\) int64"),
        (lambda token, labels: (token, labels[:, None]), r"\(N,\) uint8, got \(\d+, 1\) uint8"),
        (lambda token, labels: (token, labels.tolist()), r"\(N,\) uint8, got list"),
        (lambda token, labels: (token, labels[:-1]), r"\d+ points in the scan and \d+ predictions"),
        (lambda token, labels: (token, labels * 0), r"classes are 1\.\.16, got 0\.\.0"),
        (lambda token, labels: (token, labels - labels.min()), r"classes are 1\.\.16, got 0"),
        (lambda token, labels: (token, labels + np.uint8(16)), r"classes are 1\.\.16, got"),
        (lambda token, labels: ("0" * 32, labels), "is no LIDAR_TOP keyframe of mini_val"),
    ],
)
def test_an_invalid_prediction_is_refused(
    dataroot: Path, truth: dict[str, np.ndarray], tmp_path: Path, change: Any, message: str
) -> None:
    first, *others = half_right(truth)
    with pytest.raises(ValueError, match=message):
        write(tmp_path, dataroot, [*others, change(*first)])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_missing_and_a_doubled_prediction_are_refused(
    dataroot: Path, truth: dict[str, np.ndarray], tmp_path: Path
) -> None:
    predictions = half_right(truth)
    with pytest.raises(
        ValueError, match=f"6 keyframes and 1 have no prediction, such as {predictions[2][0]}"
    ):
        write(tmp_path, dataroot, predictions[:2] + predictions[3:])
    with pytest.raises(ValueError, match="predicted twice"):
        write(tmp_path, dataroot, [*predictions, predictions[0]])
    with pytest.raises(ValueError, match=r"unknown split 'mini_vall'.*'mini_val'"):
        write_predictions(tmp_path, VERSION, "mini_vall", predictions, dataroot=dataroot)
    with pytest.raises(ValueError, match="meta must hold"):
        write(tmp_path, dataroot, predictions, meta={"use_sonar": True})


def test_an_earlier_submission_goes_only_when_the_new_one_is_complete(
    dataroot: Path, truth: dict[str, np.ndarray], tmp_path: Path
) -> None:
    first, second = half_right(truth, seed=1), half_right(truth, seed=2)
    folder = write(tmp_path, dataroot, first) / "lidarseg" / SPLIT

    def content() -> dict[str, bytes]:
        return {path.name.split("_")[0]: path.read_bytes() for path in folder.iterdir()}

    with pytest.raises(ValueError, match="have no prediction"):
        write(tmp_path, dataroot, second[:3])
    assert content() == {token: labels.tobytes() for token, labels in first}
    write(tmp_path, dataroot, second)
    assert content() == {token: labels.tobytes() for token, labels in second}
    assert [path.name for path in folder.parent.iterdir()] == [SPLIT]


def test_score_names_what_is_wrong_with_a_submission(
    dataroot: Path, truth: dict[str, np.ndarray], tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match="no predictions for mini_val"):
        score(dataroot, VERSION, SPLIT, tmp_path)
    folder = write(tmp_path, dataroot, half_right(truth)) / "lidarseg" / SPLIT
    path = next(folder.iterdir())
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(ValueError, match=f"{path.name}: .* points in the scan"):
        score(dataroot, VERSION, SPLIT, tmp_path)
    path.write_bytes(b"\0" * len(whole))
    with pytest.raises(ValueError, match=rf"{path.name}: classes are 1\.\.16"):
        score(dataroot, VERSION, SPLIT, tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{path.name} is missing"):
        score(dataroot, VERSION, SPLIT, tmp_path)


def test_a_split_with_absent_scenes_is_not_scored(dataroot: Path, tmp_path: Path) -> None:
    index = NuScenesIndex.open(dataroot, VERSION)
    rows = index.rows_of_scenes(scenes_of_split("mini_train", index.scene_names))
    ones = [(index.lidar_token(row), np.ones(len(read_lidarseg(index, row)), np.uint8)) for row in rows]
    write_predictions(tmp_path, VERSION, "mini_train", ones, dataroot=dataroot)
    with pytest.raises(ValueError, match="lacks 7 of them, such as scene-0553"):
        score(dataroot, VERSION, "mini_train", tmp_path)


def test_a_split_the_devkit_does_not_know_is_scored_by_us_and_said_so(
    dataroot: Path, tmp_path: Path, truth: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = write(tmp_path, dataroot, half_right(truth))
    official = score(dataroot, VERSION, SPLIT, results)
    monkeypatch.setattr(lidarseg, "known_to_devkit", lambda split: False)
    own = score(dataroot, VERSION, SPLIT, results)
    assert own["evaluator"].startswith("lidardistill confusion matrix")
    assert own["miou"] == pytest.approx(official["miou"], abs=1e-12)


def test_a_root_without_labels_is_refused(
    dataroot: Path, truth: dict[str, np.ndarray], tmp_path: Path
) -> None:
    results = write(tmp_path / "results", dataroot, half_right(truth))
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("samples", "maps"):
        (bare / name).symlink_to(dataroot / name)
    (bare / VERSION).mkdir()
    for table in (dataroot / VERSION).iterdir():
        if table.name != "lidarseg.json":
            (bare / VERSION / table.name).write_bytes(table.read_bytes())
    with pytest.raises(ValueError, match="names no lidarseg labels"):
        score(bare, VERSION, SPLIT, results)


def test_without_the_devkit_the_extra_is_named(
    dataroot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "nuscenes"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nuscenes", None)
    with pytest.raises(ImportError, match=r"pip install nuscenes-devkit==1\.2\.0"):
        score(dataroot, VERSION, SPLIT, tmp_path)


def test_metrics_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.json"
    write_metrics(path, {"miou": 0.5, "iou": {"car": None}})
    assert json.loads(path.read_text()) == {"miou": 0.5, "iou": {"car": None}}
    with pytest.raises(ValueError, match=r"metrics\.json.*not finite.*write None"):
        write_metrics(path, {"miou": float("nan")})
    assert json.loads(path.read_text())["miou"] == 0.5
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.json"
    write_metrics(path, {"miou": 0.5})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_metrics(path, {"miou": 0.6})
    assert json.loads(path.read_text()) == {"miou": 0.5}
    assert list(tmp_path.iterdir()) == [path]
