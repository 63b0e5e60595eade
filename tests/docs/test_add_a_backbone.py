"""The worked example of docs/add_a_backbone.md runs: two steps of pretraining, then a probe."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path

import pytest

from tests.support.pages import ROOT, commands, overlay, run

PAGE = ROOT / "docs" / "add_a_backbone.md"
TINY = {
    "pretrain": (
        "data.superpixels={num_superpixels: 12, sigma: 1.0}",
        "data.augment.image_size=[45, 80]",
        "teacher={kind: color_histogram}",
        "teacher_cache=null",
        "schedule.warmup_steps=1",
        "trainer={max_steps: 2, accelerator: cpu, checkpoint_every: 2, log_every: 1}",
    ),
    "probe": ("probe.epochs=1", "probe.calibration_keyframes=2"),
}


@pytest.mark.slow
def test_the_example_runs(tiny_world: Path, tmp_path: Path) -> None:
    site = overlay(tmp_path, PAGE)
    for line in commands(PAGE):
        verb, *words = shlex.split(line)[1:]
        run(site, verb, *words, f"data.dataroot={tiny_world}", *TINY[verb])
    losses = [json.loads(line)["loss"] for line in (site / "runs/mlp/metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))
    assert 0 <= json.loads((site / "runs/mlp_probe/metrics.json").read_text())["miou"] <= 1
