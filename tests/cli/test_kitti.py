"""KITTI from the command line: doctor, pairs, superpixels, pretrain."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lidardistill.cli.main import app
from lidardistill.config.io import load_config
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.pretrain.run import pretrain
from tests.support.kitti_root import SIZE, write_kitti
from tests.support.tiny_configs import CONFIGS

TINY = (
    "data.augment.image_size=[40, 120]",
    "data.superpixels={num_superpixels: 12, sigma: 1.0}",
    "teacher={kind: color_histogram}",
    "schedule.warmup_steps=1",
    "trainer={max_steps: 4, accelerator: cpu, log_every: 1}",
)


@pytest.fixture
def root(tmp_path):
    return write_kitti(tmp_path / "kitti")


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def tiny(root: Path, *overrides: str) -> PretrainConfig:
    path = CONFIGS / "pretrain" / "demo_kitti.yaml"
    return load_config(PretrainConfig, path, (f"data.dataroot={root}", *TINY, *overrides))


def test_pairs_of_one_camera(root, tmp_path):
    out = tmp_path / "pairs.npz"
    words = ("--kind", "kitti", "--dataroot", root, "--sample", "000001", "--out", out)
    result = invoke("pairs", *words, "--picture", tmp_path / "pairs.png")
    assert result.exit_code == 0, result.output
    stored = np.load(out)
    assert stored["views"].tolist() == ["image_2"]
    assert len(stored["pairing_points"]) > 100
    assert (stored["pairing_images"][:, 1:] < SIZE).all()


def test_superpixels_then_pretrain(root, tmp_path):
    cache = tmp_path / "superpixels"
    words = ("--num-superpixels", 12, "--split", "training", "--workers", 0)
    result = invoke("superpixels", "--kind", "kitti", "--dataroot", root, "--out", cache, *words)
    assert result.exit_code == 0, result.output
    assert "3 computed" in result.output, result.output
    run = tmp_path / "run"
    assert pretrain(tiny(root), run, progress=False).exit_code == 0
    losses = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 4
    assert np.isfinite(losses).all()
    assert all(line["count/pairs"] > 100 for line in map(json.loads, (run / "metrics.jsonl").open()))
    assert (run / "backbone.safetensors").is_file()


def test_kitti_frames_have_no_partner(root, tmp_path):
    config = load_config(
        PretrainConfig,
        CONFIGS / "pretrain" / "demo_bevcontrast.yaml",
        (f"data={{kind: kitti, dataroot: {root}, split: all, batch_size: 1, num_workers: 0}}",),
    )
    with pytest.raises(ValueError, match="no scene of the split has two keyframes"):
        pretrain(config, tmp_path / "run", progress=False)


def test_doctor(root):
    result = invoke("doctor", "--kind", "kitti", "--dataroot", root)
    assert result.exit_code == 0, result.output
    assert "4 keyframes" in result.output


def test_options_that_kitti_does_not_have(root, tmp_path):
    for verb in ("pairs", "superpixels"):
        words = ("--sample", "000000") if verb == "pairs" else ()
        out = tmp_path / "x.npz"
        result = invoke(
            verb, "--kind", "kitti", "--dataroot", root, "--version", "v1.0-mini", "--out", out, *words
        )
        assert "has no versions" in str(result.exception)


@pytest.mark.slow
def test_the_real_frame_pretrains(kitti_one, tmp_path):
    run = tmp_path / "run"
    config = tiny(kitti_one, "data.augment.image_size=[96, 312]")
    assert pretrain(config, run, progress=False).exit_code == 0
    assert (run / "backbone.safetensors").is_file()
