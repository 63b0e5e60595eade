"""Bird's-eye-view feature maps as colours, beside the scan that they were made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from lidardistill.evaluation.joint_pca import fit_joint_pca, position_r2
from lidardistill.report.clouds import Painter, bev_panels
from lidardistill.report.palette import scalar_rgb

FORWARD_M, SIDE_M = 38.0, 38.0
"""Panels stand side by side, so they are square."""


def map_rgb(
    bevs: Sequence[np.ndarray], occupied: np.ndarray, xy: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Colours of one feature map, or of two that share their channels, in the same three directions.

    Args:
        bevs: one or two maps (C, H, W), any scale: cells are brought to unit length.
        occupied: (H, W) bool, cells that the directions are taken from.
        xy: (H, W, 2) centres of the cells, metres.

    Returns:
        (H, W, 3) uint8 of each map, and (3,) R2 of the first map's colours on the position, as
        `evaluation.joint_pca.position_r2` has it.

    Raises:
        ValueError: no cell is occupied, or the maps differ in shape.
    """
    if len(bevs) not in (1, 2) or len({bev.shape for bev in bevs}) != 1:
        raise ValueError(f"map_rgb: expected one or two maps of one shape, got {[bev.shape for bev in bevs]}")
    cells = [np.moveaxis(bev, 0, -1).astype(np.float64) for bev in bevs]
    cells = [cell / np.maximum(np.linalg.norm(cell, axis=-1, keepdims=True), 1e-12) for cell in cells]
    pca = fit_joint_pca(cells[0][occupied], cells[-1][occupied])
    projected = [pca.student(cells[0]), *(pca.teacher(cell) for cell in cells[1:])]
    r2 = position_r2(projected[0][occupied], xy[occupied])
    return [pca.rgb(one) for one in projected], r2


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
    """The scan from above and, beside it, the maps.

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
    return bev_panels(panels, columns=2, forward_m=FORWARD_M, side_m=SIDE_M)
