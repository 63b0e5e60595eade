"""Colours that colour-blind readers can tell apart, by brightness as well as by hue.

Source: Okabe and Ito, Color Universal Design (2008), for the arms; matplotlib's viridis for scalars.
"""

from __future__ import annotations

from typing import NamedTuple

import matplotlib
import numpy as np

INK = "#1b1f24"
FAINT = "#6b7280"
GRID = "#e3e6ea"
WRONG = "#D55E00"
RIGHT = "#c9ced6"
DARKEST = 0.125

_ARM_COLORS = {
    "pretrained": "#0072B2",
    "random": "#8a8f98",
    "permuted": "#E69F00",
    "other_keyframe": "#CC79A7",
    "color_histogram": "#009E73",
    "random_teacher": "#D55E00",
    "hand_made": "#56B4E9",
}
_SPARE_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8a8f98")

ARM_DASHES = {"random": (4, 2), "permuted": (6, 2, 1, 2), "other_keyframe": (2, 1.5)}
"""Dash pattern of an arm's curve, so that it does not need its colour; all others are drawn through."""


class ClassStyle(NamedTuple):
    """Style of a class: hex colour, matplotlib marker, marker size in points, order (highest on top)."""

    color: str
    marker: str
    size: float
    order: int


CLASS_STYLES: dict[str, ClassStyle] = {
    "driveable_surface": ClassStyle("#c6cad1", ".", 2.4, 0),
    "other_flat": ClassStyle("#ad94d0", ".", 3.4, 1),
    "sidewalk": ClassStyle("#e0ab70", ".", 3.4, 1),
    "terrain": ClassStyle("#a3cc83", ".", 3.4, 1),
    "manmade": ClassStyle("#5c5f66", ".", 3.2, 2),
    "vegetation": ClassStyle("#1b7a3d", ".", 3.2, 2),
    "barrier": ClassStyle("#14161a", "s", 4.0, 4),
    "trailer": ClassStyle("#7b5ea7", ".", 5.0, 3),
    "truck": ClassStyle("#7cc6f5", ".", 5.0, 3),
    "bus": ClassStyle("#E69F00", ".", 5.0, 3),
    "construction_vehicle": ClassStyle("#e8d713", ".", 5.0, 3),
    "car": ClassStyle("#0060a8", ".", 5.0, 3),
    "motorcycle": ClassStyle("#8b0057", "P", 5.5, 5),
    "bicycle": ClassStyle("#e06bb0", "X", 5.5, 5),
    "pedestrian": ClassStyle("#D55E00", "o", 5.0, 6),
    "traffic_cone": ClassStyle("#e0001b", "^", 5.5, 6),
}
"""Ground is pale, buildings and plants dark, moving things saturated; small things have own markers."""


def class_colors() -> list[tuple[int, int, int]]:
    """The colours that a legend of classes names."""
    return [hex_rgb(color) for color in (*(style.color for style in CLASS_STYLES.values()), WRONG, RIGHT)]


def arm_color(name: str, place: int = 0) -> str:
    """Colour of an arm: its own where it has one, else by its place on the page."""
    return _ARM_COLORS.get(name, _SPARE_COLORS[place % len(_SPARE_COLORS)])


def scalar_rgb(values: np.ndarray, low: float, high: float, name: str = "viridis") -> np.ndarray:
    """Colours of a scalar.

    Args:
        values: any shape, float.
        low, high: what gets the first and the last colour; values beyond are clipped.
        name: matplotlib colour map.

    Returns:
        (..., 3) uint8.
    """
    span = max(high - low, 1e-12)
    share = np.clip((np.asarray(values, np.float64) - low) / span, 0, 1)
    # The first eighth of the map is nearly black and would be lost on a photograph.
    return (
        (matplotlib.colormaps[name](DARKEST + (1 - DARKEST) * share)[..., :3] * 255).round().astype(np.uint8)
    )


def hex_rgb(color: str) -> tuple[int, int, int]:
    """`#rrggbb` as three numbers 0..255."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
