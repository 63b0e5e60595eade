"""What region proposals found in a sweep: every region in a colour of its own, the rest in greys."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D

from lidardistill.report.draw.cameras import stack
from lidardistill.report.draw.clouds import WIDTH_IN, Painter, bev_panels
from lidardistill.report.draw.encode import figure_picture
from lidardistill.report.draw.palette import INK

GROUND = "#dde1e6"
REST = "#8f96a1"

_TURN = 0.61803398875  # of the circle of hues; neighbours in number are far apart in colour
_LIGHTS = (0.42, 0.56, 0.34)


def region_rgb(region: np.ndarray) -> np.ndarray:
    """Colours of region ids.

    Args:
        region: (N,) integers from 0.

    Returns:
        (N, 3) uint8, dark enough for a white ground; the same id always has the same one.
    """
    ids, place = np.unique(region, return_inverse=True)
    colors = [
        colorsys.hls_to_rgb(number * _TURN % 1.0, _LIGHTS[number % len(_LIGHTS)], 0.85)
        for number in ids.tolist()
    ]
    table = (255 * np.array(colors).reshape(-1, 3)).round().astype(np.uint8)
    return table[place.reshape(-1)]


def painted_regions(
    xyz: np.ndarray, region: np.ndarray, region_mask: np.ndarray, ground_mask: np.ndarray
) -> Painter:
    """Points of a sweep from above: ground pale, what is in no region grey, regions coloured.

    Args:
        xyz: (N, 3) ego frame, metres.
        region: (N,) id, see `regions.clusters.Proposals`.
        region_mask: (N,) bool.
        ground_mask: (N,) bool.
    """
    rest = ~region_mask & ~ground_mask
    colors = region_rgb(region[region_mask]) / 255.0

    def paint(axes: Axes) -> None:
        axes.plot(*xyz[ground_mask, :2].T, ".", color=GROUND, ms=2.0, mew=0, zorder=2)
        axes.plot(*xyz[rest, :2].T, ".", color=REST, ms=2.6, mew=0, zorder=3)
        axes.scatter(
            xyz[region_mask, 0], xyz[region_mask, 1], s=7, c=colors, marker="o", linewidths=0, zorder=4
        )

    return paint


def clusters_picture(
    xyz: np.ndarray, region: np.ndarray, region_mask: np.ndarray, ground_mask: np.ndarray
) -> np.ndarray:
    """One panel and its legend: (H, W, 3) uint8; arguments as `painted_regions`."""
    num_regions = len(np.unique(region[region_mask]))
    share = 100 * float(region_mask.mean()) if len(region_mask) else 0.0
    title = f"{num_regions} regions, {share:.0f} % of the points"
    panel = bev_panels([(title, painted_regions(xyz, region, region_mask, ground_mask))])
    return stack([_legend(), panel])


def _legend() -> np.ndarray:
    figure = Figure(figsize=(WIDTH_IN, 0.33), facecolor="white")
    some = region_rgb(np.arange(3)) / 255.0
    colors: list[Any] = [*map(tuple, some), REST, GROUND]
    dots: list[Any] = [Line2D([], [], ls="none", marker="o", ms=8, mew=0, color=color) for color in colors]
    handles: list[Any] = [tuple(dots[:3]), *dots[3:]]
    names = ["regions, each in its own colour", "no region: too small, long or high, or noise", "ground"]
    figure.legend(handles, names, ncols=3, loc="center left", frameon=False, fontsize=10.5,
                  labelcolor=INK, handler_map={tuple: HandlerTuple(ndivide=None)},
                  columnspacing=2.0, borderpad=0,
                  bbox_to_anchor=(0.0, 0.5))  # fmt: skip
    return figure_picture(figure)
