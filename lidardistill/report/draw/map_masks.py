"""True and predicted map masks from above. The car drives to the right; its left side is up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lidardistill.report.draw.clouds import WIDTH_IN, Painter, bev_panels
from lidardistill.report.draw.encode import figure_picture
from lidardistill.report.draw.palette import INK, hex_rgb

MAP_COLORS: dict[str, str] = {
    "drivable_area": "#c6cad1",
    "carpark_area": "#7cc6f5",
    "walkway": "#e0ab70",
    "ped_crossing": "#E69F00",
    "stop_line": "#D55E00",
    "divider": "#0060a8",
}
"""Colour of each class, in the order in which they are painted over each other."""

RIVALS = ("drivable_area", "walkway")
"""Of these a cell shows the likelier one."""


def maps_picture(shown: Path, thresholds: Mapping[str, float | None]) -> np.ndarray:
    """The keyframes that a map segmentation run has kept: truth beside prediction.

    Args:
        shown: the run's `maps.npz`.
        thresholds: class to the probability from which a cell is taken for it; None: never.

    Returns:
        (H, W, 3) uint8.
    """
    with np.load(shown) as stored:
        classes = [str(name) for name in stored["classes"]]
        masks, probabilities = stored["masks"], stored["probabilities"]
        tokens, bev_range = [str(token) for token in stored["sample_tokens"]], stored["bev_range"]
    limits = np.array(
        [np.inf if (limit := thresholds[name]) is None else limit for name in classes], dtype=np.float32
    )
    painters = []
    for token, truth, probability in zip(tokens, masks, probabilities, strict=True):
        found = probability.astype(np.float32) >= limits[:, None, None]
        painters.append((f"{token[:8]}: map", painted_masks(truth, truth, classes, bev_range)))
        painters.append((f"{token[:8]}: predicted", painted_masks(found, probability, classes, bev_range)))
    reach = float(np.abs(bev_range).max())
    panels = bev_panels(painters, columns=2, forward_m=reach, side_m=reach)
    return np.concatenate([panels, _legend(classes)])


def painted_masks(
    masks: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], bev_range: np.ndarray
) -> Painter:
    """Masks of the LiDAR frame (x right, y forward), each class in its colour.

    Args:
        masks: (L, H = y, W = x) bool.
        probabilities: (L, H, W), which decide between `RIVALS`.
        classes: L names out of `MAP_COLORS`.
        bev_range: (4,) x_min y_min x_max y_max, metres.
    """
    x_min, y_min, x_max, y_max = (float(bound) for bound in bev_range)
    colors = np.full((*masks.shape[1:], 3), 255, dtype=np.uint8)
    place = {name: number for number, name in enumerate(classes)}
    masks = masks.copy()
    if all(name in place for name in RIVALS):
        first, second = (place[name] for name in RIVALS)
        both = masks[first] & masks[second]
        masks[second][both & (probabilities[first] > probabilities[second])] = False
    for name, color in MAP_COLORS.items():
        if name in place:
            colors[masks[place[name]]] = hex_rgb(color)

    def paint(axes: Axes) -> None:
        # Rows of the picture run from left to right of the car, which is along x; columns forward, along y.
        axes.imshow(
            colors.transpose(1, 0, 2), extent=(y_min, y_max, -x_max, -x_min),
            interpolation="nearest", zorder=0.5
        )  # fmt: skip

    return paint


def _legend(classes: Sequence[str]) -> np.ndarray:
    figure = Figure(figsize=(WIDTH_IN, 0.33), facecolor="white")
    names = [name for name in MAP_COLORS if name in classes]
    figure.legend([Patch(color=MAP_COLORS[name]) for name in names],
                  [name.replace("_", " ") for name in names],
                  ncols=len(names), loc="center", mode="expand",
                  frameon=False, fontsize=10.5, labelcolor=INK)  # fmt: skip
    return figure_picture(figure)
