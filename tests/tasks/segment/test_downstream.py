"""Probe, fine-tuning, evaluation and export on a world of seconds."""

from __future__ import annotations

import json
import os
import shutil
import signal

import numpy as np
import pytest
import torch

from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.engine.signals import EXIT_INTERRUPTED, Interrupted
from lidardistill.exchange.of_run import load_student
from lidardistill.export.run import export_backbone
from lidardistill.tasks.segment import run as downstream
from lidardistill.tasks.segment.run import evaluate, finetune, probe
from lidardistill.weights import load_checkpoint_tensors

pytest.importorskip("nuscenes", reason="scores come from nuscenes-devkit")

VERSION = "v1.0-mini"
POINTS = 4 * 600  # both validation scenes, two keyframes each


@pytest.fixture(scope="module")
def probed(tiny_world, pretrained, configs, tmp_path_factory):
    run = tmp_path_factory.mktemp("probed") / "run"
    return run, probe(configs["probe"](tiny_world), str(pretrained), run)


@pytest.fixture(scope="module")
def finetuned(tiny_world, pretrained, configs, tmp_path_factory):
    run = tmp_path_factory.mktemp("finetuned") / "run"
    return run, finetune(configs["finetune"](tiny_world), str(pretrained), run)


@pytest.mark.parametrize("how", ["probed", "finetuned"])
def test_metrics_and_predictions(how, tiny_world, request):
    run, metrics = request.getfixturevalue(how)
    assert metrics == json.loads((run / "metrics.json").read_text())
    assert 0 <= metrics["miou"] <= 1
    assert len(metrics["iou"]) == 16
    assert "nuscenes-devkit" in metrics["evaluator"]
    assert metrics["num_points"] == POINTS
    files = sorted(run.rglob("*_lidarseg.bin"))
    index = NuScenesIndex.open(tiny_world, VERSION)
    rows = index.rows_of_scenes(["scene-0103", "scene-0916"])
    assert [file.name for file in files] == sorted(
        f"{index.lidar_token(row)}_lidarseg.bin" for row in rows.tolist()
    )
    for file in files:
        predicted = np.fromfile(file, dtype=np.uint8)
        assert len(predicted) == 600
        assert predicted.min() >= 1
        assert predicted.max() <= 16


def test_a_finished_probe_is_read_not_repeated(probed, tiny_world, pretrained, configs, monkeypatch):
    run, metrics = probed
    monkeypatch.setattr(downstream, "open_source", lambda config: pytest.fail("it started again"))
    assert probe(configs["probe"](tiny_world), str(pretrained), run) == metrics
    with pytest.raises(ValueError, match=r"another run; it differs in weights: .* -> random"):
        probe(configs["probe"](tiny_world), "random", run)


def test_the_frozen_backbone_is_the_pretrained_one(probed, finetuned, pretrained):
    given = load_checkpoint_tensors(pretrained / "backbone.safetensors")
    kept, tuned = (load_checkpoint_tensors(run / "model.safetensors") for run, _ in (probed, finetuned))
    weights = [name for name in given if "running" not in name and "num_batches" not in name]
    assert all(torch.equal(kept[f"backbone.{name}"], given[name]) for name in weights)
    assert not any(
        torch.equal(tuned[f"backbone.{name}"], given[name]) for name in weights if name.endswith("weight")
    )


def test_random_weights_follow_from_the_seed(tiny_world, configs):
    config = configs["probe"](tiny_world)
    first, again, other = (
        downstream.seeded_student(config.student, config.voxels, seed) for seed in (0, 0, 1)
    )
    parameters = [dict(model.named_parameters()) for model in (first, again, other)]
    assert all(torch.equal(parameters[0][name], parameters[1][name]) for name in parameters[0])
    assert not all(torch.equal(parameters[0][name], parameters[2][name]) for name in parameters[0])


