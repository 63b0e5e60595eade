"""Submissions of boxes, and what nuscenes-devkit makes of them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidardistill.datasets.labelled import FrameBoxes, FrameDetections
from lidardistill.datasets.nuscenes.detection_classes import ATTRIBUTES, CLASSES
from lidardistill.datasets.nuscenes.labels import judge_boxes as detection
from lidardistill.datasets.nuscenes.labels.boxes import BoxTable
from lidardistill.datasets.nuscenes.labels.devkit import META, rows_of_split
from lidardistill.datasets.nuscenes.labels.judge_boxes import score_detections
from lidardistill.datasets.nuscenes.labels.submission import write_detections
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.engine.run_folder import write_metrics

VERSION, SPLIT = "v1.0-mini", "mini_val"

Frames = list[tuple[str, FrameDetections]]


@pytest.fixture(scope="module")
def dataroot(detection_world: Path) -> Path:
    pytest.importorskip("nuscenes")
    return detection_world


def exact(found: FrameBoxes, seed: int) -> FrameDetections:
    """What an all-knowing detector says: different scores, because the devkit interpolates over them."""
    found = found.take(found.num_lidar_pts + found.num_radar_pts > 0)
    scores = np.random.default_rng(seed).uniform(0.1, 1.0, len(found))
    return FrameDetections(np.nan_to_num(found.boxes), scores, found.labels, found.attributes)


@pytest.fixture(scope="module")
def truth(dataroot: Path) -> Frames:
    index = NuScenesIndex.open(dataroot, VERSION)
    table = BoxTable.open(index)
    return [(index.sample_token(row), exact(table.read(row), row)) for row in rows_of_split(index, SPLIT)]


def changed(truth: Frames, change: Callable[[FrameDetections], FrameDetections]) -> Frames:
    return [(token, change(found)) for token, found in truth]


def moved(found: FrameDetections, column: int, by: float) -> FrameDetections:
    boxes = found.boxes.copy()
    boxes[:, column] += by
    return found._replace(boxes=boxes)


def nothing(found: FrameDetections) -> FrameDetections:
    return FrameDetections(np.zeros((0, 9)), np.zeros(0), np.zeros(0, np.int64))


def write(path: Path, dataroot: Path, frames: Any, **options: Any) -> Path:
    return write_detections(path, VERSION, SPLIT, frames, dataroot=dataroot, **options)


def judged(tmp_path: Path, dataroot: Path, frames: Any) -> dict[str, Any]:
    return score_detections(dataroot, VERSION, SPLIT, write(tmp_path / "boxes.json", dataroot, frames))


def test_perfect_detections_score_one(dataroot: Path, truth: Frames, tmp_path: Path) -> None:
    """To what two conventions cost: a box stands upright in a LiDAR frame that leans, and velocities are
    horizontal there, which is 1e-3 rad and 1e-3 of the speed for this world's lean of three degrees."""
    metrics = judged(tmp_path, dataroot, truth)
    assert metrics["map"] == pytest.approx(1.0, abs=1e-12)
    assert metrics["ap"] == dict.fromkeys(CLASSES, pytest.approx(1.0))
    assert metrics["nds"] == pytest.approx(1.0, abs=2e-3)
    errors = metrics["tp_errors"]
    assert errors["trans"] < 1e-5
    assert errors["scale"] < 1e-6
    assert errors["orient"] < 2e-3
    assert errors["vel"] < 2e-2
    assert errors["attr"] == 0
    assert min(metrics["num_annotations"].values()) > 0
    assert metrics["num_detections"] == sum(len(found.boxes) for _, found in truth)
    assert (metrics["num_keyframes"], metrics["split"], metrics["version"]) == (10, SPLIT, VERSION)
    assert metrics["evaluator"] == "nuscenes-devkit 1.2.0 DetectionEval detection_cvpr_2019"
    assert metrics["meta"] == META
    assert metrics["tp_errors_by_class"]["traffic_cone"]["orient"] is None
    write_metrics(tmp_path / "metrics.json", metrics)


