"""Measures of two segmentations' agreement, and of a segmentation's fit to its image."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def boundaries(labels: np.ndarray) -> np.ndarray:
    """Return (H, W) bool: pixels with a neighbour (left, right, above, below) of another label.

    Args:
        labels: (H, W) integers.
    """
    edge = np.zeros(labels.shape, dtype=bool)
    across = labels[:, 1:] != labels[:, :-1]
    down = labels[1:] != labels[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge


def boundary_recall(reference: np.ndarray, labels: np.ndarray, tolerance_px: int = 2) -> float:
    """Return the share of the reference's boundary pixels that have a boundary pixel of `labels` nearby.

    Args:
        reference, labels: (H, W) integers.
        tolerance_px: nearby means a row and a column distance of at most this many pixels.

    Returns:
        0..1; 1 if the reference has no boundary. Swapped arguments give boundary precision.
    """
    check_same_size(reference, labels)
    wanted = boundaries(reference)
    if not wanted.any():
        return 1.0
    side = 2 * tolerance_px + 1
    near = ndimage.maximum_filter(boundaries(labels), size=side, mode="constant")
    return float(near[wanted].mean())


def agreement(reference: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of pixels in the region of `labels` that overlaps their reference region most.

    Args:
        reference, labels: (H, W) ids >= 0.

    Returns:
        0..1. Many small regions lower it, one large region does not: compare it with the number of regions.
    """
    check_same_size(reference, labels)
    num = int(labels.max()) + 1
    pairs = reference.astype(np.int64).reshape(-1) * num + labels.reshape(-1)
    overlap = np.bincount(pairs, minlength=(int(reference.max()) + 1) * num).reshape(-1, num)
    return float(overlap.max(axis=1).sum() / labels.size)


def explained_variance(image: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of an image's variance that remains if every region has its mean colour.

    Args:
        image: (H, W, C) numbers; Lab is the usual choice.
        labels: (H, W) ids >= 0.

    Returns:
        0..1; 1 for an image of one colour.
    """
    check_same_size(image[:, :, 0], labels)
    flat = labels.reshape(-1)
    counts = np.maximum(np.bincount(flat), 1)
    values = image.reshape(flat.size, -1).astype(np.float64)
    values -= values.mean(axis=0)
    total = float((values**2).sum())
    if total == 0.0:
        return 1.0
    sums = np.stack([np.bincount(flat, weights=channel) for channel in values.T], axis=1)
    return float((sums**2 / counts[:, None]).sum() / total)


def check_same_size(first: np.ndarray, second: np.ndarray) -> None:
    """Raise ValueError unless both are (H, W) of one size and not empty."""
    if first.ndim != 2 or first.shape != second.shape or first.size == 0:
        raise ValueError(
            f"two maps of the same size (H, W) are compared, got {first.shape} and {second.shape}"
        )
