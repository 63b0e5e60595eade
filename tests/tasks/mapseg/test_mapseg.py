"""Map segmentation end to end on a world of seconds: a run, its continuation, its weights and its picture."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from lidardistill.cli.main import app
from lidardistill.config.io import load_config
from lidardistill.datasets.nuscenes.labels.map_masks import CLASSES
from lidardistill.engine.signals import Interrupted
from lidardistill.report.draw.map_masks import maps_picture
from lidardistill.tasks.mapseg import run as verb
from lidardistill.tasks.mapseg.config import MapSegConfig
from lidardistill.tasks.mapseg.run import SHOWN_FILE, build_segmenter, evaluate_maps, mapseg
from lidardistill.tasks.runs import load_model
from lidardistill.weights import load_checkpoint_tensors, save_backbone

pytest.importorskip("shapely", reason="maps are read with shapely")

DEMO = Path(__file__).resolve().parents[3] / "configs" / "mapseg" / "demo.yaml"
SMALL = (
    "maps.bev_range=[-24, -24, 24, 24]",
    "voxels.voxel_size=[0.4, 0.4, 0.4]",
    "voxels.point_cloud_range=[-25.6, -25.6, -6.4, 25.6, 25.6, 6.4]",
    "calibration_keyframes=2",
    "trainer={max_steps: 3, accelerator: cpu, checkpoint_every: 1, log_every: 1}",
)


def config_of(root, *overrides) -> MapSegConfig:
    return load_config(MapSegConfig, DEMO, (f"data.dataroot={root}", *SMALL, *overrides))


@pytest.fixture(scope="module")
def trained(tiny_world, tmp_path_factory):
    run = tmp_path_factory.mktemp("trained") / "run"
    return run, mapseg(config_of(tiny_world), "random", run, progress=False)


def losses(run):
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_metrics_and_picture(trained):
    run, metrics = trained
    assert metrics == json.loads((run / "metrics.json").read_text())
    assert list(metrics["iou"]) == list(CLASSES)
    assert 0 <= metrics["miou"] <= 1
    assert metrics["num_keyframes"] == 4
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["loss"] == pytest.approx(sum(lines[0][f"loss/{name}"] for name in CLASSES), rel=1e-5)
    with np.load(run / SHOWN_FILE) as shown:
        assert shown["masks"].shape == shown["probabilities"].shape == (4, 6, 48, 48)
        assert len(set(shown["sample_tokens"])) == 4
    picture = maps_picture(run / SHOWN_FILE, metrics["threshold"])
    assert picture.shape[2] == 3
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 5


def test_a_finished_run_is_read_and_scored_again(trained, tiny_world, tmp_path, monkeypatch):
    run, metrics = trained
    assert evaluate_maps(run, "mini_val", tmp_path / "again") == metrics
    with pytest.raises(ValueError, match="holds another run"):
        evaluate_maps(run, "mini_val", shutil.copytree(run, tmp_path / "copy"))
    monkeypatch.setattr(verb, "build_segmenter", lambda config: pytest.fail("it started again"))
    assert mapseg(config_of(tiny_world), "random", run) == metrics


def test_the_same_command_gives_the_same_run_and_continues_a_stopped_one(
    trained, tiny_world, tmp_path, monkeypatch
):
    real, calls = verb.map_terms, 0

    def terms(*arguments):
        nonlocal calls
        calls += 1
        if calls == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments)

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(verb, "map_terms", terms)
        with pytest.raises(Interrupted):
            mapseg(config_of(tiny_world), "random", run, progress=False)
    assert not (run / "metrics.json").exists()
    assert mapseg(config_of(tiny_world), "random", run, progress=False) == trained[1]
    assert losses(run) == losses(trained[0])


def test_pretrained_weights_are_those_that_train(tiny_world, tmp_path):
    config = config_of(tiny_world, "seed=5")
    save_backbone(tmp_path / "backbone.safetensors", build_segmenter(config).backbone.state_dict(), {})
    other = config_of(tiny_world, "lr_backbone=1.0e-12", "optimizer.weight_decay=0.0")
    mapseg(other, str(tmp_path / "backbone.safetensors"), tmp_path / "run", progress=False)
    given = load_checkpoint_tensors(tmp_path / "backbone.safetensors")
    kept = load_checkpoint_tensors(tmp_path / "run" / "model.safetensors")
    weights = [name for name in given if "running" not in name and "num_batches" not in name]
    for name in weights:
        torch.testing.assert_close(kept[f"backbone.{name}"], given[name], rtol=1e-4, atol=1e-6)
    first = build_segmenter(other).head.state_dict()
    assert any(
        not torch.equal(kept[f"head.{name}"], value) for name, value in first.items() if "weight" in name
    )


def test_training_lowers_the_loss(tiny_world, tmp_path):
    more = "trainer={max_steps: 30, accelerator: cpu, log_every: 1}"
    mapseg(config_of(tiny_world, more, "calibration_keyframes=0"), "random", tmp_path / "run", progress=False)
    seen = losses(tmp_path / "run")
    assert np.mean(seen[-5:]) < 0.6 * np.mean(seen[:3])


def test_batchnorm_is_measured_anew(trained, tiny_world, tmp_path):
    """Three steps leave the running statistics near their start; the calibration does not."""
    run, _ = trained
    mapseg(config_of(tiny_world, "calibration_keyframes=0"), "random", tmp_path / "run", progress=False)
    measured, running = (
        load_model(build_segmenter(config_of(tiny_world)), r) for r in (run, tmp_path / "run")
    )
    first, second = (m.head.classifier[1].running_var for m in (measured, running))
    assert not torch.allclose(first, second, rtol=0.05)


def test_a_world_without_a_map(tiny_world, tmp_path):
    root = shutil.copytree(tiny_world, tmp_path / "world")
    shutil.rmtree(root / "maps" / "expansion")
    with pytest.raises(FileNotFoundError, match=r"map expansion .* is missing"):
        mapseg(config_of(root), "random", tmp_path / "run", progress=False)
    with pytest.raises(FileNotFoundError, match=r"expected a finished run"):
        load_model(build_segmenter(config_of(root)), tmp_path)


def test_the_verbs(tiny_world, trained, tmp_path):
    words = [
        "mapseg",
        DEMO,
        f"data.dataroot={tiny_world}",
        *SMALL,
        "--weights",
        "random",
        "--out",
        tmp_path / "run",
    ]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert "drivable_area" in result.output
    assert "mIoU" in result.output
    assert (tmp_path / "run" / "maps.png").stat().st_size > 10_000
    words = [
        "evaluate",
        "--task",
        "map",
        "--run",
        trained[0],
        "--split",
        "mini_val",
        "--out",
        tmp_path / "out",
    ]
    again = CliRunner().invoke(app, [str(word) for word in words])
    assert again.exit_code == 0, again.output
    assert "BEVFusion's protocol, 4 keyframes" in again.output
