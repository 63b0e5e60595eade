"""Measure the spans of a step: time, or whatever else a meter reads."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


class Meter(Protocol):
    """Reads a quantity that grows while a step runs."""

    def mark(self) -> Any: ...

    def between(self, start: Any, end: Any) -> float: ...

    def count_flops(self, flops: Callable[[], int]) -> None:
        """Add operations that torch does not dispatch; meters of other quantities ignore them."""


class Clock:
    """Milliseconds on the CPU."""

    def mark(self) -> float:
        return time.perf_counter()

    def between(self, start: float, end: float) -> float:
        return 1e3 * (end - start)

    def count_flops(self, flops: Callable[[], int]) -> None:
        """Ignored."""


class CudaClock:
    """Milliseconds between CUDA events: measuring does not make the device wait."""

    def mark(self) -> torch.cuda.Event:
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        end.synchronize()
        return start.elapsed_time(end)

    def count_flops(self, flops: Callable[[], int]) -> None:
        """Ignored."""


def clock_of(device: torch.device) -> Meter:
    """The clock of a device."""
    return CudaClock() if device.type == "cuda" else Clock()


@dataclass
class _Measured:
    path: str
    start: Any
    end: Any = None


class Parts:
    """A watcher of `lidardistill.spans` that measures every span without the spans inside it.

    A part is a path of span names, such as "forward/backbone/convolutions". A span inside one of the same
    name belongs to it. Spans of other threads are not measured.

    Args:
        meter: reads what is measured.
        undivided: names of spans whose inner spans are not parts of their own.
    """

    def __init__(self, meter: Meter, undivided: Collection[str] = ()) -> None:
        self.meter, self.undivided = meter, undivided
        self._thread = threading.get_ident()
        self._measured: list[_Measured] = []
        self._open: list[str] = []

    def span(self, name: str) -> AbstractContextManager[Any]:
        """Measure the block inside `with`; torch's profiler shows it as a range named by the path."""
        hidden = self._open and (self._open[-1] == name or self._open[-1] in self.undivided)
        if hidden or threading.get_ident() != self._thread:
            return nullcontext()
        return self._part(name)

    def call(self, name: str, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        with self.span(name):
            return function(*args, **kwargs)

    def count_flops(self, flops: Callable[[], int]) -> None:
        self.meter.count_flops(flops)

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        self._open.append(name)
        path = "/".join(self._open)
        with _profiler_range(path):
            measured = _Measured(path, self.meter.mark())
            self._measured.append(measured)
            try:
                yield
            finally:
                self._open.pop()
                measured.end = self.meter.mark()

    def take(self) -> dict[str, float]:
        """What was measured since the last call, by part; the parts inside another one come after it."""
        found: dict[str, float] = {}
        for measured in self._measured:
            value = self.meter.between(measured.start, measured.end)
            found[measured.path] = found.get(measured.path, 0.0) + value
            outer = measured.path.rpartition("/")[0]
            if outer:
                found[outer] -= value
        self._measured.clear()
        return {path: found[path] for path in in_tree_order(found)}


def _profiler_range(path: str) -> AbstractContextManager[Any]:
    profiler = sys.modules.get("torch.autograd.profiler")
    if profiler is None or not profiler._is_profiler_enabled:
        return nullcontext()
    return profiler.record_function(path)


def in_tree_order(paths: Iterable[str]) -> list[str]:
    """Paths with each part directly before the parts inside it; parts side by side keep their order."""
    paths = list(paths)
    seen: dict[str, int] = {}
    for path in paths:
        names = path.split("/")
        for depth in range(1, len(names) + 1):
            seen.setdefault("/".join(names[:depth]), len(seen))

    def place(path: str) -> list[int]:
        names = path.split("/")
        return [seen["/".join(names[:depth])] for depth in range(1, len(names) + 1)]

    return sorted(dict.fromkeys(paths), key=place)


def median(values: list[float]) -> dict[str, float]:
    """Median and interquartile range of times in milliseconds."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return {"median_ms": round(float(middle), 3), "iqr_ms": round(float(high - low), 3)}
