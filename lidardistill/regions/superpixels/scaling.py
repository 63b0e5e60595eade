"""Reduce images by area averages, and enlarge label maps by nearest neighbour."""

from __future__ import annotations

import numpy as np

from lidardistill.regions.superpixels._average_numba import average_blocks, repeat_blocks


def reduce_by_area(image: np.ndarray, factor: int) -> np.ndarray:
    """Shrink an image by averaging blocks of `factor` x `factor` pixels.

    Args:
        image: (H, W, C) uint8.
        factor: whole number of pixels, 1 or more. Blocks at the right or lower border are averaged over
            their own pixels.

    Returns:
        (ceil(H / factor), ceil(W / factor), C) uint8, rounded to nearest (halves up).
    """
    check_factor(factor)
    if factor == 1:
        return image
    height, width, channels = image.shape
    small = np.empty((-(-height // factor), -(-width // factor), channels), np.uint8)
    average_blocks(np.require(image, requirements=("C", "W")), factor, small)
    return small


def enlarge_labels(labels: np.ndarray, factor: int, image_size: tuple[int, int]) -> np.ndarray:
    """Repeat the labels of a reduced image back to the size of the full one.

    Args:
        labels: (h, w) int32 of the result of `reduce_by_area`.
        factor: the same factor as there.
        image_size: (H, W) of the full image, pixels.

    Returns:
        (H, W) int32: pixel (r, c) has the label of its nearest block, (r // factor, c // factor).
    """
    check_factor(factor)
    height, width = image_size
    if factor == 1:
        return labels
    large = np.empty((height, width), labels.dtype)
    repeat_blocks(np.ascontiguousarray(labels), factor, large)
    return large


def warm_up_scaling() -> None:
    """Compile the kernels of both directions, so that worker processes find them in numba's cache."""
    enlarge_labels(np.zeros((2, 3), np.int32), 2, (4, 6))
    reduce_by_area(np.zeros((4, 6, 3), np.uint8), 2)


def scale_places(
    rows: np.ndarray, cols: np.ndarray, image_size: tuple[int, int], map_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns of a coarser or finer label map for pixels of an image.

    Args:
        rows: (R,) int64 rows of the image.
        cols: (C,) int64 columns of the image.
        image_size: height, width of the image.
        map_size: height, width of the map.

    Returns:
        (R,) and (C,) int64 rows and columns of the map.
    """
    return rows * map_size[0] // image_size[0], cols * map_size[1] // image_size[1]


def check_factor(factor: int) -> None:
    """Raise ValueError unless `factor` is a whole number of at least 1."""
    if isinstance(factor, bool) or not isinstance(factor, (int, np.integer)) or factor < 1:
        raise ValueError(f"scale must be a whole number of pixels, 1 or more, got {factor!r}")
