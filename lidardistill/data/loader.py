"""Worker processes around a data set, and a clock on the time spent waiting for them."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, Literal, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

log = logging.getLogger(__name__)

Batch = TypeVar("Batch")
StartMethod = Literal["forkserver", "spawn", "fork"]

_TERM_GRACE_S = (
    30  # a worker outlives a SIGTERM by this much, so that the main process can write its checkpoint
)


def make_loader(
    dataset: Dataset,
    sampler: Iterable[list[Any]],
    collate: Callable[[list[Any]], Batch],
    num_workers: int = 0,
    pin_memory: bool = False,
    *,
    prefetch: int = 2,
    start_method: StartMethod = "forkserver",
) -> DataLoader:
    """A torch DataLoader that runs the sampler's batches through worker processes, in order.

    Numba kernels must be compiled before the workers start: call `warm_up` first, or each of them compiles for itself.

    Args:
        dataset: picklable, indexed by the sampler's keys.
        sampler: gives a list of keys for each batch; may be endless.
        collate: a module-level function (it is pickled), list of samples -> batch.
        num_workers: worker processes; 0 works in this process.
        pin_memory: copy batches to page-locked memory; a batch needs a method `pin_memory`.
        prefetch: batches that each worker prepares ahead.
        start_method: how workers start. "fork" is quickest and wrong once threads or CUDA run in this process.

    Returns:
        The loader. Workers persist for its lifetime, use one thread each, and leave signals to the main process.

    Raises:
        ValueError: a number is negative.
    """
    if num_workers < 0 or prefetch < 1:
        raise ValueError(f"expected num_workers >= 0 and prefetch >= 1, got {num_workers} and {prefetch}")
    if num_workers == 0:
        return DataLoader(dataset, batch_sampler=sampler, collate_fn=collate, pin_memory=pin_memory)
    context = multiprocessing.get_context(start_method)
    if start_method == "forkserver":
        # The server imports torch and numba once, and the workers inherit them.
        context.set_forkserver_preload([type(getattr(dataset, "recipe", dataset)).__module__])
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=num_workers,
        pin_memory=pin_memory,
        prefetch_factor=prefetch,
        persistent_workers=True,
        multiprocessing_context=context,
        worker_init_fn=prepare_worker,
    )


def prepare_worker(worker_id: int) -> None:
    """Make this process a well-behaved worker: one thread, and signals are the main process's business.

    Ctrl-C and SLURM's warning reach every process of a job; a worker that dies of one takes the main process down before
    it has written its checkpoint. SIGTERM is put off, not ignored, so that a hung worker can still be ended.

    Args:
        worker_id: unused; a DataLoader hands it over.
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_TERM_GRACE_S))


def warm_up(dataset: Any, key: tuple[int, int, int] = (0, 0, 0), *, say_after_s: float = 1.0) -> float:
    """Read one sample in this process, so that every numba kernel on its way is compiled, and cached for the workers.

    Args:
        dataset: `Keyframes`. Its `warm_up` is called first, because reading one cached sample does not compile every
            kernel.
        key: which sample.
        say_after_s: log why nothing seems to happen once it has taken so long.

    Returns:
        Seconds it took.
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
        dataset[key]
    finally:
        message.cancel()
    return time.perf_counter() - start


class TimedIterator(Generic[Batch]):
    """Iterates over a loader and measures how long its caller waits.

    Args:
        loader: any iterable of batches.

    Attributes:
        last_wait_s: seconds the latest batch was waited for.
        total_wait_s: seconds all batches were waited for, without the first.
        first_wait_s: seconds until the first batch, mostly the start of the workers.
        num_batches: batches so far.
    """

    def __init__(self, loader: Iterable[Batch]) -> None:
        self._loader: Iterable[Batch] | None = loader
        self._iterator: Iterator[Batch] | None = None
        self.last_wait_s = 0.0
        self.total_wait_s = 0.0
        self.first_wait_s = 0.0
        self.num_batches = 0

    def __iter__(self) -> TimedIterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._loader is None:
            raise StopIteration
        start = time.perf_counter()
        if self._iterator is None:
            self._iterator = iter(self._loader)
        batch = next(self._iterator)
        self.last_wait_s = time.perf_counter() - start
        if self.num_batches == 0:
            self.first_wait_s = self.last_wait_s
        else:
            self.total_wait_s += self.last_wait_s
        self.num_batches += 1
        return batch

    def close(self) -> None:
        """End the workers now, rather than when the interpreter ends."""
        iterator, self._iterator = self._iterator, None
        loader, self._loader = self._loader, None
        shutdown = getattr(iterator, "_shutdown_workers", None)
        if shutdown is not None:
            shutdown()
        if isinstance(loader, DataLoader):
            loader._iterator = None

    def __enter__(self) -> TimedIterator[Batch]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
