"""`bench step`: the GPU's cases, run where there is none, and the table that tools/gpu_check.sh ends with."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from lidardistill.bench import step as bench_step
from lidardistill.cli.main import app

TABLE = Path(__file__).resolve().parents[2] / "tools" / "gpu_table.py"


@pytest.fixture
def quick(monkeypatch, tiny_world):
    monkeypatch.setattr(bench_step, "WARM_UP", 0)
    monkeypatch.setattr(bench_step, "TINY", (16, 32))


def test_the_gpu_steps_rehearsed(quick, tiny_world, tmp_path):
    out = tmp_path / "step.json"
    words = ["bench", "step", "--rehearse", "--rounds", "5", "--batch-size", "1,2", "--precision", "bf16"]
    result = CliRunner().invoke(app, [*words, "--dataroot", str(tiny_world), "--out", str(out)])
    assert result.exit_code == 0, result.output
    figures = json.loads(out.read_text())["figures"]
    assert list(figures["slidr"]) == ["batch 1, bf16", "batch 2, bf16"]
    two = figures["slidr"]["batch 2, bf16"]
    assert two["keyframes_per_s"] == pytest.approx(2000 / two["median_ms"], abs=0.01)
    assert two["parts"]["student_forward"]["median_ms"] > 0
    said = subprocess.run([sys.executable, TABLE, out], capture_output=True, text=True, check=True).stdout
    assert [line.split(",")[0] for line in said.splitlines()[1:]] == ["batch 1", "batch 2"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_cases_are_not_run(quick, tiny_world, monkeypatch):
    demo = bench_step._demo
    monkeypatch.setattr(bench_step, "_demo", lambda *a, **o: demo(*a, **{**o, "image_size": (16, 32)}))
    found = bench_step.run(1, tiny_world)
    assert found["slidr"] == dict.fromkeys(
        ("batch 4, fp32", "batch 4, bf16", "batch 16, fp32", "batch 16, bf16"), "not run: no GPU"
    )


def test_the_table_names_what_was_not_run():
    spec = importlib.util.spec_from_file_location("gpu_table", TABLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    part = {"median_ms": 1.25, "iqr_ms": 0.1}
    ran = {**part, "parts": dict.fromkeys(module.COLUMNS, part), "keyframes_per_s": 3.5, "peak_mib": 7}
    record = {"figures": {"slidr": {"batch 4, fp32": ran, "batch 16, bf16": "not run: no GPU"}}}
    lines = [" ".join(line.split()) for line in module.lines(record)]
    assert lines[1] == "batch 4, fp32 1.2 0.1 1.2 1.2 1.2 1.2 1.2 3.50 7"
    assert lines[2] == "batch 16, bf16 not run: no GPU"
    assert module.COLUMNS == bench_step.PARTS


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--batch-size", "4,x"], "--batch-size 4,x"), (["--precision", "fp64"], "--precision fp64")],
)
def test_a_wrong_case_is_named(words, message, tmp_path):
    result = CliRunner().invoke(app, ["bench", "step", "--out", str(tmp_path / "b.json"), *words])
    assert message in str(result.exception)