def test_figures_are_those_of_the_devkit_on_its_own(dataroot: Path, truth: Frames, tmp_path: Path) -> None:
    from nuscenes import NuScenes
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    rng = np.random.default_rng(0)

    def blurred(found: FrameDetections) -> FrameDetections:
        noise = rng.normal(0, [0.7, 0.7, 0.3, 0, 0, 0, 0.3, 0.5, 0.5], found.boxes.shape)
        kept = rng.random(len(found.boxes)) < 0.8
        boxes = (found.boxes + noise)[kept]
        return FrameDetections(boxes, found.scores[kept], found.labels[kept])

    path = write(tmp_path / "boxes.json", dataroot, changed(truth, blurred))
    ours = score_detections(dataroot, VERSION, SPLIT, path)
    devkit = NuScenes(VERSION, str(dataroot), verbose=False)
    evaluation = DetectionEval(
        devkit, config_factory("detection_cvpr_2019"), str(path), SPLIT, str(tmp_path / "out"), verbose=False
    )
    theirs = evaluation.evaluate()[0].serialize()
    assert 0.2 < ours["nds"] == theirs["nd_score"] < 0.9
    assert ours["map"] == theirs["mean_ap"]
    assert ours["ap"] == theirs["mean_dist_aps"]
    for name in ("trans", "scale", "orient", "vel", "attr"):
        assert ours["tp_errors"][name] == theirs["tp_errors"][f"{name}_err"]
        for label in CLASSES:
            value = theirs["label_tp_errors"][label][f"{name}_err"]
            assert ours["tp_errors_by_class"][label][name] == (None if np.isnan(value) else value)
    assert ours["ap_by_distance"]["car"]["0.5"] == theirs["label_aps"]["car"][0.5]


def test_nothing_found_scores_zero(dataroot: Path, truth: Frames, tmp_path: Path) -> None:
    metrics = judged(tmp_path, dataroot, changed(truth, nothing))
    assert metrics["nds"] == metrics["map"] == 0.0
    assert metrics["tp_errors"] == dict.fromkeys(("trans", "scale", "orient", "vel", "attr"), 1.0)
    assert metrics["num_detections"] == 0


def test_the_devkit_alone_cannot_judge_a_submission_without_boxes(
    dataroot: Path, truth: Frames, tmp_path: Path
) -> None:
    """Why `score_detections` shows it a box out of range: should this change, that can go."""
    from nuscenes import NuScenes
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    path = write(tmp_path / "boxes.json", dataroot, changed(truth, nothing))
    devkit = NuScenes(VERSION, str(dataroot), verbose=False)
    with pytest.raises(Exception, match="Invalid box type: None"):
        DetectionEval(
            devkit, config_factory("detection_cvpr_2019"), str(path), SPLIT, str(tmp_path), verbose=False
        )


@pytest.mark.parametrize(
    ("change", "error", "low", "high"),
    [
        (lambda found: moved(found, 0, 0.7), "trans", 0.69, 0.71),
        (lambda found: moved(found, 6, 0.5), "orient", 0.49, 0.51),
        (lambda found: moved(found, 7, 1.0), "vel", 0.95, 1.02),
        (lambda found: moved(found, 5, 1.0), "scale", 0.2, 0.6),
        (lambda found: found._replace(attributes=np.where(found.attributes >= 0, 1, -1)), "attr", 0.99, 1.0),
    ],
)
def test_each_mistake_has_its_error_and_costs(
    dataroot: Path, truth: Frames, tmp_path: Path, change: Any, error: str, low: float, high: float
) -> None:
    metrics = judged(tmp_path, dataroot, changed(truth, change))
    assert low <= metrics["tp_errors"][error] <= high
    assert metrics["nds"] < 0.97
    others = {name: value for name, value in metrics["tp_errors"].items() if name != error}
    if error != "trans":  # a box that is shifted may be matched with a neighbour
        assert metrics["map"] == pytest.approx(1.0)
        assert max(others.values()) < 0.02
    else:
        assert metrics["map"] < 0.8
        assert metrics["ap_by_distance"]["car"]["0.5"] < metrics["ap_by_distance"]["car"]["1.0"]


