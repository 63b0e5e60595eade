"""Pictures of one keyframe for a reader's eye: which point falls on which pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lidardistill.geometry.views import Pairing
from lidardistill.report.draw.cameras import (
    color_bar,
    faded,
    mosaic,
    resize,
    splat,
    stack,
    view_name,
    view_order,
)
from lidardistill.report.draw.encode import save_png
from lidardistill.report.draw.palette import scalar_rgb

__all__ = ["depth_legend", "depth_rgb", "draw_pairs", "paint_points", "save_png"]

NEAR_M, FAR_M = 3.0, 60.0
"""Ends of the depth scale, which is logarithmic: far points lie close together in an image."""


def depth_rgb(depth: np.ndarray) -> np.ndarray:
    """(P, 3) uint8 of depths in metres: near is bright yellow, far is dark violet."""
    return scalar_rgb(-np.log(np.clip(depth, NEAR_M, FAR_M)), -np.log(FAR_M), -np.log(NEAR_M))


def depth_legend(width: int, size: int = 18) -> np.ndarray:
    """(h, width, 3) uint8: what the colours of `depth_rgb` mean."""
    ticks = [(-np.log(m), f"{m:g} m") for m in (60, 40, 20, 10, 5, 3)]
    return color_bar(width, -np.log(FAR_M), -np.log(NEAR_M), ticks, "depth", size=size)


def paint_points(
    image: np.ndarray, rows: np.ndarray, cols: np.ndarray, colors: np.ndarray, depth: np.ndarray
) -> None:
    """Draw the points of one view in place, near ones larger and over far ones.

    Args:
        image: (H, W, 3) uint8.
        rows, cols: (P,) pixels.
        colors: (P, 3) uint8.
        depth: (P,) metres.
    """
    far_first = np.argsort(-depth, kind="stable")
    near = image.shape[1] / 250 * np.clip(12 / np.maximum(depth[far_first], 1), 0.35, 1.0)
    splat(image, rows[far_first], cols[far_first], colors[far_first], near.round())


def draw_pairs(
    images: Sequence[np.ndarray], channels: Sequence[str], pairing: Pairing, *, width: int = 640
) -> np.ndarray:
    """All cameras with the points that fall on them, coloured by depth, and a legend.

    Args:
        images: V arrays (H, W, 3) uint8, RGB.
        channels: V names.
        pairing: of these images.
        width: of one camera in the picture, pixels.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: there is no image, or not one name for each.
    """
    if len(images) == 0 or len(images) != len(channels):
        raise ValueError(f"expected one name for each image, got {len(images)} images, {len(channels)} names")
    shown, names = [], []
    views, rows, cols = pairing.pairing_images.T
    for view in view_order(channels):
        picture = faded(resize(images[view], width))
        scale = width / images[view].shape[1]
        mine = views == view
        row, col = (((place[mine] + 0.5) * scale).astype(np.int64) for place in (rows, cols))
        paint_points(picture, row, col, depth_rgb(pairing.depth[mine]), pairing.depth[mine])
        shown.append(picture)
        names.append(f"{view_name(channels[view])}  {int(mine.sum()):,} points")
    grid = mosaic(shown, names, text_size=max(12, width // 36))
    return stack([grid, depth_legend(grid.shape[1], max(12, width // 36))], gap=12)
