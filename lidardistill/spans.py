"""Named spans of a step: the code names its parts, `lidardistill profile` and torch's profiler measure them.

`span("heads")` and `@spanned("pooling")` take about a microsecond without a profiler or watcher. Inside
torch's profiler they are `torch.profiler.record_function` ranges. Inside `watching(watcher)` the watcher
measures them.

This module imports no torch, so that data-loading code can use it.

Spans of a step: "data wait", "to device", "forward" (in it "backbone", "teacher", "heads", "pooling",
"loss"), "backward", "average gradients", "optimizer". "convolutions" and "index pairs" occur in any sparse
network. A frozen network is a "teacher": floors of the backward pass leave it out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Watcher(Protocol):
    """Measures spans."""

    def span(self, name: str) -> AbstractContextManager[Any]:
        """Measure the block inside `with`."""

    def call(self, name: str, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        """Call a function and measure the call."""

    def count_flops(self, flops: Callable[[], int]) -> None:
        """Add operations to the open span, if this watcher counts them."""


_NOTHING: AbstractContextManager[Any] = nullcontext()
_watcher: Watcher | None = None


def span(name: str) -> AbstractContextManager[Any]:
    """Name the block inside `with`. Spans nest; the time of an inner span is part of the outer one.

    Args:
        name: task of the block, such as "heads"; several places may use the same name.
    """
    if _watcher is not None:
        return _watcher.span(name)
    profiler = sys.modules.get("torch.autograd.profiler")
    if profiler is not None and profiler._is_profiler_enabled:
        ranged: AbstractContextManager[Any] = profiler.record_function(name)
        return ranged
    return _NOTHING


def count_flops(flops: Callable[[], int]) -> None:
    """Count operations that torch does not dispatch; `flops` is called only if a watcher counts."""
    if _watcher is not None:
        _watcher.count_flops(flops)


def spanned(name: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Name each call of the decorated function; a watcher also sees its arguments and its result.

    Args:
        name: as in `span`.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            if _watcher is not None:
                return _watcher.call(name, function, args, kwargs)
            with span(name):
                return function(*args, **kwargs)

        return call

    return decorate


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Let `watcher` measure all spans of this process inside `with`."""
    global _watcher
    before, _watcher = _watcher, watcher
    try:
        yield
    finally:
        _watcher = before