def test_weights_of_another_architecture(tiny_world, pretrained, configs, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(
        ValueError, match=r"--weights .*backbone\.safetensors: .*155 mismatched.*Its card says student"
    ):
        probe(configs["probe"](tiny_world, "student.preset=minkunet14"), str(pretrained), run)
    assert sorted(path.name for path in run.iterdir()) == ["config.yaml"]


def test_a_probe_on_other_voxels_than_those_of_pretraining_is_refused(
    tiny_world, pretrained, configs, tmp_path
):
    config = configs["probe"](tiny_world, "voxels.intensity_scale=1.0", "voxels.voxel_size=[0.4, 0.4, 0.4]")
    card = json.loads((pretrained / "backbone.json").read_text())["voxels"]
    with pytest.raises(ValueError, match=r"--weights .* were pretrained with other voxels") as refused:
        probe(config, str(pretrained), tmp_path / "run")
    for key in ("voxel_size", "intensity_scale"):
        assert f"'voxels.{key}={json.dumps(card[key])}'" in str(refused.value)


@pytest.mark.parametrize(
    ("weights", "message"),
    [("nowhere", r"--weights .*nowhere: expected a run folder, a weights file"), ("", r"has not finished")],
)
def test_weights_that_are_not_there(tiny_world, configs, tmp_path, weights, message):
    with pytest.raises(FileNotFoundError, match=message):
        probe(configs["probe"](tiny_world), str(tmp_path / weights), tmp_path / "run")


def test_evaluate_scores_another_split_elsewhere(probed, tmp_path):
    run, metrics = probed
    again = evaluate(run, "mini_val", tmp_path / "again")
    assert again == metrics
    with pytest.raises(ValueError, match=r"unknown split 'mini_vall'.*'mini_val'"):
        evaluate(run, "mini_vall", tmp_path / "other")


def test_predictions_for_a_split_without_labels_are_written_and_not_scored(probed, tiny_world, tmp_path):
    """nuScenes keeps the labels of its test split back; its tables lie in v1.0-test."""
    run, _ = probed
    root = tmp_path / "root"
    shutil.copytree(tiny_world, root, ignore=shutil.ignore_patterns(".lidardistill"))
    tables = (root / "v1.0-mini").rename(root / "v1.0-test")
    scenes = json.loads((tables / "scene.json").read_text())
    scenes[0]["name"] = "scene-0077"
    (tables / "scene.json").write_text(json.dumps(scenes))
    for name in ("lidarseg", "sample_annotation", "instance"):
        (tables / f"{name}.json").write_text("[]")
    out = tmp_path / "out"
    assert evaluate(run, "test", out, dataroot=root, version="v1.0-test") == {}
    assert len(list((out / "lidarseg" / "test").glob("*_lidarseg.bin"))) == 2
    assert not (out / "metrics.json").exists()


def test_evaluate_of_a_run_that_names_no_classes(pretrained, probed, tmp_path):
    with pytest.raises(ValueError, match=r"is a pretrain run and names no classes: expected .*probe"):
        evaluate(pretrained, "mini_val", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match=r"holds another run: name another --out"):
        evaluate(probed[0], "mini_val", pretrained)
    with pytest.raises(FileNotFoundError, match=r"is no run folder"):
        evaluate(tmp_path, "mini_val", tmp_path / "out")


def test_a_stopped_finetuning_is_not_judged_and_goes_on(
    finetuned, tiny_world, pretrained, configs, tmp_path, monkeypatch
):
    real, calls = downstream.classification_terms, 0

    def terms(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **options)

    run, config = tmp_path / "run", configs["finetune"](tiny_world)
    with monkeypatch.context() as patch:
        patch.setattr(downstream, "classification_terms", terms)
        with pytest.raises(Interrupted, match=r"stopped at step 2; the same command continues it") as stopped:
            finetune(config, str(pretrained), run)
    assert stopped.value.exit_code == EXIT_INTERRUPTED
    assert not (run / "metrics.json").exists()
    assert finetune(config, str(pretrained), run) == finetuned[1]
    outcomes = [part["outcome"] for part in json.loads((run / "manifest.json").read_text())["sessions"]]
    assert outcomes == ["interrupted", "finished"]


def test_the_online_probe_trains_the_head_alone(tiny_world, pretrained, configs, tmp_path):
    config = configs["probe"](tiny_world, "probe={kind: online, epochs: 1}")
    metrics = probe(config, str(pretrained), tmp_path / "run")
    assert metrics["num_points"] == POINTS
    given = load_checkpoint_tensors(pretrained / "backbone.safetensors")
    kept = load_checkpoint_tensors(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(kept[f"backbone.{name}"], given[name]) for name in given)


def test_export_is_the_backbone_and_loads_back(pretrained, configs, tiny_world, tmp_path):
    card = export_backbone(pretrained, tmp_path / "student.safetensors")
    assert json.loads(card.read_text())["student"]["preset"] == "mini"
    given = load_checkpoint_tensors(pretrained / "backbone.safetensors")
    config = configs["probe"](tiny_world)
    student = config.student.build(config.voxels)
    load_student(student, str(tmp_path / "student.safetensors"))
    state = student.state_dict()
    assert state.keys() == given.keys()
    assert all(torch.equal(state[name], given[name]) for name in given)


def test_export_of_something_else(probed, pretrained, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a finished `lidardistill pretrain` run"):
        export_backbone(probed[0], tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"ends in \.safetensors"):
        export_backbone(pretrained, tmp_path / "x.pt")
