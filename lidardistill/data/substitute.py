"""Substitutes of unreadable keyframes: the choice is deterministic and always reported."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from lidardistill.corrupt import CorruptPoints, CorruptSample
from lidardistill.streams import Stream

Sample = TypeVar("Sample", bound=Any)


class _Tokens(Protocol):
    def sample_token(self, row: int) -> str: ...


def _scan_of(index: Any, row: int) -> str:
    """Return the file of a keyframe's scan; its token if the index does not know files."""
    scan = getattr(index, "keyframe_scan", None)
    return str(scan(row).path) if scan is not None else f"of keyframe {index.sample_token(row)}"


def keyframe_rows(rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return (n,) int64 index rows of a data set; raise ValueError if there are none."""
    rows = np.asarray(rows, dtype=np.int64)
    if len(rows) == 0:
        raise ValueError(
            "rows: expected at least one keyframe, got none; is the split empty in this version?"
        )
    return rows


def sample_generator(seed: int, epoch: int, position: int) -> np.random.Generator:
    """Return the random generator of one sample: a pure function of seed, epoch and position."""
    return np.random.default_rng(np.random.SeedSequence([seed, epoch, position]))


def substitute_rows(num_rows: int, seed: int, epoch: int, position: int, count: int) -> np.ndarray:
    """Return the places in `rows` to try, in order, if the keyframe at (epoch, position) cannot be read.

    Args:
        num_rows: length of `rows`.
        seed: seed of the run.
        epoch: epoch of the key.
        position: position of the key.
        count: number of places.

    Returns:
        (count,) int64 places, drawn with replacement; a pure function of the arguments.
    """
    stream = np.random.SeedSequence([seed, epoch, position, Stream.SUBSTITUTE])
    return np.random.default_rng(stream).integers(num_rows, size=count)


def read_or_substitute(
    index: _Tokens,
    rows: np.ndarray,
    key: tuple[int, int, int],
    seed: int,
    max_substitutes: int,
    read: Callable[[int, np.random.Generator], Sample],
) -> Sample:
    """Read the sample of a key; if that fails, read the first readable substitute.

    Args:
        index: has the names of the keyframes.
        rows: (n,) int64 index rows.
        key: epoch, position, place in `rows`.
        seed: seed of the run.
        max_substitutes: number of other keyframes to try; 0 raises the first error.
        read: (index row, generator) -> a sample with a field `substitutes`.

    Returns:
        The sample; its `substitutes` holds (token, reason) of each unreadable keyframe.

    Raises:
        CorruptSample: neither the keyframe nor a substitute could be read.
        FileNotFoundError: a file is missing and `max_substitutes` is 0.
    """
    epoch, position, place = (int(part) for part in key)
    failures: list[tuple[str, str]] = []
    last: Exception | None = None
    others = substitute_rows(len(rows), seed, epoch, position, max_substitutes)
    for candidate in (place, *others.tolist()):
        row = int(rows[candidate])
        try:
            sample = read(row, sample_generator(seed, epoch, position))
        except (CorruptSample, FileNotFoundError) as error:
            if isinstance(error, CorruptPoints):
                error = CorruptSample(f"LiDAR scan {_scan_of(index, row)}: {error}")
            if max_substitutes == 0:
                raise error
            failure = (index.sample_token(row), str(error))
            if failure not in failures:
                failures.append(failure)
            last = error
            continue
        return dataclasses.replace(sample, substitutes=tuple(failures)) if failures else sample
    raise CorruptSample(
        f"{len(failures)} different keyframes in a row could not be read (asked for {failures[0][0]} and "
        f"{max_substitutes} substitutes); is the data set complete? The last error: {last}"
    ) from last
