"""Keyframes with rare classes drawn more often."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def class_balanced_rows(
    rows: Sequence[int] | np.ndarray, classes_present: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Draw keyframes so that each class is the reason for equally many.

    With S the number of (keyframe, class) pairs, S / C keyframes are drawn, with replacement, from those of
    each of the C classes that occur. On nuScenes' training split that is 4.4 times as many as there are,
    which an epoch then holds.

    Args:
        rows: (n,) index rows.
        classes_present: (n, number of classes) bool, `BoxTable.classes_present`.
        generator: where they are drawn from; once a run, not once an epoch.

    Returns:
        (m,) int64 index rows with repetitions, class after class: the sampler's order mixes them. A keyframe
        without any object is not among them.

    Raises:
        ValueError: shapes that do not fit, or no object at all.

    Source: CBGS (Zhu et al., arXiv 1908.09492) section 3.2.
    """
    rows = np.asarray(rows, dtype=np.int64)
    present = np.asarray(classes_present, dtype=bool)
    if present.ndim != 2 or len(present) != len(rows):
        raise ValueError(
            f"classes_present: expected ({len(rows)}, number of classes), one row for each of rows, got "
            f"{present.shape}"
        )
    pools = [pool for pool in map(np.flatnonzero, present.T) if len(pool)]
    if not pools:
        raise ValueError(f"no object of any class in {len(rows)} keyframes: nothing to balance")
    size = sum(map(len, pools)) // len(pools)
    return np.concatenate([rows[pool[generator.integers(len(pool), size=size)]] for pool in pools])
