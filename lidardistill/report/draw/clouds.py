"""A scan from above: driving direction to the right, left of the car up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lidardistill.report.draw.encode import figure_picture
from lidardistill.report.draw.palette import CLASS_STYLES, FAINT, GRID, INK, RIGHT, WRONG, scalar_rgb

FORWARD_M, SIDE_M = 45.0, 22.5
WIDTH_IN = 10.0

Painter = Callable[[Axes], None]


def bev_panels(
    painters: Sequence[tuple[str, Painter]],
    *,
    columns: int = 1,
    width_in: float = WIDTH_IN,
    forward_m: float = FORWARD_M,
    side_m: float = SIDE_M,
) -> np.ndarray:
    """Views from above, each with its title, a car, a scale and rings every 10 m.

    Args:
        painters: a title, and what draws into the axes (x forward, y left, metres, ego frame).
        columns: panels beside each other.
        width_in: of the picture, inches of 160 pixels; letters keep their size.
        forward_m, side_m: distance shown ahead and behind, and to each side, metres.

    Returns:
        (H, W, 3) uint8.
    """
    rows = -(-len(painters) // columns)
    panel_width = width_in / columns
    figure = Figure(figsize=(width_in, rows * (panel_width * side_m / forward_m + 0.34)), facecolor="white")
    grid = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(left=0.003, right=0.997, top=1 - 0.3 / figure.get_figheight(), bottom=0.004,
                           hspace=0.07 * columns, wspace=0.015)  # fmt: skip
    for axes, (title, paint) in zip(grid.flat, painters, strict=False):
        _furnish(axes, title, forward_m, side_m)
        paint(axes)
    for axes in grid.flat[len(painters) :]:
        axes.set_visible(False)
    return figure_picture(figure)


def painted_rgb(xyz: np.ndarray, rgb: np.ndarray, size: float = 4.0) -> Painter:
    """Points (N, 3) ego frame in their own colours (N, 3) uint8, high ones over low ones."""
    order = np.argsort(xyz[:, 2], kind="stable")

    def paint(axes: Axes) -> None:
        axes.scatter(
            xyz[order, 0], xyz[order, 1], s=size, c=rgb[order] / 255.0, marker="o", linewidths=0, zorder=3
        )

    return paint


def painted_scalar(xyz: np.ndarray, values: np.ndarray, low: float, high: float) -> Painter:
    """Points coloured by a scalar (N,), large values over small ones."""
    order = np.argsort(values, kind="stable")

    def paint(axes: Axes) -> None:
        colors = scalar_rgb(values[order], low, high) / 255.0
        share = np.clip((values[order] - low) / max(high - low, 1e-9), 0, 1)
        axes.scatter(
            xyz[order, 0], xyz[order, 1], s=3 + 6 * share, c=colors, marker="o", linewidths=0, zorder=3
        )

    return paint


def painted_classes(xyz: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Painter:
    """Points by class, each class with its marker; 0 (ignored) is not drawn."""

    def paint(axes: Axes) -> None:
        for number, name in enumerate(names):
            style = CLASS_STYLES.get(name)
            if style is None:
                continue
            mine = labels == number
            axes.plot(*xyz[mine, :2].T, style.marker, color=style.color, ms=style.size, mew=0,
                      zorder=3 + style.order, ls="none")  # fmt: skip

    return paint


def painted_errors(xyz: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> Painter:
    """Wrong points in vermilion, larger, over the right ones in grey; unlabelled points are not drawn."""
    known = labels > 0
    wrong = known & (labels != predicted)

    def paint(axes: Axes) -> None:
        axes.plot(*xyz[known & ~wrong, :2].T, ".", color=RIGHT, ms=2.2, mew=0, zorder=3)
        axes.plot(*xyz[wrong, :2].T, ".", color=WRONG, ms=3.6, mew=0, zorder=4)

    return paint


def marked(paint: Painter, xyz: np.ndarray) -> Painter:
    """The same, with a ring around one place (3,)."""

    def both(axes: Axes) -> None:
        paint(axes)
        axes.plot(xyz[0], xyz[1], "o", ms=17, mfc="none", mec="white", mew=4.5, zorder=20)
        axes.plot(xyz[0], xyz[1], "o", ms=17, mfc="none", mec=INK, mew=2, zorder=21)

    return both


def class_legend(
    names: Sequence[str], present: Sequence[int], *, columns: int = 6, width_in: float = WIDTH_IN
) -> np.ndarray:
    """Marker, colour and name of the classes that are in the picture: (H, W, 3) uint8."""
    shown = [names[number] for number in present if names[number] in CLASS_STYLES]
    shown.sort(key=lambda name: CLASS_STYLES[name].order)
    rows = max(1, -(-len(shown) // columns))
    figure = Figure(figsize=(width_in, 0.27 * rows + 0.06), facecolor="white")
    handles = [
        Line2D([], [], ls="none", marker="o" if s.marker == "." else s.marker, ms=8, mew=0, color=s.color)
        for s in (CLASS_STYLES[name] for name in shown)
    ]
    figure.legend(handles, [name.replace("_", " ") for name in shown],
                  ncols=columns, loc="center", mode="expand",
                  frameon=False, fontsize=10.5, labelcolor=INK, handletextpad=0.2, borderpad=0)  # fmt: skip
    return figure_picture(figure)


def _furnish(axes: Axes, title: str, forward_m: float, side_m: float) -> None:
    axes.set_xlim(-forward_m, forward_m)
    axes.set_ylim(-side_m, side_m)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(GRID)
    axes.set_title(title, loc="left", fontsize=11.5, color=INK, pad=5)
    turn = np.linspace(0, 2 * np.pi, 200)
    for radius in (10, 20, 30, 40):
        axes.plot(radius * np.cos(turn), radius * np.sin(turn), color=GRID, lw=0.8, zorder=1)
    axes.fill([2.6, -1.2, -1.2], [0, 1.0, -1.0], color=INK, zorder=19, lw=0)
    left, low = -forward_m + 1.5, -side_m + 1.5
    axes.plot([left, left + 10], [low, low], color=INK, lw=2.2, solid_capstyle="butt", zorder=19)
    note = {"fontsize": 9.5, "color": INK, "zorder": 20}
    box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.85}
    axes.text(left + 5, low + 0.7, "10 m", ha="center", va="bottom", bbox=box, **note)  # type: ignore[arg-type]
    axes.text(forward_m - 1, low - 0.4, "driving this way →", ha="right", va="bottom", bbox=box,
              fontsize=9.5, color=FAINT, zorder=20)  # fmt: skip
