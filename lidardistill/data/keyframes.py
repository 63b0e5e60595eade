"""The one data set class: keyframes of any source, converted to samples by a recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from torch.utils.data import Dataset

from lidardistill.data.substitute import keyframe_rows, read_or_substitute

Sample = TypeVar("Sample")
SampleKey = tuple[int, int, int]
"""Epoch, position in that epoch's order, place in the data set's `rows`."""


class Named(Protocol):
    """A source with names of its keyframes; see `lidardistill.datasets.base.Source`."""

    def sample_token(self, row: int) -> str: ...


class Recipe(Generic[Sample]):
    """Converts one keyframe to a sample, and samples to a batch.

    A recipe runs in worker processes: numpy in, numpy out, picklable. A sample is a dataclass with
    `sample_token` and `substitutes`, a sequence of (sample token, reason).
    """

    def rows(self, source: Any, rows: np.ndarray) -> np.ndarray:
        """Return the usable rows among the (n,) int64 rows of whole scenes; by default all."""
        return rows

    def of_run(self, rows: np.ndarray) -> Recipe[Sample]:
        """Return the recipe of a run that reads only these (n,) int64 rows; by default the recipe itself."""
        return self

    def sample(self, source: Any, row: int, generator: np.random.Generator) -> Sample:
        """Read and augment one keyframe; raise CorruptSample if one of its files cannot be used."""
        raise NotImplementedError

    def collate(self, samples: Sequence[Sample]) -> Any:
        """Make a `data.batch.Batch` of at least one sample."""
        raise NotImplementedError

    def still(self) -> Recipe[Sample]:
        """Return the same recipe without augmentation and caches, for pictures and caches."""
        raise NotImplementedError

    def warm_up(self) -> None:
        """Compile the kernels that reading one cached sample would not reach; by default there are none."""


class Keyframes(Dataset[Sample]):
    """Samples by `SampleKey`: each is a pure function of (seed, epoch, position).

    Args:
        source: reads keyframes by index row.
        rows: (n,) index rows; the last entry of a key is a place in them.
        recipe: makes the samples.
        seed: seed of all samples.
        max_substitutes: largest number of other keyframes to try for an unreadable one, always the same ones.
            0 raises the error instead: evaluation must score exactly the keyframes of its split.

    Raises:
        ValueError: `rows` is empty.
    """

    def __init__(
        self,
        source: Named,
        rows: Sequence[int] | np.ndarray,
        recipe: Recipe[Sample],
        *,
        seed: int,
        max_substitutes: int = 8,
    ) -> None:
        self.source = source
        self.rows = keyframe_rows(rows)
        self.recipe = recipe
        self.seed = seed
        self.max_substitutes = max_substitutes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: SampleKey) -> Sample:
        """Read one sample.

        Args:
            key: epoch, position in the epoch's order (both seed the random generator), place in `rows`.

        Returns:
            The sample, or the sample of a deterministic substitute with the reason in `substitutes`.

        Raises:
            CorruptSample: the keyframe and `max_substitutes` others cannot be read.
        """
        return read_or_substitute(self.source, self.rows, key, self.seed, self.max_substitutes, self._read)

    def _read(self, row: int, generator: np.random.Generator) -> Sample:
        return self.recipe.sample(self.source, row, generator)

    @property
    def collate(self) -> Callable[[Sequence[Sample]], Any]:
        """The function that makes batches of these samples; picklable."""
        return self.recipe.collate

    def warm_up(self) -> None:
        """Compile the kernels that reading one cached sample would not reach."""
        self.recipe.warm_up()
