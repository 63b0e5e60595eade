"""Time two ways of doing the same thing in turn, so that other work of the machine slows both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

CALLS_PER_ROUND = 5


def alternate(product: Callable[[], Any], baseline: Callable[[], Any], rounds: int) -> dict[str, Any]:
    """Run the two in turn, each `CALLS_PER_ROUND` times a round, after a round that does not count.

    Args:
        product: our way.
        baseline: the other way.
        rounds: at least 1.

    Returns:
        `product` and `baseline` with `median_ms`, `iqr_ms` and `best_ms` over all calls, `ratio` of the
        medians, `ratio_of_best`, which a busy machine disturbs less, `rounds`, `calls` and `threads` (of
        BLAS; None where they could not be set).

    Raises:
        ValueError: fewer than one round.
    """
    return alternate_all({"product": product}, baseline, rounds)["product"]


def alternate_all(
    products: Mapping[str, Callable[[], Any]],
    baseline: Callable[[], Any],
    rounds: int,
    *,
    baseline_calls: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Run several products and one baseline in turn, so that one baseline serves them all.

    Args:
        products: by name.
        baseline: the other way.
        rounds: at least 1.
        baseline_calls: calls of the baseline in a round, for a baseline that takes seconds; None for as many
            as of the products. With a number there is no warm-up round; the first call of each product does
            not count.

    Returns:
        What `alternate` returns, by name of the product; the baseline is the same in all.

    Raises:
        ValueError: fewer than one round.
    """
    if rounds < 1:
        raise ValueError(f"rounds: expected at least 1, got {rounds}")
    times: dict[str, list[float]] = {name: [] for name in (*products, "baseline")}

    def timed(name: str, call: Callable[[], Any]) -> None:
        start = time.perf_counter()
        call()
        times[name].append((time.perf_counter() - start) * 1e3)

    with _one_blas_thread() as threads:
        if baseline_calls is None:
            for count in range((rounds + 1) * CALLS_PER_ROUND):
                if count == CALLS_PER_ROUND:
                    times = {name: [] for name in times}
                for name, call in (*products.items(), ("baseline", baseline)):
                    timed(name, call)
        else:
            for call in products.values():
                call()
            for _ in range(rounds):
                for _ in range(baseline_calls):
                    timed("baseline", baseline)
                for _ in range(CALLS_PER_ROUND):
                    for name, call in products.items():
                        timed(name, call)
    summaries = {name: _summary(values) for name, values in times.items()}
    base = summaries.pop("baseline")
    return {
        name: {
            "product": summary,
            "baseline": dict(base),
            "ratio": round(base["median_ms"] / summary["median_ms"], 2),
            "ratio_of_best": round(base["best_ms"] / summary["best_ms"], 2),
            "rounds": rounds,
            "calls": rounds * CALLS_PER_ROUND,
            **({} if baseline_calls is None else {"calls_of_baseline": rounds * baseline_calls}),
            "threads": threads,
        }
        for name, summary in summaries.items()
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
