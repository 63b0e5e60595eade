"""Augmentation of the cloud and of the pairs: rotate, flip, drop a cuboid, crop and flip the views.

This module reads no pixels. It draws crops and flips and moves the pairs, a few thousand rows;
`lidardistill.data.image_augment` then reads each image once, at its crop.

Source: SLidR (Sautier et al., CVPR 2022) and its public code. The default values, the order and the
thresholds are SLidR's.

Differs from SLidR in: the caller passes one `np.random.Generator` (SLidR mixes two global generators); the
number of tries for a crop is bounded (SLidR hangs on an image without pairs, because the share is 0 / 0).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lidardistill.data.config import AugmentConfig

_CROP_TRIES = 100
"""Maximum number of windows drawn for one view; the last one is taken."""
_ASPECT_TRIES = 10  # torchvision's RandomResizedCrop tries ten shapes, then takes the central crop


class CropWindow(NamedTuple):
    """A rectangle of whole pixels: rows top .. top + height - 1, columns left .. left + width - 1."""

    top: int
    left: int
    height: int
    width: int


def augment_cloud(
    points: np.ndarray, settings: AugmentConfig, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Turn the cloud around z, then flip x and y, each independently.

    Args:
        points: (N, 3+F) float32, LiDAR frame, metres; the columns after z stay unchanged.
        settings: see `AugmentConfig`.
        generator: random generator of the angle and the flips.

    Returns:
        (N, 3+F) float32 new points, and augment_matrix (4, 4) float64 with `new = augment_matrix @ old`
        (column vectors).
    """
    augment_matrix = np.eye(4)
    if settings.rotate:
        angle_rad = generator.uniform(0.0, 2.0 * np.pi)
        c, s = np.cos(angle_rad), np.sin(angle_rad)
        augment_matrix[:2, :2] = ((c, -s), (s, c))
    for axis in (0, 1):
        if settings.flip and generator.random() < 0.5:
            augment_matrix[axis] *= -1.0
    moved = points.copy()
    # Only x and y change, so z stays bit-equal to the sensor's value.
    x, y = points[:, 0].astype(np.float64), points[:, 1].astype(np.float64)
    for axis in (0, 1):
        moved[:, axis] = augment_matrix[axis, 0] * x + augment_matrix[axis, 1] * y
    return moved, augment_matrix


