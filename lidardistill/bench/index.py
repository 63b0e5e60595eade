"""`lidardistill bench index`: build and open the nuScenes index at trainval size, against the devkit's
start-up.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from lidardistill.bench.index_tables import write_scans, write_tables

VERSION = "v1.0-trainval"
KEYFRAMES = 34_149
"""Samples of v1.0-trainval; each has 77 sample_data and 34 annotations, 2.63 M and 1.16 M rows in all."""
BASELINE_KEYFRAMES = 1_000
"""The devkit needs 8 GB and a minute at trainval size, so both are compared on fewer keyframes."""


def run(
    rounds: int = 5,
    keyframes: int = KEYFRAMES,
    baseline_keyframes: int = BASELINE_KEYFRAMES,
    folder: str | None = None,
) -> dict[str, Any]:
    """Write tables, build their index once, open it in fresh processes, and delete everything.

    Args:
        rounds: fresh processes that open the index; the devkit opens its smaller root as often.
        keyframes: size of the tables; the default needs 2.6 GB of disk for a few minutes.
        baseline_keyframes: size of the tables that the devkit opens too; 0 leaves the baseline out.
        folder: where the tables are written; the system's temporary folder by default.

    Returns:
        Plain values. `build`: seconds, cpu_seconds, peak_rss_mb. `ours` at full size: open_ms, first_get_ms,
        all_gets_s (all frames, each with a scan of one point), rss_import_mb, rss_open_mb, rss_all_gets_mb,
        each as median and iqr.
        `baseline` and `ours_at_baseline_size`: open_ms and rss_open_mb; `ratio` and `rss_ratio` of their
        medians, None where nuscenes-devkit is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="lidardistill-bench-", dir=folder) as temporary:
        root = Path(temporary) / "full"
        need = 80_000 * keyframes
        free = shutil.disk_usage(temporary).free
        if free < need:
            raise ValueError(
                f"bench index writes {need / 1e9:.1f} GB of tables and {temporary} has {free / 1e9:.1f} GB "
                "free. "
                f"Set TMPDIR to a larger disk."
            )
        start = time.perf_counter()
        rows = write_tables(root, VERSION, keyframes)
        write_scans(root, keyframes)
        written_s = time.perf_counter() - start
        table_bytes = sum(path.stat().st_size for path in (root / VERSION).iterdir())
        build = _child("measure_build", root)
        index_bytes = sum(path.stat().st_size for path in (root / ".lidardistill").rglob("*.*"))
        ours = [_child("measure_open", root) for _ in range(rounds)]
        shutil.rmtree(root)
        result = {
            "what": "nuScenes index: build once, open in every process",
            "baseline_is": "NuScenes() of nuscenes-devkit 1.2.0, which holds all tables as Python objects",
            "rounds": rounds,
            "keyframes": keyframes,
            "rows": rows,
            "table_bytes": table_bytes,
            "tables_written_s": written_s,
            "index_bytes": index_bytes,
            "build": build,
            "ours": _summary(ours),
            "baseline_keyframes": baseline_keyframes,
            "baseline": None,
            "ours_at_baseline_size": None,
            "ratio": None,
            "rss_ratio": None,
        }
        if baseline_keyframes and importlib.util.find_spec("nuscenes") is not None:
            result.update(_against_devkit(Path(temporary) / "small", baseline_keyframes, rounds))
        return result


def _against_devkit(root: Path, keyframes: int, rounds: int) -> dict[str, Any]:
    write_tables(root, VERSION, keyframes)
    write_scans(root, keyframes)
    _child("measure_build", root)
    ours, baseline = [], []
    for _ in range(rounds):
        ours.append(_child("measure_open", root))
        baseline.append(_child("measure_devkit", root))
    mine, theirs = _summary(ours), _summary(baseline)
    return {
        "baseline": theirs,
        "ours_at_baseline_size": mine,
        "ratio": theirs["open_ms"]["median"] / mine["open_ms"]["median"],
        "rss_ratio": theirs["rss_open_mb"]["median"] / mine["rss_open_mb"]["median"],
    }


def measure_build(root: Path) -> dict[str, float]:
    """Build the index in this fresh process: seconds and peak memory, both with imports."""
    start = time.perf_counter()
    from lidardistill.datasets.kinds import open_source, source_config

    open_source(source_config("nuscenes", root, VERSION))
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "cpu_seconds": time.process_time(), "peak_rss_mb": _memory_mb("VmHWM")}


def measure_open(root: Path) -> dict[str, float]:
    """Open the index in this fresh process, and read every keyframe; a scan has one point."""
    from lidardistill.datasets.kinds import open_source, source_config

    imported = _memory_mb("VmRSS")
    start = time.perf_counter()
    index = open_source(source_config("nuscenes", root, VERSION), build=False)
    opened = time.perf_counter()
    opened_mb = _memory_mb("VmRSS")
    before_first = time.perf_counter()
    index.frame(len(index) // 2)
    first = time.perf_counter()
    for row in range(len(index)):
        index.frame(row)
    done = time.perf_counter()
    return {
        "open_ms": 1e3 * (opened - start),
        "first_get_ms": 1e3 * (first - before_first),
        "all_gets_s": done - first,
        "rss_import_mb": imported,
        "rss_open_mb": opened_mb,
        "rss_all_gets_mb": _memory_mb("VmRSS"),
    }


def measure_devkit(root: Path) -> dict[str, float]:
    """Open the same tables with the devkit in this fresh process."""
    from nuscenes.nuscenes import NuScenes

    imported = _memory_mb("VmRSS")
    start = time.perf_counter()
    nusc = NuScenes(VERSION, str(root), verbose=False)
    opened_ms = 1e3 * (time.perf_counter() - start)
    assert nusc.sample
    return {"open_ms": opened_ms, "rss_import_mb": imported, "rss_open_mb": _memory_mb("VmRSS")}


def _child(function: str, root: Path) -> dict[str, float]:
    """Call one of the functions above in a new interpreter."""
    code = (
        f"import json, pathlib, sys; from lidardistill.bench import index; "
        f"print(json.dumps(index.{function}(pathlib.Path(sys.argv[1]))))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"bench index, {function}: the process ended with {done.returncode}\n{done.stderr}"
        )
    return json.loads(done.stdout.splitlines()[-1])


def _memory_mb(field: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process. getrusage would give the peak of the parent process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/self/status has no {field}: bench index needs Linux")


def _summary(rounds: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    summary = {}
    for key in rounds[0]:
        low, median, high = np.percentile([values[key] for values in rounds], [25, 50, 75])
        summary[key] = {"median": float(median), "iqr": float(high - low)}
    return summary
