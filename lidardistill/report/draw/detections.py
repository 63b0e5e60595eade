"""Boxes that a detector found beside those that are there: from above, and over the cameras."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image, ImageDraw

from lidardistill.geometry.boxes import box_corners_xy
from lidardistill.report.draw.cameras import faded, mosaic, resize, stack, view_name, view_order
from lidardistill.report.draw.clouds import WIDTH_IN, Painter, bev_panels
from lidardistill.report.draw.encode import figure_picture
from lidardistill.report.draw.palette import CLASS_STYLES, FAINT, INK, hex_rgb

TRUE_FILL, TRUE_EDGE = "#d8dce2", "#7d8590"
POINT = "#a9b0ba"
NEAR_M = 0.3
"""Camera depth at which lines are cut off."""

_EDGES = [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)]


def box_corners(boxes: np.ndarray) -> np.ndarray:
    """Corners of boxes: (B, 8, 3) float64. Lower four counter-clockwise from front left, then upper four."""
    low_high = boxes[:, None, 2] + boxes[:, None, 5] * np.array([-0.5, 0.5])
    flat = box_corners_xy(boxes)
    faces = [
        np.concatenate([flat, np.broadcast_to(low_high[:, end, None, None], (len(flat), 4, 1))], axis=2)
        for end in (0, 1)
    ]
    return np.concatenate(faces, axis=1)


def painted_boxes(
    xyz: np.ndarray,
    lidar2ego: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    true_boxes: np.ndarray | None = None,
) -> Painter:
    """A scan with boxes: true ones as grey areas, detections as outlines in the colours of their classes.

    Args:
        xyz: (N, 3) points, ego frame, metres.
        lidar2ego: (4, 4), for the boxes.
        boxes: (n, >=7) detections, LiDAR frame; see `geometry.boxes`.
        labels: (n,) place in `classes`.
        classes: names.
        true_boxes: (m, >=7) LiDAR frame, or None where they are not known.
    """

    def flat(these: np.ndarray) -> np.ndarray:
        corners = box_corners(these)[:, :4]
        return (corners @ lidar2ego[:3, :3].T + lidar2ego[:3, 3])[..., :2]

    def paint(axes: Axes) -> None:
        axes.plot(*xyz[:, :2].T, ".", color=POINT, ms=1.5, mew=0, zorder=3)
        if true_boxes is not None and len(true_boxes):
            axes.add_collection(PolyCollection(list(flat(true_boxes)),
                                               facecolors=TRUE_FILL, edgecolors=TRUE_EDGE,
                                               linewidths=0.9, zorder=2))  # fmt: skip
        if len(boxes) == 0:
            return
        corners = flat(boxes)
        colors = [CLASS_STYLES[classes[label]].color for label in labels.tolist()]
        axes.add_collection(
            PolyCollection(list(corners), facecolors="none", edgecolors=colors, linewidths=1.6, zorder=5)
        )
        middle, nose = corners.mean(axis=1), corners[:, [0, 3]].mean(axis=1)
        axes.add_collection(
            LineCollection(np.stack([middle, nose], axis=1), colors=colors, linewidths=1.6, zorder=5)
        )

    return paint


def draw_boxes(
    image: np.ndarray, corners_cam: np.ndarray, cam2img: np.ndarray, colors: np.ndarray, width: int = 2,
    rim: int = 2, nose: bool = True,
) -> None:  # fmt: skip
    """Edges of boxes in place, far ones first; what lies behind the camera is cut off.

    Args:
        image: (H, W, 3) uint8.
        corners_cam: (B, 8, 3) metres, camera frame, in the order of `box_corners`.
        cam2img: (4, 4) to pixels of `image`.
        colors: (B, 3) uint8.
        width: of a line, pixels.
        rim: pixels of black around each line.
        nose: draw a line on the ground from the middle to the front, as from above.
    """
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    depth = corners_cam[..., 2].mean(axis=1) if len(corners_cam) else np.zeros(0)
    for number in np.argsort(-depth, kind="stable").tolist():
        corners = corners_cam[number]
        if corners[:, 2].max() <= NEAR_M:
            continue
        lines = [_line(corners[a], corners[b], cam2img) for a, b in _EDGES]
        if nose:
            lines.append(_line(corners[:4].mean(axis=0), corners[[0, 3]].mean(axis=0), cam2img))
        color = tuple(colors[number].tolist())
        shown = [line for line in lines if line is not None and _is_near(line, image.shape)]
        if rim:
            for line in shown:
                pen.line(line, (0, 0, 0), width + rim)
        for line in shown:
            pen.line(line, color, width)
    image[:] = np.asarray(picture)


def detections_bev(
    xyz: np.ndarray,
    lidar2ego: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    true_boxes: np.ndarray | None = None,
    title: str = "detections",
) -> np.ndarray:
    """One panel and its legend, arguments as `painted_boxes`: (H, W, 3) uint8."""
    paint = painted_boxes(xyz, lidar2ego, boxes, labels, classes, true_boxes)
    present = sorted(set(labels.tolist()))
    return stack([detections_legend(classes, present, true_boxes is not None), bev_panels([(title, paint)])])


def detections_cameras(
    images: np.ndarray,
    channels: Sequence[str],
    lidar2cam: np.ndarray,
    cam2img: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    true_boxes: np.ndarray | None = None,
    *,
    width: int = 600,
) -> np.ndarray:
    """All cameras with the detections in the colours of their classes, and true boxes in white below them.

    Args:
        images: (V, h, w, 3) uint8.
        channels: V names.
        lidar2cam: (V, 4, 4).
        cam2img: (V, 4, 4) to pixels of `images`.
        boxes, labels, classes, true_boxes: as `painted_boxes`.
        width: of one camera in the picture, pixels.

    Returns:
        (H, W, 3) uint8.
    """
    colors = np.array([hex_rgb(CLASS_STYLES[classes[label]].color) for label in labels.tolist()], np.uint8)
    light = (colors.reshape(-1, 3) * 0.6 + 255 * 0.4).astype(np.uint8)  # lines on photographs are thin
    shown = []
    order = view_order(channels)
    for view in order:
        picture = faded(resize(images[view], width), 0.35, 0.75)
        scale = width / images.shape[2]
        matrix = np.diag([scale, scale, 1.0, 1.0]) @ cam2img[view]
        if true_boxes is not None:
            white = np.full((len(true_boxes), 3), 235, np.uint8)
            corners = _to_camera(box_corners(true_boxes), lidar2cam[view])
            draw_boxes(picture, corners, matrix, white, width=1, rim=0, nose=False)
        draw_boxes(picture, _to_camera(box_corners(boxes), lidar2cam[view]), matrix, light)
        shown.append(picture)
    return mosaic(shown, [view_name(channels[view]) for view in order], text_size=26 * width // 600)


def detections_legend(classes: Sequence[str], present: Sequence[int], with_truth: bool) -> np.ndarray:
    """What outlines, areas and colours mean: (H, W, 3) uint8."""
    handles: list[Patch | Line2D] = []
    names = []
    if with_truth:
        handles.append(Patch(facecolor=TRUE_FILL, edgecolor=TRUE_EDGE))
        names.append("true box")
    for label in present:
        handles.append(Patch(facecolor="none", edgecolor=CLASS_STYLES[classes[label]].color, linewidth=2))
        names.append(classes[label].replace("_", " "))
    if not handles:
        handles.append(Line2D([], [], ls="none", marker=".", color=FAINT))
        names.append("no detections")
    columns = 6
    rows = -(-len(handles) // columns)
    figure = Figure(figsize=(WIDTH_IN, 0.27 * rows + 0.08), facecolor="white")
    figure.legend(handles, names, ncols=columns, loc="center left",
                  frameon=False, fontsize=10.5, labelcolor=INK,
                  handlelength=1.4, borderpad=0, columnspacing=1.6, bbox_to_anchor=(0.0, 0.5))  # fmt: skip
    return figure_picture(figure)


def _to_camera(corners: np.ndarray, lidar2cam: np.ndarray) -> np.ndarray:
    return corners @ lidar2cam[:3, :3].T + lidar2cam[:3, 3]


def _line(a: np.ndarray, b: np.ndarray, cam2img: np.ndarray) -> tuple[float, float, float, float] | None:
    """Pixels of an edge, cut off in front of the camera; None where all of it is behind."""
    if max(a[2], b[2]) <= NEAR_M:
        return None
    if min(a[2], b[2]) < NEAR_M:
        near, far = (a, b) if a[2] < b[2] else (b, a)
        near = near + (far - near) * (NEAR_M - near[2]) / (far[2] - near[2])
        a, b = near, far
    ends = np.stack([a, b]) @ cam2img[:3, :3].T + cam2img[:3, 3]
    u, v = (ends[:, :2] / ends[:, 2:]).T
    return float(u[0]), float(v[0]), float(u[1]), float(v[1])


def _is_near(line: tuple[float, float, float, float], shape: tuple[int, ...]) -> bool:
    """Whether a line has a chance to cross the image; pillow is slow and wrong far outside of it."""
    height, width = shape[:2]
    u, v = line[::2], line[1::2]
    return (
        max(u) > 0 and min(u) < width and max(v) > 0 and min(v) < height and max(map(abs, line)) < 20 * width
    )
