"""The gate says where two records differ, and reads what runs leave behind without loss."""

import copy
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

GATE = Path(__file__).resolve().parents[2] / "tools" / "gate.py"


@pytest.fixture(scope="module")
def gate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gate", GATE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gate"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def record() -> dict[str, Any]:
    """Two runs of three steps, one of which has scores."""
    steps = [{"step": float(n).hex(), "loss": (7.0 / n).hex(), "lr": (0.1).hex()} for n in (1, 2, 3)]
    run = {"exit": 0, "seconds": 1.0, "steps": steps, "metrics": {}, "tensors": {"b": "aa"}, "files": {}}
    judged = {**copy.deepcopy(run), "metrics": {"iou.car": (0.25).hex(), "split": "mini_val"}}
    return {"root": "/a", "commit": "c0", "runs": {"slidr": run, "probe": judged}}


def line_of(table: str, run: str) -> str:
    return next(line for line in table.splitlines() if line.startswith(run))


def test_equal_records_whose_times_differ(gate: ModuleType, record: dict[str, Any]) -> None:
    other = copy.deepcopy(record)
    other["runs"]["slidr"]["seconds"] = 99.0
    table, equal = gate.compare(record, other)
    assert equal
    assert "3 steps, 2 metrics, 1 tensor" in line_of(table, "probe")


def test_names_the_first_step_that_differs_by_one_bit(gate: ModuleType, record: dict[str, Any]) -> None:
    other = copy.deepcopy(record)
    loss = float.fromhex(other["runs"]["slidr"]["steps"][1]["loss"])
    for step in other["runs"]["slidr"]["steps"][1:]:
        step["loss"] = float(np.nextafter(loss, 9.0)).hex()
    table, equal = gate.compare(record, other)
    assert not equal
    assert "step 2: loss 3.5 (0x1.c000000000000p+1) / 3.5000000000000004" in line_of(table, "slidr")
    assert "equal" in line_of(table, "probe")


@pytest.mark.parametrize(
    ("part", "key", "value", "words"),
    [
        ("metrics", "iou.car", (0.5).hex(), "metrics: iou.car 0.25"),
        ("metrics", "iou.bus", None, "metrics: iou.bus absent / None"),
        ("tensors", "b", "bb", "tensors: b aa / bb"),
        ("files", "lidarseg/a.bin", "cc", "files: lidarseg/a.bin absent / cc"),
    ],
)
def test_names_what_else_differs(
    gate: ModuleType, record: dict[str, Any], part: str, key: str, value: Any, words: str
) -> None:
    other = copy.deepcopy(record)
    other["runs"]["probe"][part][key] = value
    table, equal = gate.compare(record, other)
    assert not equal
    assert words in line_of(table, "probe")


def test_a_step_too_few_is_a_difference(gate: ModuleType, record: dict[str, Any]) -> None:
    other = copy.deepcopy(record)
    del other["runs"]["slidr"]["steps"][-1]
    table, equal = gate.compare(record, other)
    assert not equal
    assert "3 / 2 steps" in line_of(table, "slidr")


def test_names_a_missing_run_on_either_side(gate: ModuleType, record: dict[str, Any]) -> None:
    other = copy.deepcopy(record)
    del other["runs"]["slidr"]
    for sides, side in (((record, other), "B"), ((other, record), "A")):
        table, equal = gate.compare(*sides)
        assert not equal
        assert f"MISSING  not in {side}" in line_of(table, "slidr")


def test_a_run_that_failed_on_both_sides_is_not_equal(gate: ModuleType, record: dict[str, Any]) -> None:
    record["runs"]["slidr"].update(exit=1, tail=["Traceback", "ValueError: no world"])
    table, equal = gate.compare(record, record)
    assert not equal
    assert "A failed, exit 1: ValueError: no world; B failed" in line_of(table, "slidr")


def test_a_run_that_left_nothing_is_not_equal(gate: ModuleType, record: dict[str, Any]) -> None:
    record["runs"]["slidr"] = {"exit": 0, "seconds": 1.0, "steps": [], "metrics": {}}
    table, equal = gate.compare(record, record)
    assert not equal
    assert "neither holds anything to compare" in line_of(table, "slidr")


def test_the_command_ends_with_1_where_records_differ(
    gate: ModuleType, record: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    a.write_text(json.dumps(record))
    record["runs"]["probe"]["tensors"]["b"] = "bb"
    b.write_text(json.dumps(record))
    for other, code in ((a, 0), (b, 1)):
        monkeypatch.setattr(sys, "argv", ["gate.py", "compare", str(a), str(other)])
        assert gate.main() == code


def test_harvest_reads_numbers_exactly_and_leaves_times_out(gate: ModuleType, tmp_path: Path) -> None:
    loss = 0.1 + 0.2
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1, "loss": loss, "seconds": 3.2}) + "\n")
    (tmp_path / "metrics.json").write_text(json.dumps({"iou": {"car": None}, "at": [0.5], "ok": True}))
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "maps.npz").write_bytes(b"maps")
    found = gate.harvest(tmp_path)
    assert found["steps"] == [{"step": (1.0).hex(), "loss": loss.hex()}]
    assert found["metrics"] == {"iou.car": None, "at.0": (0.5).hex(), "ok": True}
    assert list(found["files"]) == ["maps.npz"]


def test_hash_of_tensors_is_of_names_types_and_bits(gate: ModuleType, tmp_path: Path) -> None:
    weights = {"a": np.arange(4, dtype=np.float32), "b": np.zeros((2, 2), dtype=np.float32)}
    flipped = {"a": weights["a"], "b": -weights["b"]}  # -0.0 == 0.0, but its bits differ
    renamed = {"a": weights["a"], "c": weights["b"]}
    digests = []
    for number, tensors in enumerate((weights, dict(reversed(weights.items())), flipped, renamed)):
        save_file(tensors, tmp_path / f"{number}.safetensors")
        digests.append(gate.hash_of_tensors(tmp_path / f"{number}.safetensors"))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_the_kernel_cache_follows_what_kernels_import(gate: ModuleType, tmp_path: Path) -> None:
    package = tmp_path / "lidardistill"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "kernel.py").write_text("from numba import njit\nfrom lidardistill.table import SIZE\n")
    (package / "table.py").write_text("from . import deeper\nSIZE = 1\n")
    (package / "deeper.py").write_text("A = 1\n")
    (package / "other.py").write_text("A = 1\n")
    first = gate.kernel_cache(tmp_path)
    (package / "other.py").write_text("A = 2\n")
    assert gate.kernel_cache(tmp_path) == first
    for name in ("deeper", "table"):
        before = gate.kernel_cache(tmp_path)
        (package / f"{name}.py").write_text("from . import deeper\nSIZE = 2\n")
        assert gate.kernel_cache(tmp_path) != before


def test_only_brings_what_a_run_reads(gate: ModuleType) -> None:
    assert [run.name for run in gate.chosen(["detect_fusion"])] == ["prc", "rad", "detect_fusion"]
    names = [run.name for run in gate.RUNS]
    assert all(names.index(need) < names.index(run.name) for run in gate.RUNS for need in run.needs)


def test_a_checkout_that_python_does_not_import_is_refused(gate: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "lidardistill").mkdir()
    checkout = gate.Checkout(tmp_path, Path(sys.executable))
    checkout.environment["PYTHONPATH"] = str(GATE.parents[1])
    with pytest.raises(SystemExit, match="not below"):
        checkout.facts()
