"""Keyframes a second of worker processes and of threads, over the same data set."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

BATCH = 4
BATCHES_PER_WORKER = 6
_REPEATS = 3


def keyframes_per_second(dataset: Any, numbers: tuple[int, ...]) -> dict[str, Any]:
    """Batches of `BATCH` keyframes from N processes of `data.loader` and from N threads, in turn.

    Neither the start of the workers nor their first batch each counts. A thread loads one sample at a time and the
    caller's thread joins them into batches, as a loader of threads would.

    Args:
        dataset: `Keyframes`; it travels to the processes.
        numbers: N.

    Returns:
        `processes` and `threads`: medians over repeats by number, as text so that JSON keeps them; and `load_average`.
    """
    import os

    import numpy as np

    found: dict[str, Any] = {"processes": {}, "threads": {}}
    for number in numbers:
        speeds: dict[str, list[float]] = {"processes": [], "threads": []}
        for _ in range(_REPEATS):
            for kind, batches in (("processes", _processes), ("threads", _threads)):
                speeds[kind].append(_speed(batches(dataset, number), number))
        for kind, values in speeds.items():
            found[kind][str(number)] = round(float(np.median(values)), 1)
    found["load_average"] = round(os.getloadavg()[0], 2)
    return found


def _speed(batches: Iterator[Any], number: int) -> float:
    for _ in range(number):
        next(batches)
    count = number * BATCHES_PER_WORKER
    start = time.perf_counter()
    for _ in islice(batches, count):
        pass
    seconds = time.perf_counter() - start
    batches.close()  # type: ignore[attr-defined]
    return count * BATCH / seconds


def _processes(dataset: Any, number: int) -> Iterator[Any]:
    from lidardistill.data.loader import TimedIterator, make_loader
    from lidardistill.methods.image_pairs import collate_pairs

    with TimedIterator(make_loader(dataset, _Keys(), collate_pairs, number)) as loader:
        yield from loader


def _threads(dataset: Any, number: int) -> Iterator[Any]:
    from lidardistill.methods.image_pairs import collate_pairs

    with ThreadPoolExecutor(number) as pool:
        waiting: list[list[Any]] = []
        keys = iter(_Keys())
        try:
            while True:
                while len(waiting) < 2 * number:  # as many batches ahead as the processes prepare
                    waiting.append([pool.submit(dataset.__getitem__, key) for key in next(keys)])
                yield collate_pairs([future.result() for future in waiting.pop(0)])
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Keys:
    """Sample keys, a batch at a time, without end."""

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        position = 0
        while True:
            yield [(0, position + offset, 0) for offset in range(BATCH)]
            position += BATCH
