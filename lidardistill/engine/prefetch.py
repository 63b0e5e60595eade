"""Batches on the device, the next one copied while this one is computed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from lidardistill.spans import span


class Prefetcher:
    """Iterates over a source of batches and hands them out on a device, in the source's order.

    On CUDA the next batch is fetched and copied by `look_ahead`, which the caller calls once it has queued
    the work of
    the current one: the copy runs on a stream of its own, beside that work, where the source's memory is
    pinned. Elsewhere `look_ahead` does nothing, and a batch is fetched when it is asked for.

    Nothing but time depends on looking ahead: batches come as without, and an error, or the end, of the
    source is kept until it is that batch's turn, so a caller that stops before it never sees it.

    Args:
        source: batches with a method `to(device, non_blocking=)`; dataclasses, whose tensors may stand in
            nested ones.
        device: where they go.
        ahead: whether to look ahead; None for what the device suggests.

    Attributes:
        waited_s: seconds that the source was waited for, without the copies.
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
                # Its memory belongs to the copying stream, which must not take it back while this one reads
                # it.
                tensor.record_stream(current)
        return batch

    def look_ahead(self) -> None:
        """Fetch the next batch and start its copy."""
        if self._ahead and self._next is None and self._source is not None:
            self._next = self._fetch()

    def close(self) -> None:
        """Drop what was fetched ahead and close the source; afterwards there are no batches."""
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
        except Exception as error:  # the end is one, too
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
