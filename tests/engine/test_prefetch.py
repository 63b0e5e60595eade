"""Looking ahead moves work in time and nothing else."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import pytest
import torch

from lidardistill.engine.prefetch import Prefetcher, _tensors

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Inner:
    y: torch.Tensor
    name: str = "inner"


@dataclass(frozen=True)
class Batch:
    x: torch.Tensor
    inner: Inner
    nothing: torch.Tensor | None = None

    def to(self, device, non_blocking=False):
        return replace(
            self,
            x=self.x.to(device, non_blocking=non_blocking),
            inner=Inner(self.inner.y.to(device, non_blocking=non_blocking)),
        )


def batch(number):
    return Batch(torch.full((2,), float(number)), Inner(torch.full((3,), number)))


class Source:
    """Batches that tell when they were taken; one of them is an error."""

    def __init__(self, count, error_at=None):
        self.taken = 0
        self.closed = False
        self._count, self._error_at = count, error_at

    def __iter__(self):
        return self

    def __next__(self):
        if self.taken == self._count:
            raise StopIteration
        self.taken += 1
        if self.taken - 1 == self._error_at:
            raise ValueError("a damaged batch")
        return batch(self.taken - 1)

    def close(self):
        self.closed = True


def numbers(batches, count, look=True):
    seen = []
    for _ in range(count):
        seen.append(int(next(batches).x[0]))
        if look:
            batches.look_ahead()
            batches.look_ahead()  # only one is ever fetched ahead
    return seen


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("look", [False, True])
def test_batches_come_in_order_and_end(ahead, look):
    source = Source(4)
    batches = Prefetcher(source, CPU, ahead=ahead)
    assert numbers(batches, 3, look) == [0, 1, 2]
    assert source.taken == (4 if ahead and look else 3)
    assert numbers(batches, 1, look) == [3]
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(batches)


def test_the_cpu_does_not_look_ahead_by_itself():
    source = Source(4)
    assert numbers(Prefetcher(source, CPU), 2) == [0, 1]
    assert source.taken == 2


@pytest.mark.parametrize("ahead", [False, True])
def test_an_error_comes_in_its_turn(ahead):
    batches = Prefetcher(Source(4, error_at=2), CPU, ahead=ahead)
    assert numbers(batches, 2) == [0, 1]
    with pytest.raises(ValueError, match="a damaged batch"):
        next(batches)
    assert int(next(batches).x[0]) == 3, "a source that goes on is gone on with"


def test_who_stops_in_time_never_sees_the_error():
    source = Source(4, error_at=2)
    batches = Prefetcher(source, CPU, ahead=True)
    assert numbers(batches, 2) == [0, 1]
    assert source.taken == 3
    batches.close()
    assert source.closed
    with pytest.raises(StopIteration):
        next(batches)
    batches.look_ahead()
    batches.close()
    assert source.taken == 3
    Prefetcher(iter([]), CPU).close()  # a source without `close`


def test_waiting_counts_wherever_it_happens():
    def slow():
        while True:
            time.sleep(0.05)
            yield batch(0)

    for ahead in (False, True):
        batches = Prefetcher(slow(), CPU, ahead=ahead)
        assert batches.waited_s == 0.0
        next(batches)
        batches.look_ahead()
        next(batches)
        assert batches.waited_s >= 0.1


def test_all_tensors_of_a_batch_are_found():
    found = list(_tensors(batch(7)))
    assert [len(tensor) for tensor in found] == [2, 3]


@pytest.mark.gpu
def test_copies_on_a_side_stream_are_whole_when_they_are_used(device):
    def pinned():
        for number in range(6):
            x = torch.full((4_000_000,), float(number)).pin_memory()
            yield Batch(x, Inner(torch.full((3,), number).pin_memory()))

    batches = Prefetcher(pinned(), device)
    for number in range(6):
        got = next(batches)
        assert got.x.is_cuda
        assert got.inner.y.is_cuda
        total = got.x.double()
        for _ in range(20):  # work that is still queued while the next batch is copied
            total = total + 0 * total.roll(1)
        batches.look_ahead()
        del got  # its memory must not be written by the next copy before the work is done
        assert total.eq(number).all()
    with pytest.raises(StopIteration):
        next(batches)
