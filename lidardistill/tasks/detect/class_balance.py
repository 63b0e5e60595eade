"""Class-balanced sampling (CBGS): repeats keyframes with rare classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def class_balanced_rows(
    rows: Sequence[int] | np.ndarray, classes_present: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Draw the same number of keyframes for each class.

    Let S be the number of (keyframe, class) pairs. For each of the C classes that occur, the function draws
    S / C of the class's keyframes with replacement. On nuScenes' training split an epoch becomes 4.4 times as
    long.

    Args:
        rows: (n,) index rows.
        classes_present: (n, number of classes) bool, `BoxTable.classes_present`.
        generator: random generator; call once per run, not once per epoch.

    Returns:
        (m,) int64 index rows with repetitions, sorted by class: the sampler shuffles them. Keyframes without
        any object are left out.

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
