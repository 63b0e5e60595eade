"""Rare classes come as often as common ones."""

from __future__ import annotations

import numpy as np
import pytest

from lidardistill.tasks.detect.class_balance import class_balanced_rows


def test_each_class_is_the_reason_for_equally_many() -> None:
    rows = np.arange(100, 1100)
    present = np.zeros((1000, 4), bool)
    present[:, 0] = True  # everywhere
    present[::10, 1] = True
    present[:5, 2] = True  # in five keyframes, and class 3 nowhere
    drawn = class_balanced_rows(rows, present, np.random.default_rng(0))
    size = (1000 + 100 + 5) // 3
    assert drawn.shape == (3 * size,)
    assert drawn.dtype == np.int64
    common, less, rare = drawn.reshape(3, size)
    assert len(np.unique(common)) > 250
    assert set(less) <= set(rows[::10])
    assert set(rare) == set(rows[:5])
    counts = np.bincount(rare - 100)
    assert counts.min() > size / 5 * 0.7


def test_it_is_a_function_of_the_generator_and_skips_empty_keyframes() -> None:
    present = np.array([[True], [False], [True]])
    first, again, other = (
        class_balanced_rows([7, 8, 9] * 1, present, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert set(first.tolist()) | set(other.tolist()) <= {7, 9}


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"expected \(2, number of classes\)"):
        class_balanced_rows([1, 2], np.ones((3, 10), bool), np.random.default_rng(0))
    with pytest.raises(ValueError, match="no object of any class in 2 keyframes"):
        class_balanced_rows([1, 2], np.zeros((2, 10), bool), np.random.default_rng(0))