def test_classes_without_annotations_count_as_not_found(
    dataroot: Path, truth: Frames, tmp_path: Path
) -> None:
    """An annotation without a velocity or attribute takes no part, a class without any annotation scores
    0."""
    root = shutil.copytree(dataroot, tmp_path / "world")
    shutil.rmtree(root / ".lidardistill", ignore_errors=True)
    path = root / VERSION / "sample_annotation.json"
    rows = json.loads(path.read_text())
    instances = json.loads((root / VERSION / "instance.json").read_text())
    categories = {r["token"]: r["name"] for r in json.loads((root / VERSION / "category.json").read_text())}
    name_of = {r["token"]: categories[r["category_token"]] for r in instances}
    rows = [r for r in rows if name_of[r["instance_token"]] in ("vehicle.car", "movable_object.trafficcone")]
    path.write_text(json.dumps(rows))
    index = NuScenesIndex.open(root, VERSION)
    table = BoxTable.open(index)
    frames = [(index.sample_token(row), exact(table.read(row), row)) for row in rows_of_split(index, SPLIT)]
    metrics = judged(tmp_path, root, frames)
    assert {name for name, count in metrics["num_annotations"].items() if count} == {"car", "traffic_cone"}
    assert metrics["map"] == pytest.approx(0.2)
    # orientation: nine classes, the cone has none; velocity and attribute: eight; one of them is right
    expected = {"trans": 0.8, "scale": 0.8, "orient": 8 / 9, "vel": 7 / 8, "attr": 7 / 8}
    assert metrics["tp_errors"] == pytest.approx(expected, abs=5e-3)


def test_nothing_is_printed(dataroot: Path, truth: Frames, tmp_path: Path, capfd: Any) -> None:
    judged(tmp_path, dataroot, truth)
    assert capfd.readouterr() == ("", "")


def test_boxes_come_back_from_the_global_frame(dataroot: Path, truth: Frames, tmp_path: Path) -> None:
    """The devkit's own chain brings each entry back to the box that was written, to 1e-9 m and rad."""
    from nuscenes import NuScenes
    from nuscenes.utils.data_classes import Box
    from pyquaternion import Quaternion

    path = write(tmp_path / "boxes.json", dataroot, truth)
    devkit = NuScenes(VERSION, str(dataroot), verbose=False)
    results = json.loads(path.read_text())["results"]
    for token, found in truth:
        lidar = devkit.get("sample_data", devkit.get("sample", token)["data"]["LIDAR_TOP"])
        frames = [
            devkit.get("ego_pose", lidar["ego_pose_token"]),
            devkit.get("calibrated_sensor", lidar["calibrated_sensor_token"]),
        ]
        order = np.argsort(-found.scores, kind="stable")
        assert len(results[token]) == len(order)
        for entry, i in zip(results[token], order, strict=True):
            box = Box(entry["translation"], entry["size"], Quaternion(entry["rotation"]))
            for frame in frames:
                box.translate(-np.array(frame["translation"]))
                box.rotate(Quaternion(frame["rotation"]).inverse)
            np.testing.assert_allclose(box.center, found.boxes[i, :3], atol=1e-9)
            np.testing.assert_allclose(box.wlh, found.boxes[i, [4, 3, 5]])
            yaw, pitch, roll = box.orientation.yaw_pitch_roll
            np.testing.assert_allclose([pitch, roll], 0, atol=1e-9)
            np.testing.assert_allclose(np.exp(1j * yaw), np.exp(1j * found.boxes[i, 6]), atol=1e-9)
            assert entry["detection_name"] == CLASSES[found.labels[i]]
            assert entry["detection_score"] == found.scores[i]
            attribute = found.attributes[i]
            assert entry["attribute_name"] == (ATTRIBUTES[attribute] if attribute >= 0 else "")


