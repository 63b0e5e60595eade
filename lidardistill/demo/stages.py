"""How long each stage of a command took, and how much memory it held at its peak."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lidardistill.engine.manifest import peak_memory


class Stages:
    """Collects `seconds` and `memory_mb` by stage; memory is this process's peak inside the stage on Linux."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.memory_mb: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the block; a stage that is entered twice adds up its seconds."""
        _forget_peak()
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 2)
            self.memory_mb[name] = round(max(self.memory_mb.get(name, 0.0), _peak_mb()), 1)


def _forget_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM back to what is resident now


def _peak_mb() -> float:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return peak_memory()["process_mb"]
