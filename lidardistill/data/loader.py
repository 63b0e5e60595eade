"""Worker processes around a data set: they give the same batches as one process, and never leave it waiting."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from multiprocessing.context import BaseContext
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader, Dataset

from lidardistill.child_processes import end_with_parent

log = logging.getLogger(__name__)

PREFETCH = 2
"""Batches that each worker prepares ahead."""

SHARED_MEMORY = Path("/dev/shm")
"""Workers hand batches over through files in this folder, on Linux."""

_TERM_GRACE_S = (
    30  # a worker outlives SIGTERM by this long, so that the main process can write its checkpoint
)
_END_GRACE_S = 5.0  # a worker that does not end within it is killed


def make_loader(
    dataset: Dataset,
    sampler: Iterable[list[Any]],
    collate: Callable[[list[Any]], Any],
    num_workers: int = 0,
    pin_memory: bool = False,
) -> Loader:
    """Run the batches of a sampler through worker processes, in order.

    Call `prepare_workers` first if there are workers: it compiles the kernels once, and checks that there is room.

    Args:
        dataset: picklable, indexed by the sampler's keys.
        sampler: gives a list of keys for each batch; may be endless.
        collate: a picklable function, list of samples -> batch.
        num_workers: worker processes; 0 works in this process.
        pin_memory: copy batches to page-locked memory; a batch needs a method `pin_memory`.

    Returns:
        The loader. Its workers use one thread each, leave signals to the main process, and end with it.

    Raises:
        ValueError: `num_workers` is negative.
    """
    if num_workers < 0:
        raise ValueError(f"num_workers: expected 0 or more, got {num_workers}")
    if num_workers == 0:
        return Loader(dataset, batch_sampler=sampler, collate_fn=collate, pin_memory=pin_memory)
    return Loader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=num_workers,
        pin_memory=pin_memory,
        prefetch_factor=PREFETCH,
        multiprocessing_context=_context(dataset),
        worker_init_fn=prepare_worker,
    )


class Loader(DataLoader):
    """A DataLoader whose iterators are `Batches`."""

    def __iter__(self) -> Batches:  # type: ignore[override]
        return Batches(super().__iter__())


class Batches(Iterator[Any]):
    """Batches of a loader. Close it to end its workers; an error that is held elsewhere would keep them alive."""

    def __init__(self, iterator: Any) -> None:
        self._iterator: Any = iterator
        self.workers: list[Any] = list(getattr(iterator, "_workers", ()))

    def __next__(self) -> Any:
        """Return the next batch.

        Raises:
            RuntimeError: a worker died.
            Exception: what a worker raised, of the same class, in one line.
        """
        if self._iterator is None:
            raise StopIteration
        try:
            return next(self._iterator)
        except StopIteration:
            raise
        except Exception as error:
            plain = _plain(error)
            if plain is None:
                raise
            raise plain from error

    def close(self) -> None:
        """End the workers within seconds, also those that hang."""
        iterator, self._iterator = self._iterator, None
        shutdown = getattr(iterator, "_shutdown_workers", None)
        if shutdown is None:
            return
        late = threading.Timer(_END_GRACE_S, self._kill)
        late.daemon = True
        late.start()
        try:
            shutdown()
        finally:
            late.cancel()
            self._kill()

    def _kill(self) -> None:
        for worker in self.workers:
            if worker.is_alive():
                worker.kill()


def _plain(error: Exception) -> Exception | None:
    """The error of a worker without the traceback that torch puts into its message; None if it is no such error."""
    text = str(error)
    if "exited unexpectedly" in text or "is killed by signal" in text:
        return RuntimeError(
            f"a loader process died ({text.splitlines()[0]}), most likely because memory ran out: lower "
            "data.num_workers or data.batch_size, and run the same command again"
        )
    if not (text.startswith("Caught ") and "in DataLoader worker" in text.partition("\n")[0]):
        return None
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    _, found, message = text.rpartition(f"\n{name}: ")
    return kind(message.strip()) if found else None


class _HandOver(Queue):
    """The queue that workers put batches into. A batch that cannot be handed over becomes an error, not a silent loss."""

    def _on_queue_feeder_error(self, e: Exception, obj: Any) -> None:
        try:
            raise RuntimeError(f"a loader process cannot hand over a batch: {e}. {_REMEDIES}") from e
        except RuntimeError:
            self.put((obj[0], ExceptionWrapper(where="in DataLoader worker process")))


def _context(dataset: Dataset) -> BaseContext:
    """How workers start: forked from a process that has imported all they need and done nothing else."""
    methods = multiprocessing.get_all_start_methods()
    kind = type(multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn"))

    class Context(kind):  # type: ignore[valid-type, misc]
        def Queue(self, maxsize: int = 0) -> Queue:
            return _HandOver(maxsize, ctx=self)

    context: BaseContext = Context()
    if "forkserver" in methods:
        context.set_forkserver_preload([type(getattr(dataset, "recipe", dataset)).__module__])
    return context


def prepare_worker(worker_id: int) -> None:
    """Make this process a worker: one thread, it ends with the main process, and leaves signals to it.

    Ctrl-C and SLURM's warning reach every process of a job; a worker that dies of one takes the main process down before
    it has written its checkpoint. SIGTERM is put off, not ignored, so that a hung worker can still be ended.

    Args:
        worker_id: unused; a DataLoader hands it over.
    """
    end_with_parent()
    torch.set_num_threads(1)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_TERM_GRACE_S))


def prepare_workers(
    dataset: Any, collate: Callable[[list[Any]], Any], batch_size: int, num_workers: int
) -> None:
    """Compile the kernels of the workers here, once, and check that shared memory holds their batches.

    Args:
        dataset: see `warm_up`.
        collate: list of samples -> batch.
        batch_size: samples of a batch.
        num_workers: worker processes; 0 does nothing.

    Raises:
        OSError: shared memory is too small.
    """
    if num_workers:
        sample = warm_up(dataset)
        check_shared_memory(_num_bytes(collate([sample])) * batch_size, num_workers)


def check_shared_memory(batch_bytes: int, num_workers: int) -> None:
    """Refuse workers whose batches do not fit into shared memory: they would fail, or be killed, in mid-run.

    Args:
        batch_bytes: size of a batch.
        num_workers: worker processes.

    Raises:
        OSError: they need more than is free.
    """
    found = free_shared_memory()
    needed = batch_bytes * (PREFETCH * num_workers + 1)  # and the one that is being read
    if found is None or needed <= found[1]:
        return
    size, free = found
    raise OSError(
        f"{SHARED_MEMORY} is too small for {num_workers} loader processes: {_mb(size)} MB, {_mb(free)} MB of them "
        f"free, and batches of {_mb(batch_bytes)} MB need {_mb(needed)} MB. {_REMEDIES}"
    )


def free_shared_memory() -> tuple[int, int] | None:
    """Size and free bytes of shared memory; None where it is no folder."""
    try:
        found = os.statvfs(SHARED_MEMORY)
    except (OSError, AttributeError):
        return None
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


_REMEDIES = (
    "Enlarge it (docker run --shm-size=8g, or --ipc=host), or load without processes: data.num_workers=0"
)


def _mb(num_bytes: int) -> int:
    return round(num_bytes / 1e6)


def _num_bytes(value: Any) -> int:
    """Bytes of the tensors of a batch."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if is_dataclass(value):
        return sum(_num_bytes(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, dict):
        return sum(map(_num_bytes, value.values()))
    return sum(map(_num_bytes, value)) if isinstance(value, (list, tuple)) else 0


def warm_up(dataset: Any, key: tuple[int, int, int] = (0, 0, 0), *, say_after_s: float = 1.0) -> Any:
    """Read one sample in this process, so that every numba kernel is compiled, and cached for the workers.

    Args:
        dataset: `Keyframes`. Its `warm_up` is called first, because reading one cached sample does not compile every
            kernel.
        key: which sample.
        say_after_s: log why nothing seems to happen if it takes longer, seconds.

    Returns:
        The sample.
    """
    start = time.perf_counter()
    message = threading.Timer(
        say_after_s,
        log.info,
        (
            "compiling the loader's kernels; this happens once for each version and processor, then they are cached",
        ),
    )
    message.daemon = True
    message.start()
    try:
        compile_kernels = getattr(dataset, "warm_up", None)
        if compile_kernels is not None:
            compile_kernels()
        return dataset[key]
    finally:
        message.cancel()
        log.debug("read the first sample in %.1f s", time.perf_counter() - start)