def test_the_best_500_boxes_are_written_and_attributes_are_guessed(
    dataroot: Path, truth: Frames, tmp_path: Path
) -> None:
    (token, found), *others = truth
    many = np.tile(found.boxes[:1], (700, 1))
    many[:, 7:] = 0, 9
    scores = np.random.default_rng(0).permutation(np.linspace(0, 1, 700))
    car = np.zeros(700, np.int64)
    path = write(
        tmp_path / "a" / "boxes.json", dataroot, [(token, FrameDetections(many, scores, car)), *others]
    )
    content = json.loads(path.read_text())
    written = content["results"][token]
    assert [entry["detection_score"] for entry in written] == sorted(scores, reverse=True)[:500]
    assert {entry["attribute_name"] for entry in written} == {"vehicle.moving"}
    assert content["meta"] == META
    fused = write(tmp_path / "fused.json", dataroot, truth, meta={"use_camera": True})
    assert json.loads(fused.read_text())["meta"] == {**META, "use_camera": True}


def spoiled(column: int, value: float) -> Callable[[FrameDetections], FrameDetections]:
    def change(found: FrameDetections) -> FrameDetections:
        boxes = found.boxes.copy()
        boxes[2, column] = value
        return found._replace(boxes=boxes)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoiled(0, np.nan), r"box 2 of \d+ holds NaN or infinity"),
        (spoiled(7, np.nan), "A velocity that is not known is 0 here"),
        (spoiled(4, 0.0), "widths and heights above 0, got 0.0"),
        (lambda found: found._replace(scores=found.scores * 3), r"scores in 0\.\.1, got .*logits"),
        (lambda found: found._replace(scores=found.scores * np.nan), r"scores in 0\.\.1"),
        (lambda found: found._replace(labels=found.labels + 5), r"places 0\.\.9 .* got 5\.\.14"),
        (lambda found: found._replace(boxes=found.boxes[:, :7]), r"boxes \(n, 9\), .* got \(\d+, 7\)"),
        (lambda found: found._replace(labels=found.labels[:-1]), r"labels \(n,\), got"),
        (lambda found: found._replace(attributes=found.attributes + 8), r"attributes \(\d+,\) in -1\.\.7"),
    ],
)
def test_an_invalid_detection_is_refused_and_named(
    dataroot: Path, truth: Frames, tmp_path: Path, change: Any, message: str
) -> None:
    first, (token, found), *others = truth
    with pytest.raises(ValueError, match=f"{token}: .*{message}"):
        write(tmp_path / "boxes.json", dataroot, [first, (token, change(found)), *others])
    assert list(tmp_path.iterdir()) == []


def test_missing_doubled_and_unknown_keyframes_are_refused(
    dataroot: Path, truth: Frames, tmp_path: Path
) -> None:
    path = write(tmp_path / "boxes.json", dataroot, truth)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"10 keyframes and 1 have no entry, such as {truth[3][0]}"):
        write(path, dataroot, truth[:3] + truth[4:])
    with pytest.raises(ValueError, match="predicted twice"):
        write(path, dataroot, [*truth, truth[0]])
    with pytest.raises(ValueError, match="is no keyframe of mini_val"):
        write(path, dataroot, [*truth, ("0" * 32, truth[0][1])])
    with pytest.raises(ValueError, match=r"unknown split 'mini_vall'.*'mini_val'"):
        write_detections(path, VERSION, "mini_vall", truth, dataroot=dataroot)
    with pytest.raises(ValueError, match="meta must hold"):
        write(path, dataroot, truth, meta={"use_sonar": True})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_detections_are_taken_one_at_a_time(dataroot: Path, truth: Frames, tmp_path: Path) -> None:
    def stream() -> Iterator[tuple[str, FrameDetections]]:
        yield from truth
        raise RuntimeError("the detector died")

    with pytest.raises(RuntimeError, match="died"):
        write(tmp_path / "boxes.json", dataroot, stream())
    assert list(tmp_path.iterdir()) == []


