"""manifest.json records command, machine, versions, times and peak memory of a run."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import resource
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from lidardistill.atomic import write_json_atomic

_PACKAGES = ("lidardistill", "torch", "numpy", "numba", "spconv", "lightning-fabric", "nuscenes-devkit")


class Manifest:
    """The record of one run, rewritten atomically at its start and at its end.

    A resumed run keeps the earlier records: `sessions` has one entry for each start of the command.

    Args:
        path: the JSON file, usually run/manifest.json.
        seed: seed of the run.
        extra: further plain values to record, such as the config's name and digest.
    """

    def __init__(self, path: Path, *, seed: int, extra: dict[str, Any] | None = None) -> None:
        self.path = path
        self._sessions = _earlier_sessions(path)
        self._session: dict[str, Any] = {
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "start": _now(),
            "end": None,
            "outcome": "running",
            "git": git_state(),
            "versions": versions(),
            "machine": machine(),
        }
        self._head = {"seed": seed, **(extra or {})}
        self._write()

    def finish(self, outcome: str = "finished", **figures: Any) -> None:
        """Record the end: outcome (finished, interrupted, failed) and figures (such as steps, seconds)."""
        self._session.update(end=_now(), outcome=outcome, peak_memory=peak_memory(), **figures)
        self._write()

    def _write(self) -> None:
        write_json_atomic(self.path, {**self._head, "sessions": [*self._sessions, self._session]})


def git_state(folder: Path | None = None) -> dict[str, Any]:
    """commit and dirty (tracked files changed) of the package's git checkout; None outside a checkout."""
    folder = folder or Path(__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    # An installed package may lie inside the checkout of another project; ignore that checkout.
    if git("ls-files", "--error-unmatch", str(folder)) is None:
        return {"commit": None, "dirty": None}
    changed = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if changed is None else bool(changed)}


def versions() -> dict[str, str | None]:
    """Versions of Python and the main packages; None if a package is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def machine() -> dict[str, Any]:
    """Host, operating system, processors this process may use, memory and GPUs."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(memory / 2**30, 1),
        "gpus": gpus,
    }


def peak_memory() -> dict[str, float]:
    """Peak resident memory of this process and of its largest ended child, and of the GPU, in MiB."""
    import torch

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    peak = {
        "process_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20,
        "largest_child_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 2**20,
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        peak["gpu_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return {name: round(value, 1) for name, value in peak.items()}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _earlier_sessions(path: Path) -> list[Any]:
    import json

    try:
        sessions = json.loads(path.read_text()).get("sessions", [])
    except FileNotFoundError:
        return []
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is not a manifest of ours ({error}): move it away") from error
    return list(sessions)


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
