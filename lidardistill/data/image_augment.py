"""Crop, resize and mirror an image and its superpixels in one pass over the window.

The image stays uint8 until the crop is known; only the pixels of the small result become float32. The
interpolation is bilinear without antialias, with half-pixel centres (`align_corners=False`), as the
torchvision of SLidR's time did on tensors; a modern torchvision would need `antialias=False` to do the same.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numba import njit

from lidardistill.data.augment import CropWindow
from lidardistill.regions.superpixels.scaling import scale_places
from lidardistill.spans import spanned

Implementation = Literal["numba", "numpy"]


@spanned("resize images")
def resize_image(
    image: np.ndarray,
    window: CropWindow,
    size: tuple[int, int],
    *,
    scale: int = 1,
    flipped: bool = False,
    out: np.ndarray | None = None,
    implementation: Implementation = "numba",
) -> np.ndarray:
    """Bilinear resize of a window of an image, without antialias.

    Args:
        image: (H, W, 3) uint8.
        window: the crop, in pixels of the whole image; must lie inside it.
        size: rows, columns of the result.
        scale: whole factor of the reduction of `image` from the whole image, in blocks from its first corner.
            At 1 no pixel outside the window is read; a reduced pixel at the border also covers pixels beyond
            it.
        flipped: mirror the result left to right.
        out: (3, rows, columns) float32 to write into, or None for a new array.
        implementation: "numba", or "numpy" for the slow twin.

    Returns:
        (3, rows, columns) float32 in 0..1.

    Raises:
        ValueError: the image is not (H, W, 3) uint8, or the window leaves it.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image: expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
    _check_window(window, (image.shape[0] * scale, image.shape[1] * scale))
    if out is None:
        out = np.empty((3, *size), np.float32)
    elif out.shape != (3, *size) or out.dtype != np.float32:
        raise ValueError(f"out: expected (3, {size[0]}, {size[1]}) float32, got {out.shape} {out.dtype}")
    rows = _bilinear_taps(window.height, size[0], window.top, False, scale, image.shape[0])
    cols = _bilinear_taps(window.width, size[1], window.left, flipped, scale, image.shape[1])
    kernel = _resize_numba if implementation == "numba" else _resize_numpy
    kernel(np.ascontiguousarray(image), *rows, *cols, out)
    return out


def resize_labels(
    labels: np.ndarray,
    window: CropWindow,
    size: tuple[int, int],
    *,
    image_size: tuple[int, int] | None = None,
    flipped: bool = False,
    pixel_exact: bool = False,
    out: np.ndarray | None = None,
    implementation: Implementation = "numba",
) -> np.ndarray:
    """Nearest-neighbour resize of a window of a label map.

    Args:
        labels: (H, W) of any dtype; may be coarser or finer than the image (a half-resolution cache).
        window: the crop, in pixels of the image.
        size: rows, columns of the result.
        image_size: rows, columns of the image that `window` refers to; None: those of `labels`.
        flipped: mirror the result left to right.
        pixel_exact: False reads row floor(i * scale), torch's mode="nearest" and so SLidR's; True reads the
            pixel under the centre, floor((i + 0.5) * scale), torch's "nearest-exact", which is where the
            bilinear image lies.
        out: (rows, columns) of the same dtype to write into, or None for a new array.
        implementation: "numba", or "numpy" for the slow twin.

    Returns:
        (rows, columns) of the same dtype.

    Raises:
        ValueError: `labels` is not two-dimensional, or the window leaves the image.
    """
    if labels.ndim != 2:
        raise ValueError(f"labels: expected (H, W), got {labels.shape}")
    height, width = image_size or labels.shape
    _check_window(window, (height, width))
    rows, cols = label_places(window, size, flipped=flipped, pixel_exact=pixel_exact)
    if (height, width) != labels.shape:
        rows, cols = scale_places(rows, cols, (height, width), (labels.shape[0], labels.shape[1]))
    if out is None:
        out = np.empty(size, labels.dtype)
    elif out.shape != tuple(size) or out.dtype != labels.dtype:
        raise ValueError(f"out: expected {size} {labels.dtype}, got {out.shape} {out.dtype}")
    if implementation == "numba":
        _take_numba(np.ascontiguousarray(labels), rows, cols, out)
    else:
        out[:] = labels[rows[:, None], cols[None, :]]
    return out


