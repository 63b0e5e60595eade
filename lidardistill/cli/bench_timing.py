"""Times two ways of doing the same thing, alternately, so that what else the machine does hits both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

CALLS_PER_ROUND = 5


def alternate(product: Callable[[], Any], baseline: Callable[[], Any], rounds: int) -> dict[str, Any]:
    """Runs the two in turn, each `CALLS_PER_ROUND` times a round, after a round that does not count.

    Args:
        product: ours.
        baseline: what it is measured against.
        rounds: at least 1.

    Returns:
        `product` and `baseline` with `median_ms`, `iqr_ms` and `best_ms` over all calls, `ratio` of the medians,
        `ratio_of_best`, which a busy machine disturbs less, `rounds`, `calls` and `threads` (of BLAS; None where
        they could not be set).

    Raises:
        ValueError: fewer than one round.
    """
    if rounds < 1:
        raise ValueError(f"rounds: expected at least 1, got {rounds}")
    times: dict[str, list[float]] = {"product": [], "baseline": []}
    with _one_blas_thread() as threads:
        for count in range((rounds + 1) * CALLS_PER_ROUND):
            for name, call in (("product", product), ("baseline", baseline)):
                start = time.perf_counter()
                call()
                if count >= CALLS_PER_ROUND:
                    times[name].append((time.perf_counter() - start) * 1e3)
    summary: dict[str, Any] = {name: _summary(values) for name, values in times.items()}
    return {
        **summary,
        "ratio": round(summary["baseline"]["median_ms"] / summary["product"]["median_ms"], 2),
        "ratio_of_best": round(summary["baseline"]["best_ms"] / summary["product"]["best_ms"], 2),
        "rounds": rounds,
        "calls": rounds * CALLS_PER_ROUND,
        "threads": threads,
    }


def _summary(times_ms: list[float]) -> dict[str, float]:
    low, median, high = np.percentile(times_ms, [25, 50, 75])
    figures = {"median_ms": median, "iqr_ms": high - low, "best_ms": min(times_ms)}
    return {name: round(float(value), 4) for name, value in figures.items()}


@contextmanager
def _one_blas_thread() -> Iterator[int | None]:
    try:  # comes with scikit-learn, which nuscenes-devkit brings
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield None
        return
    with threadpool_limits(limits=1):
        yield 1
