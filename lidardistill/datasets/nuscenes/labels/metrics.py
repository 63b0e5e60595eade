"""Confusion matrix and intersection over union, to the convention of nuscenes-devkit.

The convention: row and column of the ignored class are set to zero, a class that neither the labels nor the
predictions hold is NaN, and the mean leaves NaN out. Source: nuscenes-devkit, `eval/lidarseg/utils.py`
(ConfusionMatrix); tests/datasets/test_metrics.py compares with it.
"""

from __future__ import annotations

import numpy as np


def confusion_matrix(
    target: np.ndarray, prediction: np.ndarray, num_classes: int, ignore: int | None = None
) -> np.ndarray:
    """Counts the points of each pair of classes. Matrices of several scans add up.

    A point whose prediction is `ignore` is counted nowhere, not even as a miss: whoever scores a submission
    has to refuse such predictions first, as `evaluation.lidarseg` does.

    Args:
        target: (N,) integer classes, 0..num_classes - 1.
        prediction: (N,) integer classes, 0..num_classes - 1.
        num_classes: classes, the ignored one included.
        ignore: class whose row and column are set to zero, or None.

    Returns:
        (num_classes, num_classes) int64; row is the target, column the prediction.

    Raises:
        ValueError: on shapes that differ, values that are no integers, or classes out of range.
    """
    target, prediction = np.asarray(target), np.asarray(prediction)
    if target.ndim != 1 or target.shape != prediction.shape:
        raise ValueError(
            f"target and prediction must both be (N,), got {target.shape} and {prediction.shape}"
        )
    for name, values in (("target", target), ("prediction", prediction)):
        if values.dtype.kind not in "iu":
            raise ValueError(f"{name} must hold integers, got {values.dtype}")
        if values.size and (values.min() < 0 or values.max() >= num_classes):
            raise ValueError(
                f"{name} must be 0..{num_classes - 1}, got {values.min()}..{values.max()}; "
                "map the raw labels to the evaluated classes first"
            )
    if ignore is not None and not 0 <= ignore < num_classes:
        raise ValueError(f"ignore must be 0..{num_classes - 1} or None, got {ignore}")
    # int64 first: 16 * 17 does not fit the uint8 that labels are stored in.
    pair = target.astype(np.int64) * num_classes + prediction
    matrix = np.bincount(pair, minlength=num_classes**2).reshape(num_classes, num_classes)
    if ignore is not None:
        matrix[ignore, :] = 0
        matrix[:, ignore] = 0
    return matrix


def iou_per_class(matrix: np.ndarray) -> np.ndarray:
    """Divides the points that agree by the points that either side gave to the class.

    Args:
        matrix: (C, C) counts, rows target, columns prediction.

    Returns:
        (C,) float64 in 0..1, NaN for a class that is on neither side (the ignored one always).
    """
    agree = np.diagonal(matrix)
    # float32 because the devkit rounds the union so: beyond 2^24 points that shows in the eighth digit.
    union = (matrix.sum(axis=1) + matrix.sum(axis=0) - agree).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        return agree / union


def mean_iou(matrix: np.ndarray) -> float:
    """Averages the IoU of the classes that are there.

    Args:
        matrix: (C, C) counts, rows target, columns prediction.

    Returns:
        0..1, or NaN where no class is there.
    """
    iou = iou_per_class(matrix)
    there = ~np.isnan(iou)
    return float(iou[there].mean()) if there.any() else float("nan")


def frequency_weighted_iou(matrix: np.ndarray) -> float:
    """Averages the IoU of the classes, weighted with their share of the target points.

    Args:
        matrix: (C, C) counts, rows target, columns prediction.

    Returns:
        0..1, or NaN where there is no point.
    """
    total = matrix.sum()
    if total == 0:
        return float("nan")
    return float(np.nansum(matrix.sum(axis=1) * iou_per_class(matrix)) / total)
