"""The worked example of docs/add_a_method.md runs, and its losses are those of the package's PPKT."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path

import pytest

from tests.support.pages import PACKAGE, ROOT, commands, overlay, run

PAGE = ROOT / "docs" / "add_a_method.md"
TINY = (
    "data.augment.image_size=[45, 80]",
    "teacher={kind: color_histogram}",
    "schedule.warmup_steps=1",
    "trainer={max_steps: 2, accelerator: cpu, checkpoint_every: 2, log_every: 1}",
)


def losses(run_dir: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_example_runs(tiny_world: Path, tmp_path: Path) -> None:
    site = overlay(tmp_path, PAGE)
    (line,) = commands(PAGE)
    verb, *words = shlex.split(line)[1:]
    run(site, verb, *words, f"data.dataroot={tiny_world}", *TINY)
    found = losses(site / "runs/my_ppkt")
    assert len(found) == 2
    assert all(map(math.isfinite, found))
    if (PACKAGE / "methods" / "ppkt").is_dir():
        words = [word.replace("my_ppkt", "ppkt") for word in words]
        run(site, verb, *words, f"data.dataroot={tiny_world}", *TINY)
        assert found == pytest.approx(losses(site / "runs/ppkt"), rel=1e-4)