def drop(results: dict) -> None:
    results.pop(next(iter(results)))


def first_box(**fields: Any) -> Callable[[dict], None]:
    return lambda results: next(iter(results.values()))[0].update(fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, "1 of 10 keyframes have no entry"),
        (
            lambda results: results.update(stranger=[]),
            "1 entries are of no keyframe of the split, such as stranger",
        ),
        (first_box(translation=[1.0, 2.0]), r"expected 3 numbers as translation, got \[1\.0, 2\.0\]"),
        (first_box(rotation=[1.0, float("nan"), 0.0, 0.0]), "rotation holds NaN"),
        (first_box(size=[1.0, 0.0, 1.0]), "above 0"),
        (first_box(detection_name="tram"), "detection_name: expected one of car, .*got 'tram'"),
        (first_box(attribute_name="vehicle.flying"), "attribute_name: expected one of"),
        (first_box(detection_score=None), "detection_score: expected a number, got None"),
        (first_box(sample_token="x"), "says that it belongs to sample 'x'"),
        (lambda results: results.update({next(iter(results)): [{}] * 501}), "at most 500 boxes, got 501"),
    ],
)
def test_score_names_what_is_wrong_with_a_submission(
    dataroot: Path, truth: Frames, tmp_path: Path, change: Any, message: str
) -> None:
    path = write(tmp_path / "boxes.json", dataroot, truth)
    content = json.loads(path.read_text())
    change(content["results"])
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"boxes\.json.*{message}"):
        score_detections(dataroot, VERSION, SPLIT, path)


def test_files_that_are_no_submission(dataroot: Path, truth: Frames, tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    with pytest.raises(FileNotFoundError, match="no detections at"):
        score_detections(dataroot, VERSION, SPLIT, path)
    path.write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        score_detections(dataroot, VERSION, SPLIT, path)
    path.write_text('{"results": {}}')
    with pytest.raises(ValueError, match="expected an object with `meta` and `results`"):
        score_detections(dataroot, VERSION, SPLIT, path)


def test_a_split_with_absent_scenes_or_without_boxes_is_not_scored(
    dataroot: Path, truth: Frames, tmp_path: Path, tiny_world: Path
) -> None:
    with pytest.raises(ValueError, match="lacks 6 of them, such as"):
        score_detections(dataroot, VERSION, "mini_train", tmp_path / "boxes.json")
    index = NuScenesIndex.open(tiny_world, VERSION)
    empty = [(index.sample_token(row), nothing(truth[0][1])) for row in rows_of_split(index, SPLIT)]
    path = write(tmp_path / "boxes.json", tiny_world, empty)
    with pytest.raises(ValueError, match="no annotated box of the ten classes in mini_val"):
        score_detections(tiny_world, VERSION, SPLIT, path)


def test_a_split_the_devkit_does_not_know_is_told_to_it(
    dataroot: Path, truth: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "boxes.json", dataroot, changed(truth, lambda found: moved(found, 0, 0.4)))
    official = score_detections(dataroot, VERSION, SPLIT, path)
    monkeypatch.setattr(detection, "_known_to_devkit", lambda split: False)
    before = sorted(dataroot.rglob("*"))
    assert score_detections(dataroot, VERSION, SPLIT, path) == official
    assert sorted(dataroot.rglob("*")) == before


def test_without_the_devkit_the_extra_is_named(
    dataroot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "nuscenes"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nuscenes", None)
    with pytest.raises(ImportError, match=r"pip install nuscenes-devkit==1\.2\.0"):
        score_detections(dataroot, VERSION, SPLIT, tmp_path)
