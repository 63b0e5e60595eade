"""One wide picture of the project from one keyframe: its inputs, its features and its predictions."""

from __future__ import annotations

import numpy as np

from lidardistill.report.draw.cameras import GAP_PX, mosaic, resize, stack, view_order, write_on
from lidardistill.report.draw.clouds import bev_panels, class_legend, painted_classes, painted_rgb
from lidardistill.report.draw.encode import png_bytes, reduce_colors
from lidardistill.report.draw.palette import class_colors
from lidardistill.report.scene import Scene

WIDTH_PX = 1440
MAX_BYTES = 500_000


def overview(scene: Scene) -> np.ndarray:
    """Three front cameras with superpixels and points; below, the scan by features and by predicted class.

    Args:
        scene: best with predictions; without them the scan by features alone is shown.

    Returns:
        (H, 1440, 3) uint8.
    """
    return stack([_cameras(scene), _scan(scene)], gap=10)


def overview_png(scene: Scene) -> bytes:
    """The same as a PNG below half a megabyte; photographs and scans share its 256 colours."""
    cameras, scan = _cameras(scene), _scan(scene)
    data = b""
    for colors in (144, 110, 80, 50):
        parts = [reduce_colors(cameras, colors), reduce_colors(scan, 110, rare=True, kept=class_colors())]
        data = png_bytes(stack(parts, gap=10), 256)
        if len(data) < MAX_BYTES:
            break
    return data


def _cameras(scene: Scene) -> np.ndarray:
    order = view_order(scene.channels)[:3]
    width = (WIDTH_PX - GAP_PX * (len(order) - 1)) // len(order)
    shown = [resize(scene.camera(view, points=True), width) for view in order]
    cameras = mosaic(shown, [""] * len(order), columns=len(order))
    title = _title("1   pairs: which LiDAR points fall on which image region (white outlines)")
    return stack([title, cameras], gap=4)


def _scan(scene: Scene) -> np.ndarray:
    known = scene["point_mask"]
    features = painted_rgb(scene.points_ego[known], scene["pca_points"][known], size=5)
    panels = [("2   pretrained on that, without labels: LiDAR features as colours", features)]
    predicted = np.where(scene["labels"] > 0, scene["predictions"], 0) if scene.is_predicted else None
    if predicted is not None:
        classes = painted_classes(scene.points_ego, predicted, scene.classes)
        panels.append(("3   probed: one linear layer on them names the classes", classes))
    options = {"forward_m": 36.0, "side_m": 21.0} if predicted is not None else {}
    parts = [resize(bev_panels(panels, columns=len(panels), width_in=13, **options), WIDTH_PX)]
    if predicted is not None:
        present = sorted(set(np.unique(predicted).tolist()) - {0})
        parts.append(resize(class_legend(scene.classes, present, columns=8, width_in=13), WIDTH_PX))
    return stack(parts, gap=4)


def _title(text: str) -> np.ndarray:
    strip = np.full((28, WIDTH_PX, 3), 255, np.uint8)
    write_on(strip, text, size=18, at=(3, 3), box=False)
    return strip
