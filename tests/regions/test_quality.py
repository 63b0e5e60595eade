from __future__ import annotations

import numpy as np
import pytest

from lidardistill.regions.superpixels.quality import (
    agreement,
    boundaries,
    boundary_recall,
    explained_variance,
)


def halves(border: int, width: int = 20) -> np.ndarray:
    return np.tile((np.arange(width) >= border).astype(np.int32), (6, 1))


def test_boundaries_are_both_sides():
    np.testing.assert_array_equal(np.flatnonzero(boundaries(halves(8))[0]), [7, 8])
    np.testing.assert_array_equal(np.flatnonzero(boundaries(halves(8).T)[:, 0]), [7, 8])


@pytest.mark.parametrize(("shift", "recall"), [(0, 1.0), (2, 1.0), (3, 0.5), (4, 0.0), (-3, 0.5)])
def test_recall_within_two_pixels(shift, recall):
    # The borders are 3 apart: the two boundary columns are 2 and 3 columns away from the other map's.
    assert boundary_recall(halves(8), halves(8 + shift)) == recall


def test_recall_counts_the_reference():
    fine = np.arange(20, dtype=np.int32) // 4 * np.ones((6, 1), np.int32)
    assert boundary_recall(halves(8), fine, 0) == 1.0
    assert boundary_recall(fine, halves(8), 0) == 0.25
    assert boundary_recall(np.zeros((3, 3), np.int32), fine[:3, :3]) == 1.0


def test_agreement_is_the_share_in_the_best_region():
    assert agreement(halves(8), halves(8)) == 1.0
    assert agreement(halves(8), 1 - halves(8)) == 1.0
    assert agreement(halves(10), halves(13)) == 17 / 20
    assert agreement(halves(10), np.zeros((6, 20), np.int32)) == 1.0


def test_explained_variance(rng):
    image = halves(8)[:, :, None] * np.array([10.0, 20.0, -5.0])
    assert explained_variance(image, halves(8)) == pytest.approx(1.0)
    assert explained_variance(image, np.zeros((6, 20), np.int32)) == pytest.approx(0.0)
    assert explained_variance(np.ones((6, 20, 3)), halves(8)) == 1.0
    noisy = image + rng.normal(0, 1, image.shape)
    labels = halves(6)
    between = sum(
        (labels == k).sum() * ((noisy[labels == k].mean(0) - noisy.mean((0, 1))) ** 2).sum() for k in (0, 1)
    )
    assert explained_variance(noisy, labels) == pytest.approx(
        between / ((noisy - noisy.mean((0, 1))) ** 2).sum()
    )


def test_sizes_must_match():
    with pytest.raises(ValueError, match="same size"):
        agreement(halves(8), halves(8)[:3])
