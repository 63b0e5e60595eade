"""Boxes from above and over the cameras: they stand where they are, and what is behind a camera is not drawn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lidardistill.datasets.nuscenes.detection_classes import CLASSES
from lidardistill.report.draw.detections import (
    box_corners,
    detections_bev,
    detections_cameras,
    detections_legend,
    draw_boxes,
)
from lidardistill.report.draw.palette import CLASS_STYLES, hex_rgb

CAR = CLASSES.index("car")
PIXELS = np.array([[100.0, 0, 50, 0], [0, 100, 30, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
OPTICAL = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
"""Looks along x."""


def box(x=10.0, y=0.0, z=0.0, yaw=0.0):
    return np.array([[x, y, z, 4.0, 2.0, 1.5, yaw, 0.0, 0.0]])


def near(picture, color, tolerance=30):
    """(H, W) bool: pixels close to a colour."""
    return np.abs(picture.astype(int) - hex_rgb(color)).max(axis=2) < tolerance


def test_corners_by_a_loop():
    boxes = np.concatenate([box(yaw=0.7), box(3, -2, 1, yaw=-2.0)])
    for corners, (x, y, z, length, width, height, yaw, *_) in zip(box_corners(boxes), boxes, strict=True):
        signs = [(1, 1), (-1, 1), (-1, -1), (1, -1)]
        wanted = [
            (
                x + length / 2 * a * np.cos(yaw) - width / 2 * b * np.sin(yaw),
                y + length / 2 * a * np.sin(yaw) + width / 2 * b * np.cos(yaw),
                z + height / 2 * c,
            )
            for c, (a, b) in itertools.product((-1, 1), signs)
        ]
        np.testing.assert_allclose(corners, wanted, atol=1e-12)


@pytest.mark.parametrize("x", [-10.0, 1.0, 10.0])
def test_a_box_on_an_image(x):
    image = np.zeros((60, 100, 3), np.uint8)
    corners = box_corners(box(x)) @ OPTICAL[:3, :3].T
    draw_boxes(image, corners, PIXELS, np.array([[255, 0, 0]], np.uint8))
    drawn = (image[..., 0] > 100) & (image[..., 1] == 0)
    if x < 0:
        assert not drawn.any()
        return
    assert drawn.any()
    if x == 10.0:
        rows, cols = np.nonzero(drawn)
        # The near face, 2 m wide and 1.5 m high, is 8 m away.
        assert (cols.min(), cols.max()) == pytest.approx((50 - 12.5, 50 + 12.5), abs=2)
        assert (rows.min(), rows.max()) == pytest.approx((30 - 9.4, 30 + 9.4), abs=2)


def test_a_nearer_box_covers_a_farther_one():
    image = np.zeros((60, 100, 3), np.uint8)
    corners = box_corners(np.concatenate([box(8.0), box(8.001)])) @ OPTICAL[:3, :3].T
    draw_boxes(image, corners, PIXELS, np.array([[0, 255, 0], [255, 0, 0]], np.uint8))
    assert (image[..., 1] > 100).any()
    assert not (image[..., 0] > 100).any()


def test_from_above_a_detection_is_where_it_is():
    """A car ahead and to the left; the sensor is turned as nuScenes' is, x to the right and y ahead."""
    lidar2ego = np.array([[0.0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 1.8], [0, 0, 0, 1]])
    there = box(-10.0, 20.0)
    arguments = (np.zeros((0, 3)), lidar2ego, there, np.array([CAR]), CLASSES)
    picture = detections_bev(*arguments, true_boxes=np.zeros((0, 9)))
    panel = picture[80:]  # below the legend, which has the same colour
    rows, cols = np.nonzero(near(panel, CLASS_STYLES["car"].color))
    height, width = panel.shape[:2]
    assert cols.mean() / width == pytest.approx(0.5 + 20 / 90, abs=0.03)
    assert rows.mean() / height == pytest.approx(0.5 - 10 / 45, abs=0.06)


def test_nothing_found_is_a_picture_too():
    none = np.zeros((0, 9)), np.zeros(0, np.int64)
    assert detections_bev(np.zeros((5, 3)), np.eye(4), *none, CLASSES, none[0]).shape[2] == 3
    images = np.full((2, 30, 50, 3), 90, np.uint8)
    cameras = np.tile(OPTICAL, (2, 1, 1)), np.tile(PIXELS, (2, 1, 1))
    assert detections_cameras(images, ["a", "b"], *cameras, *none, CLASSES, none[0]).ndim == 3


def test_the_legend_names_what_is_there():
    few, many = detections_legend(CLASSES, [CAR], False), detections_legend(CLASSES, list(range(10)), True)
    assert near(few, CLASS_STYLES["car"].color).any()
    assert not near(few, CLASS_STYLES["traffic_cone"].color).any()
    assert many.shape[0] > few.shape[0]


def test_cameras_are_scaled_with_their_matrices():
    images = np.full((1, 60, 100, 3), 90, np.uint8)
    arguments = (["CAM_FRONT"], OPTICAL[None], PIXELS[None], box(), np.array([CAR]), CLASSES)
    small, large = (detections_cameras(images, *arguments, width=width) for width in (300, 600))
    light = np.array(hex_rgb(CLASS_STYLES["car"].color)) * 0.6 + 255 * 0.4
    centres = []
    for picture in (small, large):
        rows, cols = np.nonzero(np.abs(picture.astype(int) - light).max(axis=2) < 12)
        centres.append((rows.mean() / picture.shape[0], cols.mean() / picture.shape[1]))
    assert centres[0] == pytest.approx(centres[1], abs=0.02)
    assert centres[1][1] == pytest.approx(0.5, abs=0.03)
