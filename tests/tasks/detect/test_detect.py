"""Detection end to end on a world of seconds: runs, resuming, weights, and what the evaluator is given."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
import torch

from lidardistill.datasets.nuscenes.labels.boxes import BoxTable
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.engine.signals import Interrupted
from lidardistill.exchange.of_run import BACKBONE_FILE
from lidardistill.tasks.detect import run as verb
from lidardistill.tasks.detect.batches import still_keyframes, training_keyframes
from lidardistill.tasks.detect.build import build_detector, load_detector, parameter_groups
from lidardistill.tasks.detect.run import detect, evaluate_detector, evaluate_submission, submission_path
from lidardistill.tasks.rows import labelled_keyframes
from lidardistill.weights import load_checkpoint_tensors, save_backbone
from tests.support.tiny_configs import tiny_detect as config_of

pytest.importorskip("nuscenes", reason="scores come from nuscenes-devkit")

VERSION = "v1.0-mini"


@pytest.fixture(scope="module")
def trained(detection_world, tmp_path_factory):
    run = tmp_path_factory.mktemp("trained") / "run"
    return run, detect(config_of(detection_world), "random", run, progress=False)


def losses(run):
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_detections_scores_and_weights(trained, detection_world):
    run, metrics = trained
    assert metrics == json.loads((run / "metrics.json").read_text())
    assert 0 <= metrics["nds"] <= 1
    assert "nuscenes-devkit" in metrics["evaluator"]
    assert metrics["split"] == "mini_val"
    submission = json.loads(submission_path(run, "mini_val").read_text())
    index = NuScenesIndex.open(detection_world, VERSION)
    rows = index.rows_of_scenes(["scene-0103", "scene-0916"])
    assert set(submission["results"]) == {index.sample_token(row) for row in rows.tolist()}
    assert submission["meta"]["use_camera"] is False
    assert load_checkpoint_tensors(run / "model.safetensors")
    assert all(np.isfinite(losses(run)))


def test_a_finished_run_is_read_not_repeated(trained, detection_world, monkeypatch):
    run, metrics = trained
    monkeypatch.setattr(verb, "build_detector", lambda config: pytest.fail("it started again"))
    assert detect(config_of(detection_world), "random", run) == metrics
    with pytest.raises(ValueError, match=r"holds another run; it differs in weights: random -> x"):
        detect(config_of(detection_world), "x", run)


def test_killed_and_continued_is_as_not_killed(trained, detection_world, tmp_path, monkeypatch):
    real, calls = verb.detection_terms, 0

    def terms(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **options)

    run, config = tmp_path / "run", config_of(detection_world)
    with monkeypatch.context() as patch:
        patch.setattr(verb, "detection_terms", terms)
        with pytest.raises(Interrupted, match=r"stopped at step 2; the same command continues it"):
            detect(config, "random", run, progress=False)
    assert not (run / "metrics.json").exists()
    assert detect(config, "random", run, progress=False) == trained[1]
    assert losses(run) == losses(trained[0])
    outcomes = [part["outcome"] for part in json.loads((run / "manifest.json").read_text())["sessions"]]
    assert outcomes == ["interrupted", "finished"]


def test_training_lowers_the_loss(detection_world, tmp_path):
    config = config_of(
        detection_world,
        "trainer={max_steps: 12, accelerator: cpu, log_every: 1}",
        "data.augment={rotate_max_deg: 0, flip_x: false, flip_y: false, scale: [1, 1], shift_std_m: 0}",
        "optimizer.lr=0.003",
    )
    detect(config, "random", tmp_path / "run", progress=False)
    found = losses(tmp_path / "run")
    assert np.mean(found[-3:]) < 0.75 * np.mean(found[:3])


def test_pretrained_weights_fill_the_backbone_and_nothing_else(detection_world, tmp_path):
    config = config_of(detection_world, "seed=1")
    given = build_detector(config_of(detection_world, "seed=2")).backbone.state_dict()
    (tmp_path / "pretrained").mkdir()
    save_backbone(tmp_path / "pretrained" / BACKBONE_FILE, given, {})
    fresh, filled = build_detector(config), build_detector(config)
    verb.load_pretrained(filled, str(tmp_path / "pretrained"))
    assert all(torch.equal(value, given[name]) for name, value in filled.backbone.state_dict().items())
    assert all(
        torch.equal(a, b) for a, b in zip(fresh.head.parameters(), filled.head.parameters(), strict=True)
    )
    with pytest.raises(FileNotFoundError, match=r"--weights .*nowhere: expected a run folder"):
        verb.load_pretrained(filled, str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="--camera-weights x: this config has no `camera`"):
        verb.load_pretrained(filled, "random", "x")


def test_learning_rate_of_the_backbone(detection_world):
    config = config_of(detection_world, "lr_backbone=0.1", "optimizer.lr=0.01")
    detector = build_detector(config)
    new, pretrained = parameter_groups(detector, config)
    assert (new["lr"], pretrained["lr"]) == pytest.approx((0.01, 0.001))
    assert len(new["params"]) + len(pretrained["params"]) == len(list(detector.parameters()))
    assert {id(p) for p in pretrained["params"]} == {id(p) for p in detector.backbone.parameters()}


def test_a_share_of_the_labels(detection_world):
    index = NuScenesIndex.open(detection_world, VERSION)
    every = labelled_keyframes(config_of(detection_world).data, index)
    half = labelled_keyframes(config_of(detection_world, "data.label_percent=50").data, index)
    few = labelled_keyframes(config_of(detection_world, "data.label_percent=5").data, index)
    assert (len(every), len(half), len(few)) == (10, 5, 5)  # of two scenes there is no twentieth
    assert half.tolist() == few.tolist() == every[5:].tolist()
    config = config_of(
        detection_world, "data.label_percent=50", "data.gt_sampling={}", "data.class_balanced=true"
    )
    dataset = training_keyframes(config, index)
    assert set(dataset.rows.tolist()) <= set(half.tolist())
    assert len(dataset.rows) > len(half)
    assert dataset.recipe.gt_sampler is not None
    assert set(dataset.recipe.gt_sampler.database.rows.tolist()) <= set(half.tolist())


def test_no_boxes_to_learn_from(detection_world, monkeypatch):
    monkeypatch.setattr(
        BoxTable, "classes_present", lambda self, rows, min_points: np.zeros((len(rows), 10), bool)
    )
    index = NuScenesIndex.open(detection_world, VERSION)
    with pytest.raises(ValueError, match=r"none of the 10 labelled keyframes of mini_train has a box"):
        training_keyframes(config_of(detection_world), index)


def test_prediction_reads_no_boxes(trained, detection_world, monkeypatch):
    monkeypatch.setattr(BoxTable, "open", lambda *_, **__: pytest.fail("boxes were opened"))
    config = config_of(detection_world)
    index = NuScenesIndex.open(detection_world, VERSION)
    batches = list(still_keyframes(config, index, np.arange(3), torch.device("cpu")))
    assert sum(batch.batch_size for batch in batches) == 3
    assert all(len(boxes) == 0 for batch in batches for boxes in batch.boxes)


def test_evaluate_again_and_a_submission_alone(trained, detection_world, tmp_path):
    run, metrics = trained
    again = evaluate_detector(run, "mini_val", tmp_path / "again")
    assert again == metrics
    alone = evaluate_submission(
        submission_path(run, "mini_val"), detection_world, VERSION, "mini_val", tmp_path / "alone"
    )
    assert alone == metrics == json.loads((tmp_path / "alone" / "metrics.json").read_text())
    with pytest.raises(ValueError, match="holds a run: name another --out"):
        evaluate_submission(submission_path(run, "mini_val"), detection_world, VERSION, "mini_val", run)
    with pytest.raises(FileNotFoundError, match="is no run folder"):
        evaluate_detector(tmp_path, "mini_val", tmp_path / "other")


def test_an_unfinished_run_has_no_detector(trained, detection_world, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no model\.safetensors: expected a finished run"):
        load_detector(config_of(detection_world), tmp_path)


def test_fusion_with_cameras(detection_world, tmp_path):
    config = config_of(detection_world, name="demo_fusion")
    given = config.camera.build().state_dict()
    save_backbone(tmp_path / "camera.safetensors", given, {})
    run = tmp_path / "run"
    metrics = detect(
        config, "random", run, camera_weights=str(tmp_path / "camera.safetensors"), progress=False
    )
    assert metrics["meta"]["use_camera"] is True
    trained_camera = load_detector(config, run).camera.state_dict()
    assert trained_camera.keys() == given.keys()
    moved = [name for name in given if not torch.equal(trained_camera[name], given[name])]
    assert len(moved) > 0.9 * len(given)
    assert evaluate_detector(run, "mini_val", tmp_path / "again") == metrics
    with pytest.raises(ValueError, match=r"--camera-weights .*is the whole model of a probe"):
        verb.load_pretrained(build_detector(config), "random", str(run / "model.safetensors"))


@pytest.mark.parametrize("student", ["pillars_mini"])
def test_pillars(detection_world, tmp_path, student):
    config = config_of(
        detection_world,
        f"student.preset={student}",
        "voxels.voxel_size=[0.4, 0.4, 12.8]",
        "data.sweeps=2",
        "voxels.point_features=[x, y, z, intensity, time_lag]",
        "trainer={max_steps: 1, accelerator: cpu}",
    )
    assert detect(config, "random", tmp_path / "run", progress=False)["num_keyframes"] == 10


def test_a_batch_that_cannot_be_shared_out(detection_world, tmp_path):
    config = config_of(detection_world, "trainer={max_steps: 1, accelerator: cpu, accumulate: 4}")
    with pytest.raises(
        ValueError, match=r"data\.batch_size: 2 keyframes a step cannot be shared out evenly over 1 proc"
    ):
        detect(config, "random", tmp_path / "run", progress=False)


def test_calibration_changes_statistics_and_no_weight(trained, detection_world, tmp_path):
    config = config_of(detection_world, "calibration_keyframes=0")
    detect(config, "random", tmp_path / "run", progress=False)
    plain, calibrated = (
        load_checkpoint_tensors(run / "model.safetensors") for run in (tmp_path / "run", trained[0])
    )
    assert plain.keys() == calibrated.keys()
    differing = {name.rpartition(".")[2] for name in plain if not torch.equal(plain[name], calibrated[name])}
    assert differing == {"running_mean", "running_var", "num_batches_tracked"}
