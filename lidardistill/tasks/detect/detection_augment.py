"""What the training of a detector does to the cloud and, with it, to the boxes: mirror, turn, scale, shift.

Source: CenterPoint (Yin et al., CVPR 2021) section 4.2 and its configuration for nuScenes, whose values and order these
are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class DetectionAugment:
    """How a scan is moved; each step can be turned off by its own value.

    Attributes:
        flip_x_probability: chance of x -> -x.
        flip_y_probability: chance of y -> -y.
        rotate_max_rad: then turned around z by an angle drawn from -rotate_max_rad .. rotate_max_rad.
        scale: then scaled by a factor drawn from smallest .. largest; velocities too.
        shift_std_m: then shifted along x, y and z, each by a normal deviate of this standard deviation, metres.
    """

    flip_x_probability: float = 0.5
    flip_y_probability: float = 0.5
    rotate_max_rad: float = np.pi / 4
    scale: tuple[float, float] = (0.95, 1.05)
    shift_std_m: float = 0.5

    def __post_init__(self) -> None:
        for name in ("flip_x_probability", "flip_y_probability"):
            _check(0.0 <= getattr(self, name) <= 1.0, name, "a probability in 0..1", getattr(self, name))
        _check(self.rotate_max_rad >= 0, "rotate_max_rad", "at least 0", self.rotate_max_rad)
        _check(0 < self.scale[0] <= self.scale[1], "scale", "0 < smallest <= largest", self.scale)
        _check(self.shift_std_m >= 0, "shift_std_m", "at least 0", self.shift_std_m)

    def for_validation(self) -> DetectionAugment:
        """Every step turned off."""
        return replace(
            self,
            flip_x_probability=0.0,
            flip_y_probability=0.0,
            rotate_max_rad=0.0,
            scale=(1.0, 1.0),
            shift_std_m=0.0,
        )


def draw_old2new(settings: DetectionAugment, generator: np.random.Generator) -> np.ndarray:
    """Draw one motion.

    Args:
        settings: see `DetectionAugment`.
        generator: where flips, angle, factor and shift are drawn from, in this order; a step that is off draws nothing.

    Returns:
        (4, 4) float64 `p_new = old2new @ p_old`: a similarity around z, mirrored or not; the identity where all is off.
    """
    old2new = np.eye(4)
    for axis, probability in enumerate((settings.flip_x_probability, settings.flip_y_probability)):
        if probability > 0 and generator.random() < probability:
            old2new[axis] *= -1.0
    if settings.rotate_max_rad > 0:
        angle_rad = generator.uniform(-settings.rotate_max_rad, settings.rotate_max_rad)
        c, s = np.cos(angle_rad), np.sin(angle_rad)
        old2new[:2] = np.array([[c, -s], [s, c]]) @ old2new[:2]
    if settings.scale != (1.0, 1.0):
        old2new[:3] *= generator.uniform(*settings.scale)
    if settings.shift_std_m > 0:
        old2new[:3, 3] = generator.normal(0.0, settings.shift_std_m, size=3)
    return old2new


def move_points(points: np.ndarray, old2new: np.ndarray) -> np.ndarray:
    """Move a cloud.

    Args:
        points: (N, 3+F) float32; the columns behind z are left alone.
        old2new: (4, 4) float64 of `draw_old2new`.

    Returns:
        (N, 3+F) float32; the very array where nothing moves.
    """
    if np.array_equal(old2new, np.eye(4)):
        return points
    moved = points.copy()
    moved[:, :3] = points[:, :3].astype(np.float64) @ old2new[:3, :3].T + old2new[:3, 3]
    return moved


def move_boxes(boxes: np.ndarray, old2new: np.ndarray) -> np.ndarray:
    """Move boxes with their cloud: a point inside stays inside, one outside outside.

    Args:
        boxes: (n, 9) x, y, z, length, width, height, yaw, velocity x, y.
        old2new: (4, 4) float64 of `draw_old2new`.

    Returns:
        (n, 9) float32, yaw in -pi..pi; a velocity that is not known (NaN) stays so.
    """
    if np.array_equal(old2new, np.eye(4)):
        return boxes
    plane = old2new[:2, :2]
    moved = boxes.astype(np.float64)
    moved[:, :3] = moved[:, :3] @ old2new[:3, :3].T + old2new[:3, 3]
    moved[:, 3:6] *= old2new[2, 2]  # z is neither mirrored nor turned: what is left there is the scale
    heading = np.stack([np.cos(boxes[:, 6]), np.sin(boxes[:, 6])], axis=1) @ plane.T
    moved[:, 6] = np.arctan2(heading[:, 1], heading[:, 0])
    moved[:, 7:] = moved[:, 7:] @ plane.T
    return moved.astype(np.float32)


def _check(ok: bool, name: str, expected: str, got: object) -> None:
    if not ok:
        raise ValueError(f"augment.{name}: expected {expected}, got {got!r}; change this value in the config")
