"""Prefetch: copies the next batch to the device while the device computes the current one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from lidardistill.spans import span


class Prefetcher:
    """Iterator that moves batches of a source to a device, in the source's order.

    On CUDA, `look_ahead` fetches the next batch and starts its copy. The caller calls it after queueing the
    work of the current batch. The copy runs on its own stream, in parallel to that work if the source's
    memory is pinned. On other devices `look_ahead` does nothing, and `next()` fetches the batch.

    Looking ahead changes only the time: the batches are the same, and the iterator raises an error or the
    end of the source only at the `next()` of that batch.

    Args:
        source: batches with a method `to(device, non_blocking=)`; dataclasses of tensors, possibly nested.
        device: target device of the batches.
        ahead: whether to look ahead; None: on CUDA only.

    Attributes:
        waited_s: seconds of waiting for the source, without the copies.
    """

    def __init__(self, source: Iterator[Any], device: torch.device, *, ahead: bool | None = None) -> None:
        self.waited_s = 0.0
        self._source: Iterator[Any] | None = source
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._ahead = self._stream is not None if ahead is None else ahead
        self._next: tuple[Any, BaseException | None] | None = None

    def __iter__(self) -> Prefetcher:
        return self

    def __next__(self) -> Any:
        batch, error = self._fetch() if self._next is None else self._next
        self._next = None
        if error is not None:
            raise error
        if self._stream is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_stream(self._stream)
            for tensor in _tensors(batch):
                # The copy stream owns the memory and must not reuse it while the current stream reads it.
                tensor.record_stream(current)
        return batch

    def look_ahead(self) -> None:
        """Fetch the next batch and start its copy."""
        if self._ahead and self._next is None and self._source is not None:
            self._next = self._fetch()

    def close(self) -> None:
        """Drop the prefetched batch and close the source; the iterator is then empty."""
        source, self._source, self._next = self._source, None, None
        close = getattr(source, "close", None)
        if close is not None:
            close()

    def _fetch(self) -> tuple[Any, BaseException | None]:
        if self._source is None:
            return None, StopIteration()
        start = time.perf_counter()
        try:
            with span("data wait"):
                batch = next(self._source)
        except Exception as error:  # includes StopIteration
            return None, error
        finally:
            self.waited_s += time.perf_counter() - start
        with span("to device"), torch.cuda.stream(self._stream):  # no effect if the stream is None
            return batch.to(self._device, non_blocking=True), None


def _tensors(batch: Any) -> Iterator[Tensor]:
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor):
            yield value
        elif is_dataclass(value):
            yield from _tensors(value)
