"""Bird's-eye-view feature maps as colours, beside the scan that they were made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from lidardistill.report.draw.clouds import WIDTH_IN, Painter, bev_panels
from lidardistill.report.draw.palette import scalar_rgb

FORWARD_M, SIDE_M = 38.0, 38.0
"""Panels stand side by side, so they are square."""


def painted_map(colors: np.ndarray, occupied: np.ndarray, corners: np.ndarray) -> Painter:
    """Cells in their colours; those without points are paler.

    Args:
        colors: (H, W, 3) uint8.
        occupied: (H, W) bool.
        corners: (H + 1, W + 1, 2) x, y of the corners of the cells, ego frame, metres.
    """
    shown = np.where(occupied[..., None], 1.0, 0.45) * (colors / 255.0) + np.where(
        occupied[..., None], 0.0, 0.55
    )
    quads = np.stack([corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]], axis=2)

    def paint(axes: Axes) -> None:
        flat = shown.reshape(-1, 3)
        # Each cell has an edge of its own colour, or the ground would shine through between them.
        cells = PolyCollection(quads.reshape(-1, 4, 2), facecolors=flat, edgecolors=flat, linewidths=0.3)
        cells.set_zorder(1.5)
        axes.add_collection(cells)

    return paint


def painted_heights(xyz: np.ndarray) -> Painter:
    """Points (N, 3) ego frame, coloured by their height above the road."""
    order = np.argsort(xyz[:, 2], kind="stable")
    colors = scalar_rgb(xyz[order, 2], 0.0, 3.5) / 255.0

    def paint(axes: Axes) -> None:
        axes.scatter(xyz[order, 0], xyz[order, 1], s=2.6, c=colors, marker="o", linewidths=0, zorder=3)

    return paint


def bev_maps_picture(
    xyz: np.ndarray, maps: Sequence[tuple[str, np.ndarray]], occupied: np.ndarray, corners: np.ndarray
) -> np.ndarray:
    """The scan from above and, beside it, the one or two maps.

    Args:
        xyz: (N, 3) points, ego frame, metres.
        maps: a title and colours (H, W, 3) uint8 of each.
        occupied: (H, W) bool, cells with points.
        corners: (H + 1, W + 1, 2) of the cells, ego frame, metres.

    Returns:
        (H, W, 3) uint8.
    """
    panels = [("the scan, coloured by height", painted_heights(xyz))]
    panels += [(title, painted_map(colors, occupied, corners)) for title, colors in maps]
    width_in = WIDTH_IN * len(panels) / 2
    return bev_panels(panels, columns=len(panels), width_in=width_in, forward_m=FORWARD_M, side_m=SIDE_M)
