"""The order of keyframes: a pure function of (seed, epoch, global index), for any number of processes.

All epochs follow each other in one endless stream. Step s of a run takes the next `batch_size * world_size`
entries, and process r takes every world_size-th of these, starting with the r-th. To resume, a run needs only
the number of its next step. With twice the processes and half the batch size each, every step has the same
keyframes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lidardistill.streams import Stream

_Key = tuple[int, int, int]


class EpochOrder:
    """The order of each epoch.

    Args:
        num_samples: n, at least 1.
        seed: seed of the run.

    Raises:
        ValueError: there are no samples.
    """

    def __init__(self, num_samples: int, seed: int) -> None:
        if num_samples < 1:
            raise ValueError(f"num_samples: expected at least 1 keyframe, got {num_samples}")
        self.num_samples = num_samples
        self.seed = seed
        self._last: tuple[int, np.ndarray] | None = None

    def order(self, epoch: int) -> np.ndarray:
        """Return (n,) int64: the place in the data set's `rows` for each position of this epoch."""
        if self._last is None or self._last[0] != epoch:
            stream = np.random.SeedSequence([self.seed, epoch, Stream.ORDER])
            self._last = epoch, np.random.default_rng(stream).permutation(self.num_samples)
        return self._last[1]


class StepSampler:
    """Endless batches of one process from any step on; a `batch_sampler` for a DataLoader.

    A batch at the end of an epoch is filled from the beginning of the next one, so that each keyframe occurs
    exactly once in an epoch and every batch is full.

    Args:
        order: the order of each epoch.
        batch_size: keyframes of a step in this process.
        rank: number of this process.
        world_size: number of processes.
        start_step: first step; a checkpoint stores it.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        order: EpochOrder,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        start_step: int = 0,
    ) -> None:
        if batch_size < 1 or start_step < 0:
            raise ValueError(
                f"expected batch_size >= 1 and start_step >= 0, got {batch_size} and {start_step}"
            )
        if not 0 <= rank < world_size:
            raise ValueError(f"rank: expected 0..{world_size - 1}, got {rank}")
        self.order = order
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.start_step = start_step

    @property
    def global_batch_size(self) -> int:
        """Keyframes of a step, over all processes."""
        return self.batch_size * self.world_size

    def keys(self, step: int) -> list[_Key]:
        """Return the (epoch, position, place) keys of this process at a step."""
        first = step * self.global_batch_size + self.rank
        stream = range(first, first + self.global_batch_size - self.rank, self.world_size)
        keys = []
        for entry in stream:
            epoch, position = divmod(entry, self.order.num_samples)
            keys.append((epoch, position, int(self.order.order(epoch)[position])))
        return keys

    def __iter__(self) -> Iterator[list[_Key]]:
        step = self.start_step
        while True:
            yield self.keys(step)
            step += 1


class OnceSampler:
    """Every keyframe exactly once, in order, for evaluation; a `batch_sampler` for a DataLoader.

    Processes may get different numbers of keyframes: a repeated one would count twice in a metric.

    Args:
        num_samples: n; 0 is allowed.
        batch_size: keyframes of a batch; the last batch may be short.
        rank: number of this process; it takes rank, rank + world_size, ...
        world_size: number of processes.
    """

    def __init__(self, num_samples: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        if batch_size < 1 or not 0 <= rank < world_size:
            raise ValueError(
                f"expected batch_size >= 1 and 0 <= rank < {world_size}, got {batch_size} and {rank}"
            )
        self._places = range(rank, num_samples, world_size)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._places) // self.batch_size)

    def __iter__(self) -> Iterator[list[_Key]]:
        for first in range(0, len(self._places), self.batch_size):
            yield [(0, place, place) for place in self._places[first : first + self.batch_size]]