def label_places(
    window: CropWindow, size: tuple[int, int], *, flipped: bool = False, pixel_exact: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns of the image whose crossings `resize_labels` reads.

    Args:
        window: the crop.
        size: rows, columns of the result.
        flipped, pixel_exact: as in `resize_labels`.

    Returns:
        (rows,) int64 ascending and (columns,) int64, descending where flipped.
    """
    rows = window.top + _nearest_rows(window.height, size[0], pixel_exact)
    cols = window.left + _nearest_rows(window.width, size[1], pixel_exact)
    return rows, np.ascontiguousarray(cols[::-1]) if flipped else cols


def image_matrix(window: CropWindow, size: tuple[int, int], *, flipped: bool = False) -> np.ndarray:
    """Return the matrix from pixels of an image to pixels of `resize_image`'s result.

    Half-pixel centres: (u + 0.5 - left) * columns / width - 0.5, and the same along v.

    Args:
        window: the crop, in pixels of the whole image.
        size: rows, columns of the result.
        flipped: the result is mirrored left to right: u becomes columns - 1 - u.

    Returns:
        (4, 4) float64 img2aug, from homogeneous pixels (u d, v d, d, 1) to homogeneous pixels: `img2aug @
        cam2img` is the camera matrix of the result.
    """
    img2aug = np.eye(4)
    places = ((window.left, window.width, size[1]), (window.top, window.height, size[0]))
    for axis, (start, length, target) in enumerate(places):
        scale = target / length
        img2aug[axis, axis] = scale
        img2aug[axis, 2] = (0.5 - start) * scale - 0.5
    if flipped:
        img2aug[0] *= -1.0
        img2aug[0, 2] += size[1] - 1
    return img2aug


def _nearest_rows(length: int, target: int, pixel_exact: bool) -> np.ndarray:
    """Return (target,) int64: the source row of each row. float32 like torch, so that ties are equal."""
    scale = np.float32(length) / np.float32(target)
    offset = np.float32(0.5 if pixel_exact else 0.0)
    source = np.floor((np.arange(target, dtype=np.float32) + offset) * scale).astype(np.int64)
    return np.minimum(source, length - 1)


def _bilinear_taps(
    length: int, target: int, start: int, reverse: bool, reduced_by: int, num_rows: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return two source rows below `num_rows` and the second's weight for each row (align_corners=False)."""
    half = np.float32(0.5)
    position = (np.arange(target, dtype=np.float32) + half) * (np.float32(length) / np.float32(target)) - half
    if reduced_by > 1:
        # The same place in the whole reduced image.
        position = (position + np.float32(start) + half) / np.float32(reduced_by) - half
        start, length = 0, num_rows
    position = np.maximum(position, np.float32(0.0))
    first = np.minimum(position.astype(np.int64), length - 1)
    second = np.minimum(first + 1, length - 1)
    weight = position - first.astype(np.float32)
    step = -1 if reverse else 1
    return (start + first)[::step].copy(), (start + second)[::step].copy(), weight[::step].copy()


def _resize_numpy(image, row0, row1, row_weight, col0, col1, col_weight, out):  # type: ignore[no-untyped-def]
    v, h = row_weight[:, None, None], col_weight[None, :, None]
    upper = image[row0[:, None], col0] * (1 - h) + image[row0[:, None], col1] * h
    lower = image[row1[:, None], col0] * (1 - h) + image[row1[:, None], col1] * h
    out[:] = ((upper * (1 - v) + lower * v) / np.float32(255)).transpose(2, 0, 1)


@njit(cache=True, nogil=True)
def _resize_numba(image, row0, row1, row_weight, col0, col1, col_weight, out):  # type: ignore[no-untyped-def]
    # Blend two rows over the whole window first, in a contiguous SIMD loop; then gather columns.
    height, width = out.shape[1], out.shape[2]
    left = min(col0.min(), col1.min())
    right = max(col0.max(), col1.max()) + 1
    flat = image.reshape(image.shape[0], image.shape[1] * 3)
    blended = np.empty((right - left) * 3, np.float32)
    inverse = np.float32(1.0 / 255.0)
    for r in range(height):
        lower_weight = row_weight[r] * inverse
        upper_weight = (np.float32(1.0) - row_weight[r]) * inverse
        upper = flat[row0[r], left * 3 : right * 3]
        lower = flat[row1[r], left * 3 : right * 3]
        for k in range(blended.size):
            blended[k] = upper_weight * np.float32(upper[k]) + lower_weight * np.float32(lower[k])
        for c in range(width):
            a, b = (col0[c] - left) * 3, (col1[c] - left) * 3
            second = col_weight[c]
            first = np.float32(1.0) - second
            out[0, r, c] = first * blended[a] + second * blended[b]
            out[1, r, c] = first * blended[a + 1] + second * blended[b + 1]
            out[2, r, c] = first * blended[a + 2] + second * blended[b + 2]


@njit(cache=True, nogil=True)
def _take_numba(labels, rows, cols, out):  # type: ignore[no-untyped-def]
    for r in range(rows.size):
        source = labels[rows[r]]
        for c in range(cols.size):
            out[r, c] = source[cols[c]]


def _check_window(window: CropWindow, image_size: tuple[int, ...]) -> None:
    height, width = image_size
    inside = (
        window.top >= 0
        and window.left >= 0
        and window.height >= 1
        and window.width >= 1
        and window.top + window.height <= height
        and window.left + window.width <= width
    )
    if not inside:
        raise ValueError(f"window: expected a rectangle inside the {height} x {width} image, got {window}")
