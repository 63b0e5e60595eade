"""Run one benchmark, and write its figures together with machine, versions and commit."""

from __future__ import annotations

import datetime
import importlib
import inspect
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def measure_and_write(
    name: str, out: Path, *, rounds: int, dataroot: Path | None, **more: Any
) -> dict[str, Any]:
    """Call `run` of `lidardistill.bench.<name>`, write its figures as JSON and print them.

    Args:
        name: of the benchmark.
        out: JSON file, written whole or not at all.
        rounds: argument of the benchmark.
        dataroot: argument of the benchmark, if it has one.
        more: further arguments of this benchmark.

    Returns:
        What was written: `bench`, `date`, `machine`, `versions`, `git`, `threads`, and `figures` as `run`
            returns them.

    Raises:
        ValueError: `dataroot` is no folder.
    """
    if dataroot is not None and not dataroot.is_dir():
        raise ValueError(f"--dataroot {dataroot}: expected a nuScenes root, got no folder")
    run = importlib.import_module(f"lidardistill.bench.{name}").run
    options: dict[str, Any] = {"rounds": rounds, **more}
    if dataroot is not None:
        if "dataroot" in inspect.signature(run).parameters:
            options["dataroot"] = dataroot
        else:
            print(f"bench {name} makes its own input; --dataroot is not used")
    figures = run(**options)
    record = {"bench": name, **surroundings(), "figures": figures}
    _write(out, record)
    for line in summary_lines(figures):
        print(line)
    print(f"figures: {out}")
    return record


def surroundings() -> dict[str, Any]:
    """Date, machine, versions, commit and threads."""
    import torch

    from lidardistill.engine.manifest import git_state, machine, versions

    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "git": git_state(),
        "machine": machine(),
        "versions": versions(),
        "threads": {
            "torch": torch.get_num_threads(),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
            "load_average": round(os.getloadavg()[0], 2),
        },
    }


def summary_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """A line for each thing that was timed, one for the ratio, and one for the quality.

    Args:
        figures: nested plain values. A mapping with `median_ms` and `iqr_ms`, or with `median` and `iqr`, is
        a time.
    """
    yield from _times(figures, "")
    baseline = _baseline_name(figures)
    for key, value in figures.items():
        if "ratio" in key and isinstance(value, (int, float)):
            yield f"{key:28s} {value:10.2f}   against {baseline or 'no baseline'}"
    if not any("ratio" in key for key in figures):
        yield f"no ratio: {baseline or 'no baseline'}"
    quality = figures.get("quality") or {
        key: value for key, value in figures.items() if key.startswith("max_") and isinstance(value, float)
    }
    if quality:
        yield "quality: " + ", ".join(f"{key} {_short(value)}" for key, value in quality.items())


def _times(figures: Mapping[str, Any], path: str) -> Iterator[str]:
    for median, iqr, unit in (("median_ms", "iqr_ms", " ms"), ("median", "iqr", "")):
        if median in figures and isinstance(figures[median], (int, float)):
            spread = f"  IQR {figures[iqr]:.3f}{unit}" if isinstance(figures.get(iqr), (int, float)) else ""
            yield f"{path:28s} {figures[median]:10.3f}{unit}{spread}"
            break
    for key, value in figures.items():
        if isinstance(value, Mapping):
            yield from _times(value, f"{path}.{key}" if path else str(key))
        elif isinstance(value, str) and value.startswith("not run"):
            yield f"{path + '.' if path else ''}{key}: {value}"


def _baseline_name(figures: Mapping[str, Any]) -> str | None:
    baseline = figures.get("baseline")
    if isinstance(baseline, Mapping) and "name" in baseline:
        return str(baseline["name"])
    if isinstance(baseline, str):
        return baseline
    return figures.get("baseline_is")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write(out: Path, record: Mapping[str, Any]) -> None:
    """Figures hold numpy values and paths here and there; JSON wants them plain."""
    import json

    import numpy as np

    from lidardistill.atomic import write_json_atomic

    def plain(value: Any) -> Any:
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, np.ndarray):
            return value.tolist()
        return str(value)

    write_json_atomic(out, json.loads(json.dumps(record, default=plain)))
