"""Confusion matrix and intersection over union (IoU), with the convention of nuscenes-devkit.

Convention: row and column of the ignored class are zero; the IoU of a class without labels and predictions is
NaN; the mean ignores NaN. Source: nuscenes-devkit, `eval/lidarseg/utils.py` (ConfusionMatrix);
tests/datasets/test_metrics.py compares with it.
"""

from __future__ import annotations

import numpy as np


def confusion_matrix(
    target: np.ndarray, prediction: np.ndarray, num_classes: int, ignore: int | None = None
) -> np.ndarray:
    """Count the points of each pair of classes. The matrices of several scans can be added.

    Points with the prediction `ignore` are not counted, not even as a miss. Check submissions for such
    predictions first, as `judge_points` does.

    Args:
        target: (N,) integer classes, 0..num_classes - 1.
        prediction: (N,) integer classes, 0..num_classes - 1.
        num_classes: number of classes, including the ignored class.
        ignore: ignored class; its row and column are set to zero. None ignores no class.

    Returns:
        (num_classes, num_classes) int64; row is the target, column the prediction.

    Raises:
        ValueError: the shapes differ, the values are not integers, or a class is out of range.
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
    # int64 first, because 16 * 17 overflows uint8, the type of the labels.
    pair = target.astype(np.int64) * num_classes + prediction
    matrix = np.bincount(pair, minlength=num_classes**2).reshape(num_classes, num_classes)
    if ignore is not None:
        matrix[ignore, :] = 0
        matrix[:, ignore] = 0
    return matrix


def iou_per_class(matrix: np.ndarray) -> np.ndarray:
    """IoU of each class: points with the class in both label and prediction, over points with it in either.

    Args:
        matrix: (C, C) counts, rows target, columns prediction.

    Returns:
        (C,) float64 in 0..1, NaN for a class without labels and predictions (always for the ignored class).
    """
    agree = np.diagonal(matrix)
    # float32 as in the devkit: above 2^24 points the rounding of the union changes the eighth digit.
    union = (matrix.sum(axis=1) + matrix.sum(axis=0) - agree).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        return agree / union


def mean_iou(matrix: np.ndarray) -> float:
    """Mean IoU of the classes that are present.

    Args:
        matrix: (C, C) counts, rows target, columns prediction.

    Returns:
        0..1, or NaN if no class is present.
    """
    iou = iou_per_class(matrix)
    there = ~np.isnan(iou)
    return float(iou[there].mean()) if there.any() else float("nan")


def frequency_weighted_iou(matrix: np.ndarray) -> float:
    """Mean IoU of the classes, weighted by their share of the target points.

    Args:
        matrix: (C, C) counts, rows target, columns prediction.

    Returns:
        0..1, or NaN if there are no points.
    """
    total = matrix.sum()
    if total == 0:
        return float("nan")
    return float(np.nansum(matrix.sum(axis=1) * iou_per_class(matrix)) / total)
