"""Worker processes for a data set. They give the same batches as one process; failures become errors."""

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
"""Workers pass batches to the main process through files in this folder (Linux)."""

# A worker survives SIGTERM for this time, so that the main process can write its checkpoint.
_TERM_GRACE_S = 30
_END_GRACE_S = 5.0  # workers that have not ended by then are killed


def make_loader(
    dataset: Dataset,
    sampler: Iterable[list[Any]],
    collate: Callable[[list[Any]], Any],
    num_workers: int = 0,
    pin_memory: bool = False,
) -> Loader:
    """Run the batches of a sampler through worker processes, in order.

    Call `prepare_workers` first if there are workers: it compiles the kernels once and checks shared memory.

    Args:
        dataset: picklable, indexed by the sampler's keys.
        sampler: yields a list of keys for each batch; may be endless.
        collate: a picklable function, list of samples -> batch.
        num_workers: worker processes; 0 loads in this process.
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
    """Batches of a loader. Call `close` to end the workers; a stored traceback can keep them alive."""

    def __init__(self, iterator: Any) -> None:
        self._iterator: Any = iterator
        self.workers: list[Any] = list(getattr(iterator, "_workers", ()))

    def __next__(self) -> Any:
        """Return the next batch.

        Raises:
            RuntimeError: a worker died.
            Exception: the error of a worker, of the same class, with a one-line message.
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
    """Return a worker's error without torch's traceback in its message; None for other errors."""
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
    """The queue of finished batches. If a worker cannot send a batch, the main process gets an error."""

    def _on_queue_feeder_error(self, e: Exception, obj: Any) -> None:
        try:
            raise RuntimeError(f"a loader process cannot hand over a batch: {e}. {_REMEDIES}") from e
        except RuntimeError:
            self.put((obj[0], ExceptionWrapper(where="in DataLoader worker process")))


def _context(dataset: Dataset) -> BaseContext:
    """Return the start method of workers: forked from a server that has only imported their modules."""
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
    """Set up this worker process: one thread, end with the main process, ignore signals meant for it.

    Ctrl-C and SLURM's warning reach every process of a job. If one of them ended a worker, the main process
    would end before it has written its checkpoint. SIGTERM is delayed, not ignored, so that it still ends a
    hung worker.

    Args:
        worker_id: unused; DataLoader passes it.
    """
    end_with_parent()
    torch.set_num_threads(1)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_TERM_GRACE_S))


def prepare_workers(
    dataset: Any, collate: Callable[[list[Any]], Any], batch_size: int, num_workers: int
) -> None:
    """Compile the workers' kernels once, here, and check that shared memory can hold their batches.

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
    """Raise OSError if the workers' batches do not fit into shared memory; they would fail during the run.

    Args:
        batch_bytes: size of a batch.
        num_workers: worker processes.

    Raises:
        OSError: the workers need more memory than is free.
    """
    found = free_shared_memory()
    needed = batch_bytes * (PREFETCH * num_workers + 1)  # plus the batch in use
    if found is None or needed <= found[1]:
        return
    size, free = found
    raise OSError(
        f"{SHARED_MEMORY} is too small for {num_workers} loader processes: {_mb(size)} MB, {_mb(free)} MB of "
        f"them free, and batches of {_mb(batch_bytes)} MB need {_mb(needed)} MB. {_REMEDIES}"
    )


def free_shared_memory() -> tuple[int, int] | None:
    """Return size and free bytes of shared memory; None on systems without the folder."""
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
    """Return the bytes of the tensors of a batch."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if is_dataclass(value):
        return sum(_num_bytes(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, dict):
        return sum(map(_num_bytes, value.values()))
    return sum(map(_num_bytes, value)) if isinstance(value, (list, tuple)) else 0


def warm_up(dataset: Any, key: tuple[int, int, int] = (0, 0, 0), *, say_after_s: float = 1.0) -> Any:
    """Read one sample in this process; this compiles every numba kernel and caches it for the workers.

    Args:
        dataset: `Keyframes`. Its `warm_up` is called first, because reading one cached sample does not
            compile every kernel.
        key: key of the sample.
        say_after_s: log a message about the compilation after this time, seconds.

    Returns:
        The sample.
    """
    start = time.perf_counter()
    message = threading.Timer(
        say_after_s,
        log.info,
        (
            "compiling the loader's kernels; this happens once for each version and processor, then they are "
            "cached",
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
