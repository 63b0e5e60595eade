"""Augmentation for detector training: mirrors, rotates, scales and shifts points and boxes together.

Source: CenterPoint (Yin et al., CVPR 2021) section 4.2 and its configuration for nuScenes: values and order.
"""

from __future__ import annotations

import math

import numpy as np

from lidardistill.tasks.detect.config import DetectionAugmentConfig


def draw_old2new(config: DetectionAugmentConfig | None, generator: np.random.Generator) -> np.ndarray:
    """Draw one motion.

    Args:
        config: enabled steps; None disables all.
        generator: random generator of flips, angle, factor and shift, in this order; a disabled step draws
            nothing.

    Returns:
        (4, 4) float64 `p_new = old2new @ p_old`: a similarity around z, possibly mirrored; the identity if
            all steps are disabled.
    """
    old2new = np.eye(4)
    if config is None:
        return old2new
    for axis, flips in enumerate((config.flip_x, config.flip_y)):
        if flips and generator.random() < 0.5:
            old2new[axis] *= -1.0
    if config.rotate_max_deg > 0:
        largest_rad = math.radians(config.rotate_max_deg)
        angle_rad = generator.uniform(-largest_rad, largest_rad)
        c, s = np.cos(angle_rad), np.sin(angle_rad)
        old2new[:2] = np.array([[c, -s], [s, c]]) @ old2new[:2]
    if config.scale != (1.0, 1.0):
        old2new[:3] *= generator.uniform(*config.scale)
    if config.shift_std_m > 0:
        old2new[:3, 3] = generator.normal(0.0, config.shift_std_m, size=3)
    return old2new


def move_points(points: np.ndarray, old2new: np.ndarray) -> np.ndarray:
    """Move a cloud.

    Args:
        points: (N, 3+F) float32; the columns after z are not changed.
        old2new: (4, 4) float64 of `draw_old2new`.

    Returns:
        (N, 3+F) float32; `points` itself if `old2new` is the identity.
    """
    if np.array_equal(old2new, np.eye(4)):
        return points
    moved = points.copy()
    moved[:, :3] = points[:, :3].astype(np.float64) @ old2new[:3, :3].T + old2new[:3, 3]
    return moved


def move_boxes(boxes: np.ndarray, old2new: np.ndarray) -> np.ndarray:
    """Move boxes together with the points: points inside a box stay inside, and points outside stay outside.

    Args:
        boxes: (n, 9) x, y, z, length, width, height, yaw, velocity x, y.
        old2new: (4, 4) float64 of `draw_old2new`.

    Returns:
        (n, 9) float32, yaw in -pi..pi; an unknown velocity stays NaN.
    """
    if np.array_equal(old2new, np.eye(4)):
        return boxes
    plane = old2new[:2, :2]
    moved = boxes.astype(np.float64)
    moved[:, :3] = moved[:, :3] @ old2new[:3, :3].T + old2new[:3, 3]
    moved[:, 3:6] *= old2new[2, 2]  # z is only scaled, so this entry is the scale
    heading = np.stack([np.cos(boxes[:, 6]), np.sin(boxes[:, 6])], axis=1) @ plane.T
    moved[:, 6] = np.arctan2(heading[:, 1], heading[:, 0])
    moved[:, 7:] = moved[:, 7:] @ plane.T
    return moved.astype(np.float32)