def drop_cuboid(
    points: np.ndarray,
    pairing_points: np.ndarray,
    pairing_images: np.ndarray,
    num_views: int,
    settings: AugmentConfig,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the points and pairs that stay when the inside of one random cuboid is removed.

    The centre is a random point; the half side on each axis is extent * U(0, cuboid_max_share) / 2, with one
    draw for the three axes; points strictly inside are dropped.

    Args:
        points: (N, 3+F) float32, metres, after rotation and flips.
        pairing_points: (P,) int64 row in `points`.
        pairing_images: (P, 3) int64 view, row, col.
        num_views: V; a view without pairs counts as one with too few.
        settings: see `AugmentConfig`.
        generator: random generator of the share and the centre.

    Returns:
        point_kept (N,) bool and pair_kept (P,) bool; all True if the step is disabled, or rolled back because
        a view would keep fewer than `cuboid_min_pairs` pairs.
    """
    all_points, all_pairs = np.ones(len(points), bool), np.ones(len(pairing_points), bool)
    if not settings.drop_cuboid or len(points) == 0:
        return all_points, all_pairs
    columns = np.ascontiguousarray(points[:, :3].T)
    share = generator.uniform(0.0, settings.cuboid_max_share)
    centre = columns[:, generator.integers(len(points))]
    half_size = (columns.max(axis=1) - columns.min(axis=1)) * np.float32(share / 2.0)
    inside = np.ones(len(points), bool)
    for column, low, high in zip(columns, centre - half_size, centre + half_size, strict=True):
        inside &= column > low
        inside &= column < high
    point_kept = ~inside
    pair_kept = point_kept[pairing_points]
    pairs_of_view = np.bincount(pairing_images[pair_kept, 0], minlength=num_views)
    if num_views and pairs_of_view.min() < settings.cuboid_min_pairs:
        return all_points, all_pairs
    return point_kept, pair_kept


def select_points(
    points: np.ndarray,
    pairing_points: np.ndarray,
    pairing_images: np.ndarray,
    point_kept: np.ndarray,
    pair_kept: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Apply the masks of `drop_cuboid` and renumber the pairs' points.

    Args:
        points: (N, 3+F) float32.
        pairing_points: (P,) int64 row in `points`.
        pairing_images: (P, 3) int64.
        point_kept: (N,) bool.
        pair_kept: (P,) bool, True only where the pair's point is kept.

    Returns:
        points (N', 3+F), pairing_points (P',) row in the new points, pairing_images (P', 3).
    """
    if point_kept.all() and pair_kept.all():
        return points, pairing_points, pairing_images
    new_row = np.cumsum(point_kept, dtype=np.int64) - 1
    # take() with row numbers is several times faster than a mask on 2-d arrays.
    pairs = np.flatnonzero(pair_kept)
    kept_points = points.take(np.flatnonzero(point_kept), axis=0)
    return kept_points, new_row[pairing_points[pairs]], pairing_images.take(pairs, axis=0)


def draw_window(
    height: int, width: int, settings: AugmentConfig, generator: np.random.Generator
) -> CropWindow:
    """Draw one window as torchvision's RandomResizedCrop does: area uniform, aspect log-uniform, ten tries.

    Args:
        height: rows of the image.
        width: columns of the image.
        settings: see `AugmentConfig`.
        generator: random generator of area, aspect and corner.

    Returns:
        A window inside the image; if ten shapes do not fit, the largest central one of an allowed aspect.
    """
    low, high = settings.crop_aspect
    for _ in range(_ASPECT_TRIES):
        area = height * width * generator.uniform(*settings.crop_area)
        aspect = np.exp(generator.uniform(np.log(low), np.log(high)))
        w, h = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = int(generator.integers(height - h + 1))
            return CropWindow(top, int(generator.integers(width - w + 1)), h, w)
    h, w = height, width
    if width / height < low:
        h = max(1, min(height, round(width / low)))
    elif width / height > high:
        w = max(1, min(width, round(height * high)))
    return CropWindow((height - h) // 2, (width - w) // 2, h, w)


def crop_pixels(
    rows_cols: np.ndarray,
    window: CropWindow,
    size: tuple[int, int],
    *,
    pixel_exact: bool = False,
    clamp: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of an image's pixels in its cropped and resized copy.

    Args:
        rows_cols: (P, 2) int64 row, col in the image.
        window: the crop.
        size: rows and columns of the copy.
        pixel_exact: False rounds pairs as SLidR does; True follows the half-pixel rule of the images.
        clamp: keep pixels that rounding moves past the last row or column, and put them onto it. SLidR does
            so if the full image is resized.

    Returns:
        (P, 2) int64 row, col in the copy and (P,) bool, False where the pixel is not in the copy.
    """
    moved = np.empty(rows_cols.shape, np.int64)
    inside = np.ones(len(rows_cols), bool)
    for axis, (start, length, target) in enumerate(
        ((window.top, window.height, size[0]), (window.left, window.width, size[1]))
    ):
        relative = (rows_cols[:, axis] - start).astype(np.float64)
        scale = target / length
        place = np.floor((relative + 0.5) * scale) if pixel_exact else np.rint(relative * scale)
        if clamp:
            np.minimum(place, target - 1, out=place)
        inside &= (place >= 0) & (place < target)
        moved[:, axis] = place
    return moved, inside


def resized_crop(
    pairing_images: np.ndarray,
    image_size: np.ndarray,
    settings: AugmentConfig,
    generator: np.random.Generator,
) -> tuple[list[CropWindow], np.ndarray, np.ndarray]:
    """Choose a window in each view independently and carry the pairs into it.

    A window is drawn again until it keeps more than `crop_min_pairs` pairs of its view or more than
    `crop_min_share` of them.

    Args:
        pairing_images: (P, 3) int64 view, row, col in the full images.
        image_size: (V, 2) int64 rows, columns of the full images.
        settings: see `AugmentConfig`.
        generator: random generator of the windows.

    Returns:
        V windows; (P, 3) int64 view, row, col in the resized windows; (P,) bool, False for pairs
        outside the windows.

    Differs from SLidR in: a view without pairs takes its first window, and after `_CROP_TRIES` windows the
        last one is taken; SLidR tries for ever.
    """
    moved, kept = pairing_images.copy(), np.zeros(len(pairing_images), bool)
    windows = []
    view_of_pair = np.ascontiguousarray(pairing_images[:, 0])
    in_order = bool((view_of_pair[1:] >= view_of_pair[:-1]).all())  # the order of `pair_points`
    for view, (height, width) in enumerate(np.asarray(image_size).tolist()):
        size = settings.image_size
        members: slice | np.ndarray = (
            np.flatnonzero(view_of_pair == view)
            if not in_order
            else slice(*np.searchsorted(view_of_pair, (view, view + 1)).tolist())
        )
        rows_cols = pairing_images[members, 1:]
        if not settings.crop_images:
            window = CropWindow(0, 0, height, width)
            pixels, inside = crop_pixels(rows_cols, window, size, clamp=True)
        else:
            for _ in range(_CROP_TRIES):
                window = draw_window(height, width, settings, generator)
                pixels, inside = crop_pixels(rows_cols, window, size)
                num_kept = int(inside.sum())
                enough = num_kept > settings.crop_min_pairs or num_kept > settings.crop_min_share * len(
                    rows_cols
                )
                if len(rows_cols) == 0 or enough:
                    break
        windows.append(window)
        moved[members, 1:] = pixels
        kept[members] = inside
    return windows, moved, kept


def flip_horizontal(
    pairing_images: np.ndarray,
    width_px: np.ndarray,
    settings: AugmentConfig,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the views to mirror left to right and mirror their pairs: col -> width - 1 - col.

    Args:
        pairing_images: (P, 3) int64 view, row, col in the resized windows.
        width_px: (V,) int64 columns of the resized windows.
        settings: see `AugmentConfig`.
        generator: one draw for each view, in order.

    Returns:
        (P, 3) int64 pairs and (V,) bool, True for mirrored views.
    """
    num_views = len(width_px)
    if not settings.flip_images:
        return pairing_images, np.zeros(num_views, bool)
    flipped = generator.random(num_views) < 0.5
    mirrored = pairing_images.copy()
    view = pairing_images[:, 0]
    mirrored[:, 2] = np.where(flipped[view], width_px[view] - 1 - pairing_images[:, 2], pairing_images[:, 2])
    return mirrored, flipped
