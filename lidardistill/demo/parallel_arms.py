"""Run arms in parallel: one process for each arm, one thread for each process.

Two parallel arms on one core each are faster than two successive arms on two cores, because the demo's small
network gains little from a second thread.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.context
import multiprocessing.forkserver
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lidardistill.child_processes import Leash, end_with_parent
from lidardistill.one_thread import ONE_THREAD, one_thread_for_children
from lidardistill.tasks.pretrain.config import PretrainConfig

_PRELOADED = ["lidardistill.demo.experiment", "torch._dynamo"]
"""Imports of every arm process, two to three seconds. The first optimiser imports the second module."""

Progress = Callable[[dict[str, tuple[int, dict[str, float]]]], None]
"""Called with the latest (steps done, values) of each arm that has logged."""


@dataclass(frozen=True)
class ArmJob:
    """Arguments of `experiment.run_arm`, and a unique name of the job; `arm` may be `HAND_MADE`."""

    name: str
    world: Path
    cache: Path
    out: Path
    arm: str
    seed: int
    finetuned: bool = False
    trainer: dict[str, Any] = field(default_factory=dict)


def start_process_server() -> None:
    """Start the fork server, so that it imports the arms' modules while this process works."""
    if _context().get_start_method() == "forkserver":
        with one_thread_for_children():
            multiprocessing.forkserver.ensure_running()


def _context() -> multiprocessing.context.BaseContext:
    """Return the start method: forked from a server with all imports done, or spawned on Windows."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def run_jobs(
    jobs: Sequence[ArmJob], workers: int = 2, on_progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Run arms in processes of their own.

    Args:
        jobs: the arms to run; results keep this order.
        workers: number of parallel processes.
        on_progress: called in this process after each logged line.

    Returns:
        The result of `run_arm` or `run_hand_made` for each job.
    """
    latest: dict[str, tuple[int, dict[str, float]]] = {}

    def on_message(message: tuple[str, int, dict[str, float]]) -> None:
        name, step, values = message
        latest[name] = step, values
        if on_progress is not None:
            on_progress(latest)

    return _in_processes(_run, [(job,) for job in jobs], workers, on_message)


def compute_teacher_features(
    config: PretrainConfig, workers: int = 2, on_progress: Callable[[int, int], None] | None = None
) -> int:
    """Fill the feature cache of a config with several processes; return the number of computed keyframes.

    Args:
        config: pretraining config with `teacher_cache` set.
        workers: processes, each with one thread.
        on_progress: called with (keyframes done, keyframes that were missing).
    """
    latest: dict[int, tuple[int, int]] = {}

    def on_message(message: tuple[int, int, int]) -> None:
        share, done, total = message
        latest[share] = done, total
        if on_progress is not None:
            on_progress(sum(d for d, _ in latest.values()), sum(t for _, t in latest.values()))

    shares = [(config, share, workers) for share in range(workers)]
    return sum(_in_processes(_compute_share, shares, workers, on_message))


def _in_processes(
    function: Callable[..., Any],
    arguments: Sequence[tuple[Any, ...]],
    workers: int,
    on_message: Callable[[Any], None],
) -> list[Any]:
    """Call a module-level function in processes with one thread each; they send messages through a queue.

    An error ends all processes at once.
    """
    context = _context()
    queue = context.SimpleQueue()
    with (
        one_thread_for_children(),
        Leash(context) as leash,
        ProcessPoolExecutor(
            min(workers, len(arguments)), context, initializer=_start, initargs=(queue, leash.held)
        ) as pool,
    ):
        try:
            futures = [pool.submit(function, *some) for some in arguments]
            # The executor wakes its manager before it starts a process, so that the manager may not watch the
            # last one and miss its death. One more job wakes it again (CPython 3.11,
            # `ProcessPoolExecutor.submit`).
            pool.submit(int)
            waiting = set(futures)
            while waiting:
                done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_EXCEPTION)
                while not queue.empty():
                    on_message(queue.get())
                for future in done:
                    future.result()
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            leash.cut()
            raise RuntimeError(
                "a process of the demo died, most likely because memory ran out; run the same command "
                "again to continue"
            ) from error
        except BaseException:
            leash.cut()
            raise


_queue: Any = None


def _start(queue: Any, held: Connection) -> None:
    global _queue
    _queue = queue
    end_with_parent(held)
    os.environ.update(ONE_THREAD)  # another part, such as a loader, may have started the server


def _run(job: ArmJob) -> dict[str, Any]:
    import torch

    from lidardistill.demo.experiment import HAND_MADE, run_arm, run_hand_made

    torch.set_num_threads(1)
    if job.arm == HAND_MADE:
        return run_hand_made(job.world, job.out, job.seed)
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


def _compute_share(config: PretrainConfig, share: int, shares: int) -> int:
    import torch

    from lidardistill.tasks.pretrain.run import Pretraining

    torch.set_num_threads(1)
    parts = Pretraining.build(config)
    report = lambda done, total: _queue.put((share, done, total))  # noqa: E731
    return parts.compute_teacher_features(report, share=(share, shares))
