"""Motions of the ground plane: what is left of a rigid motion when it is seen from above."""

from __future__ import annotations

import numpy as np

# cos of 30 degrees: a frame that leans further cannot be described by a rotation of the ground plane.
_MIN_UPRIGHT = 0.866


def planar_motion(a2b: np.ndarray) -> np.ndarray:
    """The turn and shift of the ground plane that lies nearest to a rigid motion.

    Args:
        a2b: (..., 4, 4) rigid, `p_b = a2b @ p_a`, metres, z up in both frames.

    Returns:
        (..., 3, 3) float64 for homogeneous x, y, 1. Exact where both frames share their z axis; else heights
        are lost, and the rotation is the one nearest (in the Frobenius norm) to the upper left 2x2 block.

    Raises:
        ValueError: wrong shape, or the z axes are more than 30 degrees apart.
    """
    a2b = np.asarray(a2b, dtype=np.float64)
    if a2b.shape[-2:] != (4, 4):
        raise ValueError(f"planar_motion: expected a rigid motion of shape (..., 4, 4), got {a2b.shape}")
    upright = a2b[..., 2, 2]
    if not np.all(upright >= _MIN_UPRIGHT):
        angle = np.degrees(np.arccos(np.clip(np.min(upright), -1.0, 1.0)))
        raise ValueError(
            f"planar_motion: the z axes of the two frames are {angle:.0f} degrees apart, expected at most "
            "30; are "
            "both frames upright?"
        )
    yaw_rad = np.arctan2(a2b[..., 1, 0] - a2b[..., 0, 1], a2b[..., 0, 0] + a2b[..., 1, 1])
    planar = np.zeros((*a2b.shape[:-2], 3, 3))
    planar[..., 0, 0] = planar[..., 1, 1] = np.cos(yaw_rad)
    planar[..., 1, 0] = np.sin(yaw_rad)
    planar[..., 0, 1] = -planar[..., 1, 0]
    planar[..., :2, 2] = a2b[..., :2, 3]
    planar[..., 2, 2] = 1.0
    return planar
