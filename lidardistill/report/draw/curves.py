"""Curves of pretraining: the loss against chance, and whether the features stay alive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lidardistill.report.draw.encode import figure_picture
from lidardistill.report.draw.palette import ARM_DASHES, FAINT, GRID, INK


class Series(NamedTuple):
    """label; name of the arm (decides the dashes); colour; lines of metrics.jsonl."""

    label: str
    arm: str
    color: str
    lines: Sequence[dict[str, Any]]


def loss_curves(series: Sequence[Series]) -> np.ndarray:
    """Contrastive loss by step, and log N of each run: what guessing among its candidates costs."""
    figure, (axes,) = _figure(1, height=3.5)
    window = any("loss_window" in line for s in series for line in s.lines)
    ends = _draw(axes, series, "loss_window" if window else "loss")
    chance = _values(series[0].lines, "log_candidates")[1] if series else np.zeros(0)
    if len(chance):
        level = float(np.mean(chance))
        axes.axhline(level, color=INK, lw=1.2, ls=(0, (1.5, 2)), zorder=2)
        axes.annotate(
            "log N: guessing",
            (0.985, level),
            xycoords=("axes fraction", "data"),
            xytext=(0, -5),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=10,
            color=INK,
        )
        low = min([level, *(y for _, y, _, _ in ends)])
        axes.set_ylim(max(0.0, low - 0.12 * max(level - low, 0.5)), max(axes.get_ylim()[1], level * 1.06))
    axes.set_title("contrastive loss", loc="left", fontsize=11.5, color=INK)
    _name_ends(axes, ends, decimals=2)
    return figure_picture(figure)


def health_curves(series: Sequence[Series]) -> np.ndarray:
    """Match accuracy and effective rank by step."""
    figure, (left, right) = _figure(2, height=3.0)
    ends = _draw(left, series, "match_top1", scale=100)
    left.set_title("matches found at first rank, %", loc="left", fontsize=11, color=INK)
    left.set_ylim(bottom=0)
    _name_ends(left, ends, decimals=1)
    ends = _draw(right, series, "effective_rank")
    right.set_title("effective rank of the features", loc="left", fontsize=11, color=INK)
    right.set_ylim(bottom=0)
    _name_ends(right, ends, decimals=1)
    return figure_picture(figure)


def _figure(panels: int, height: float) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(10.0, height), facecolor="white", layout="constrained")
    grid = figure.subplots(1, panels, squeeze=False)[0]
    for axes in grid:
        axes.grid(axis="y", color=GRID, lw=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(FAINT)
        axes.margins(x=0)  # lines end at the edge, their names stand beyond it
        axes.tick_params(colors=FAINT, labelsize=10, length=0)
        axes.set_xlabel("step", fontsize=10, color=FAINT)
    return figure, list(grid)


def _values(lines: Sequence[dict[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and finite values of one key."""
    found = [(line["step"], line[key]) for line in lines if line.get(key) is not None and "step" in line]
    steps, values = (np.array(column, np.float64) for column in zip(*found, strict=True)) if found else (
        np.zeros(0), np.zeros(0),
    )  # fmt: skip
    return steps, values


def _draw(
    axes: Axes, series: Sequence[Series], key: str, scale: float = 1
) -> list[tuple[float, float, str, str]]:
    """Draw one key of all runs; returns where each line ends, its label and its colour."""
    ends = []
    for one in series:
        steps, values = _values(one.lines, key)
        if len(steps) == 0:
            continue
        dashes = ARM_DASHES.get(one.arm)
        style = {"ls": (0, dashes)} if dashes else {}
        mark = "o" if len(steps) == 1 else None
        axes.plot(steps, scale * values, color=one.color, lw=2.2, marker=mark, zorder=3, **style)  # type: ignore[arg-type]
        ends.append((float(steps[-1]), float(scale * values[-1]), one.label, one.color))
    return ends


def _name_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]], *, decimals: int) -> None:
    """Write each label beside the end of its line, moved apart where lines end close together."""
    if not ends:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color=FAINT, fontsize=11)
        return
    low, high = axes.get_ylim()
    height_pt = axes.get_figure().get_figheight() * 72 * 0.72  # type: ignore[union-attr]
    apart = 13.5 * (high - low) / height_pt
    order = sorted(range(len(ends)), key=lambda number: ends[number][1])
    heights: list[float] = []
    for number in order:
        heights.append(max(ends[number][1], heights[-1] + apart) if heights else ends[number][1])
    right = max(step for step, *_ in ends)
    for number, height in zip(order, heights, strict=True):
        _, value, label, color = ends[number]
        shown = f"{label}  {value:.{decimals}f}"
        axes.annotate(shown, (right, height), xytext=(6, 0), textcoords="offset points",
                      va="center", fontsize=10.5,
                      color=color, fontweight="bold", annotation_clip=False)  # fmt: skip
