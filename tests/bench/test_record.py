"""Figures are written with all that they depend on."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from lidardistill.bench.harness.record import measure_and_write, summary_lines

FIGURES = {
    "product": {"median_ms": np.float64(2.0), "iqr_ms": 0.5},
    "baseline": {"median_ms": 50.0, "iqr_ms": 1.0, "name": "the old way"},
    "ratio": 25.0,
    "quality": {"equal": np.bool_(True), "pairs": np.int64(7)},
    "input": {"path": Path("somewhere")},
    "gpu": {"batch 4": "not run: no GPU"},
}


@pytest.fixture
def fake(monkeypatch):
    """A benchmark without a data set, and what it was called with."""
    called = []

    def run(rounds=7):
        called.append(rounds)
        return FIGURES

    module = types.ModuleType("lidardistill.bench.fake")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return called


def test_the_record(fake, tmp_path, capsys):
    measure_and_write("fake", tmp_path / "out" / "b.json", rounds=5, dataroot=tmp_path)
    record = json.loads((tmp_path / "out" / "b.json").read_text())
    assert fake == [5]
    assert record.keys() >= {"bench", "date", "git", "machine", "versions", "threads", "figures"}
    assert record["figures"]["quality"] == {"equal": True, "pairs": 7}
    assert record["figures"]["input"]["path"] == "somewhere"
    assert record["machine"]["cores"] >= 1
    assert record["versions"]["torch"]
    said = capsys.readouterr().out
    assert "--dataroot is not used" in said
    assert str(tmp_path / "out" / "b.json") in said


def test_the_lines():
    lines = list(summary_lines(FIGURES))
    assert [" ".join(line.split()) for line in lines] == [
        "product 2.000 ms IQR 0.500 ms",
        "baseline 50.000 ms IQR 1.000 ms",
        "gpu.batch 4: not run: no GPU",
        "ratio 25.00 against the old way",
        "quality: equal True, pairs 7",
    ]
    assert list(summary_lines({"a": {"median": 1.0}}))[-1] == "no ratio: no baseline"


def test_a_dataroot_that_is_none(fake, tmp_path):
    with pytest.raises(ValueError, match=r"nowhere: expected a nuScenes root"):
        measure_and_write("fake", tmp_path / "b.json", rounds=5, dataroot=tmp_path / "nowhere")
    assert fake == []
