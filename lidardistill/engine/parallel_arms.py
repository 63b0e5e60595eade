"""Arms side by side: one process an arm, one thread a process.

Two arms on one core each are faster than one after the other on two, because the small network of the demo gains little
from a second thread.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Progress = Callable[[dict[str, tuple[int, dict[str, float]]]], None]
"""Called with the latest (steps done, values) of each arm that has logged."""


@dataclass(frozen=True)
class ArmJob:
    """Arguments of `experiment.run_arm`, and a name that is unique among the jobs."""

    name: str
    world: Path
    cache: Path
    out: Path
    arm: str
    seed: int
    finetuned: bool = False
    trainer: dict[str, Any] = field(default_factory=dict)


def run_jobs(
    jobs: Sequence[ArmJob], workers: int = 2, on_progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Run arms in processes of their own.

    Args:
        jobs: what to run; results keep this order.
        workers: processes at a time.
        on_progress: called in this process whenever something was logged.

    Returns:
        What `run_arm` returned for each.
    """
    context = multiprocessing.get_context("spawn")
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    latest: dict[str, tuple[int, dict[str, float]]] = {}
    try:
        queue = context.SimpleQueue()
        with ProcessPoolExecutor(
            min(workers, len(jobs)), context, initializer=_start, initargs=(queue,)
        ) as pool:
            futures = [pool.submit(_run, job) for job in jobs]
            waiting = set(futures)
            while waiting:
                done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_EXCEPTION)
                while not queue.empty():
                    name, step, values = queue.get()
                    latest[name] = step, values
                if on_progress is not None:
                    on_progress(latest)
                for future in done:
                    if future.exception() is not None:
                        pool.shutdown(wait=False, cancel_futures=True)
                    future.result()
            return [future.result() for future in futures]
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


_queue: Any = None


def _start(queue: Any) -> None:
    global _queue
    _queue = queue


def _run(job: ArmJob) -> dict[str, Any]:
    import torch

    from lidardistill.engine.experiment import run_arm

    torch.set_num_threads(1)
    return run_arm(
        job.world,
        job.cache,
        job.out,
        job.arm,
        job.seed,
        finetuned=job.finetuned,
        on_log=[lambda step, values: _queue.put((job.name, step, values))],
        progress=False,
        **job.trainer,
    )
