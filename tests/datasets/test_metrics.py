from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lidardistill.datasets.nuscenes.labels.metrics import (
    confusion_matrix,
    frequency_weighted_iou,
    iou_per_class,
    mean_iou,
)


@pytest.fixture(scope="module")
def official() -> Any:
    return pytest.importorskip("nuscenes.eval.lidarseg.utils").ConfusionMatrix


def slow_confusion_matrix(
    target: np.ndarray, prediction: np.ndarray, num_classes: int, ignore: int | None
) -> np.ndarray:
    matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
    for t, p in zip(target.tolist(), prediction.tolist(), strict=True):
        if ignore not in (t, p) or ignore is None:
            matrix[t, p] += 1
    return matrix


@pytest.mark.parametrize("ignore", [None, 0, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_matrix_equals_counting_one_by_one(ignore: int | None, dtype: Any, rng: np.random.Generator) -> None:
    target, prediction = rng.integers(0, 17, (2, 3000)).astype(dtype)
    ours = confusion_matrix(target, prediction, 17, ignore)
    assert ours.dtype == np.int64
    np.testing.assert_array_equal(ours, slow_confusion_matrix(target, prediction, 17, ignore))


@pytest.mark.parametrize("seed", range(5))
def test_figures_equal_the_devkits_on_random_labels(seed: int, official: Any) -> None:
    rng = np.random.default_rng(seed)
    theirs = official(17, ignore_idx=0)
    ours = np.zeros((17, 17), dtype=np.int64)
    present = rng.permutation(np.arange(1, 17))[:12]  # the other four are absent on both sides
    for _ in range(3):
        target = rng.choice(np.append(present, 0), 5000).astype(np.uint8)
        prediction = np.where(rng.random(5000) < 0.5, target, rng.choice(present, 5000)).astype(np.uint8)
        prediction[prediction == 0] = present[0]
        theirs.update(target, prediction)
        ours += confusion_matrix(target, prediction, 17, ignore=0)
    np.testing.assert_array_equal(ours, theirs.global_cm)
    np.testing.assert_array_equal(iou_per_class(ours), theirs.get_per_class_iou())
    assert np.isnan(iou_per_class(ours)).sum() == 5
    assert mean_iou(ours) == pytest.approx(theirs.get_mean_iou(), abs=1e-12)
    assert frequency_weighted_iou(ours) == pytest.approx(theirs.get_freqweighted_iou(), abs=1e-12)


def test_figures_equal_the_devkits_beyond_the_integers_of_float32(official: Any) -> None:
    rng = np.random.default_rng(0)
    theirs = official(17, ignore_idx=0)
    theirs.global_cm = rng.integers(0, 2**40, (17, 17))
    np.testing.assert_array_equal(iou_per_class(theirs.global_cm), theirs.get_per_class_iou())
    assert mean_iou(theirs.global_cm) == pytest.approx(theirs.get_mean_iou(), abs=1e-12)
    assert frequency_weighted_iou(theirs.global_cm) == pytest.approx(theirs.get_freqweighted_iou(), abs=1e-12)


def test_iou_by_hand() -> None:
    # class 1: 3 right, 1 missed to class 2; class 2: 2 right; class 3: nowhere; class 0: ignored
    target = np.array([1, 1, 1, 1, 2, 2, 0, 0])
    prediction = np.array([1, 1, 1, 2, 2, 2, 1, 2])
    matrix = confusion_matrix(target, prediction, 4, ignore=0)
    np.testing.assert_allclose(iou_per_class(matrix), [np.nan, 3 / 4, 2 / 3, np.nan])
    assert mean_iou(matrix) == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert frequency_weighted_iou(matrix) == pytest.approx((4 * 3 / 4 + 2 * 2 / 3) / 6)


def test_a_class_only_predicted_counts_zero_not_one() -> None:
    matrix = confusion_matrix(np.array([1, 1]), np.array([1, 2]), 4)
    np.testing.assert_allclose(iou_per_class(matrix), [np.nan, 0.5, 0.0, np.nan])
    assert mean_iou(matrix) == pytest.approx(0.25)


def test_no_points_give_nan_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    empty = np.array([], dtype=np.uint8)
    matrix = confusion_matrix(empty, empty, 17, ignore=0)
    assert matrix.shape == (17, 17)
    assert math.isnan(mean_iou(matrix))
    assert math.isnan(frequency_weighted_iou(matrix))
    assert len(recwarn) == 0


@pytest.mark.parametrize(
    ("target", "prediction", "ignore", "message"),
    [
        (np.array([0, 17]), np.array([0, 0]), None, r"target must be 0\.\.16, got 0\.\.17"),
        (np.array([0, 1]), np.array([-1, 0]), None, r"prediction must be 0\.\.16, got -1\.\.0"),
        (np.array([0, 1]), np.array([0.0, 1.0]), None, "prediction must hold integers, got float64"),
        (np.array([0, 1]), np.array([0]), None, r"\(2,\) and \(1,\)"),
        (np.zeros((2, 1), int), np.zeros((2, 1), int), None, r"must both be \(N,\)"),
        (np.array([0]), np.array([0]), 17, r"ignore must be 0\.\.16 or None, got 17"),
    ],
)
def test_bad_input_is_refused(target: Any, prediction: Any, ignore: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        confusion_matrix(target, prediction, 17, ignore)
