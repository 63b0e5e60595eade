"""A run on corrupted scans: what is written, what mCE is against, and that nothing is left behind."""

from __future__ import annotations

import json

import pytest

from lidardistill.tasks.robustness.run import ROBUSTNESS_FILE, evaluate_corrupted
from lidardistill.tasks.segment.run import probe

pytest.importorskip("nuscenes", reason="scores come from nuscenes-devkit")

NAMES = ["crosstalk", "spoofing"]


@pytest.fixture(scope="module")
def probed(tiny_world, configs, tmp_path_factory):
    run = tmp_path_factory.mktemp("probed") / "run"
    return run, probe(configs["probe"](tiny_world), "random", run)


@pytest.fixture(scope="module")
def evaluated(probed, tmp_path_factory):
    out = tmp_path_factory.mktemp("robust") / "out"
    return out, evaluate_corrupted(probed[0], "mini_val", out, NAMES)


def test_what_is_written(probed, evaluated):
    out, result = evaluated
    assert result == json.loads((out / ROBUSTNESS_FILE).read_text())
    assert result["clean"] == probed[1]["miou"]
    assert list(result["accuracy"]) == NAMES
    assert all(
        len(values) == 3 and all(0 <= v <= 1 for v in values) for values in result["accuracy"].values()
    )
    assert list(result["attack_success"]) == ["spoofing"]
    assert len(result["attack_success"]["spoofing"]) == 3
    assert list(result["rr"]) == ["crosstalk"]  # an attack takes no part in the means
    assert result["mrr"] == result["rr"]["crosstalk"]
    assert "mce" not in result
    assert "nuscenes-devkit" in result["evaluator"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]  # no corrupted root is left


def test_a_run_against_itself(probed, evaluated, tmp_path):
    seen = []
    result = evaluate_corrupted(
        probed[0],
        "mini_val",
        tmp_path / "out",
        ["crosstalk"],
        baseline=evaluated[0],
        on_score=lambda *line: seen.append(line),
    )
    assert result["accuracy"]["crosstalk"] == evaluated[1]["accuracy"]["crosstalk"]
    assert result["mce"] == 1.0
    assert [(name, severity) for name, severity, _ in seen] == [("crosstalk", s) for s in (1, 2, 3)]


def test_a_baseline_that_is_a_run_is_evaluated_too(probed, tmp_path):
    result = evaluate_corrupted(probed[0], "mini_val", tmp_path / "out", ["motion-blur"], baseline=probed[0])
    assert result["mce"] == 1.0
    assert (tmp_path / "out" / "baseline" / ROBUSTNESS_FILE).is_file()


def test_what_cannot_be_compared(probed, evaluated, tmp_path):
    run, out = probed[0], tmp_path / "out"
    with pytest.raises(ValueError, match=r"was evaluated with seed 0 and not 1"):
        evaluate_corrupted(run, "mini_val", out, ["crosstalk"], seed=1, baseline=evaluated[0])
    with pytest.raises(ValueError, match=r"--baseline .* was not evaluated on fog"):
        evaluate_corrupted(run, "mini_val", out, ["fog"], baseline=evaluated[0])
    with pytest.raises(ValueError, match="got hail"):
        evaluate_corrupted(run, "mini_val", out, ["hail"])
