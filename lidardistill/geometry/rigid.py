"""Rigid motions as 4x4 float64 matrices: `p_b = a2b @ p_a`, column vectors, metres."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

# Rotations written as float32, as KITTI's, are orthonormal to 1e-7; a scaled, sheared or transposed one is
# not to 1e-4.
RIGID_TOLERANCE = 1e-4
_IDENTITY = np.eye(3)
_LAST_ROW = np.array([0.0, 0.0, 0.0, 1.0])


def quaternion_to_rotation(wxyz: ArrayLike) -> np.ndarray:
    """Rotation matrices of quaternions, which are normalised first.

    Args:
        wxyz: (..., 4) scalar first, as nuScenes stores them; length within 1 % of one.

    Returns:
        (..., 3, 3) float64.

    Raises:
        ValueError: wrong shape, or a length that no rounding explains.
    """
    quaternion = np.asarray(wxyz, dtype=np.float64)
    if quaternion.shape[-1:] != (4,):
        raise ValueError(f"quaternion: expected (..., 4) as w, x, y, z, got shape {quaternion.shape}")
    length = np.linalg.norm(quaternion, axis=-1, keepdims=True)
    if not np.all(np.abs(length - 1.0) < 0.01):
        raise ValueError(f"quaternion: expected length 1, got {length.ravel()} for {quaternion.tolist()}")
    w, x, y, z = np.moveaxis(quaternion / length, -1, 0)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def rotation_to_quaternion(rotation: ArrayLike) -> np.ndarray:
    """The quaternion of one rotation matrix.

    Args:
        rotation: (3, 3) proper rotation.

    Returns:
        (4,) float64 w, x, y, z with w >= 0.

    Raises:
        ValueError: wrong shape.

    Source: Shepperd, "Quaternion from rotation matrix", 1978: the largest component is found first, so that
        the division never is by a small number.
    """
    r = np.asarray(rotation, dtype=np.float64)
    if r.shape != (3, 3):
        raise ValueError(f"rotation: expected shape (3, 3), got {r.shape}")
    # 4 q q^T, whose every row is the quaternion times four times one component of it.
    outer = np.array(
        [
            [1 + r[0, 0] + r[1, 1] + r[2, 2], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], 1 + r[0, 0] - r[1, 1] - r[2, 2], r[1, 0] + r[0, 1], r[0, 2] + r[2, 0]],
            [r[0, 2] - r[2, 0], r[1, 0] + r[0, 1], 1 - r[0, 0] + r[1, 1] - r[2, 2], r[2, 1] + r[1, 2]],
            [r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[2, 1] + r[1, 2], 1 - r[0, 0] - r[1, 1] + r[2, 2]],
        ]
    )
    row = outer[np.argmax(np.diagonal(outer))]
    quaternion = row / np.linalg.norm(row)
    return -quaternion if quaternion[0] < 0 else quaternion


def rigid(rotation_wxyz: ArrayLike, translation: ArrayLike) -> np.ndarray:
    """The motion that rotates, then translates: nuScenes' pose records, sensor to ego or ego to global.

    Args:
        rotation_wxyz: (..., 4) quaternion, scalar first.
        translation: (..., 3) metres.

    Returns:
        (..., 4, 4) float64.

    Raises:
        ValueError: wrong shapes, or no unit quaternion.
    """
    rotation = quaternion_to_rotation(rotation_wxyz)
    offset = np.asarray(translation, dtype=np.float64)
    if offset.shape != rotation.shape[:-1]:
        raise ValueError(f"translation: expected shape {rotation.shape[:-1]}, got {offset.shape}")
    return _assemble(rotation, offset)


def invert_rigid(transform: np.ndarray) -> np.ndarray:
    """The motion back, by transposing the rotation.

    Args:
        transform: (..., 4, 4) rigid `a2b`.

    Returns:
        (..., 4, 4) float64 `b2a`.
    """
    transform = np.asarray(transform, dtype=np.float64)
    back = np.swapaxes(transform[..., :3, :3], -1, -2)
    return _assemble(back, -(back @ transform[..., :3, 3:])[..., 0])


def transform_points(transform: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    """Moves points from frame a to frame b.

    Args:
        transform: (4, 4) `a2b`.
        xyz: (N, 3) metres, frame a.

    Returns:
        (N, 3) float64 metres, frame b.

    Raises:
        ValueError: wrong shapes.
    """
    transform = np.asarray(transform, dtype=np.float64)
    xyz = np.asarray(xyz, dtype=np.float64)
    if transform.shape != (4, 4) or xyz.ndim != 2 or xyz.shape[1] != 3:
        raise ValueError(
            f"transform_points: expected (4, 4) and (N, 3), got {transform.shape} and {xyz.shape}"
        )
    return xyz @ transform[:3, :3].T + transform[:3, 3]


def check_rigid(transform: np.ndarray, name: str, tolerance: float = RIGID_TOLERANCE) -> None:
    """Refuses a calibration that does more than rotate and translate.

    Args:
        transform: (..., 4, 4).
        name: what the matrix is and where it came from, for the message.
        tolerance: largest entry of `R @ R.T - 1` that passes for rounding.

    Raises:
        ValueError: names the first property that fails: shape, finite, last row, orthonormal, right-handed.
    """
    transform = np.asarray(transform)
    if transform.shape[-2:] != (4, 4):
        raise ValueError(f"{name}: expected a rigid motion of shape (..., 4, 4), got {transform.shape}")
    rotation = transform[..., :3, :3]
    if not np.isfinite(transform).all():
        problem = "it holds NaN or infinity"
    elif (transform[..., 3, :] != _LAST_ROW).any():
        problem = f"its last row is {transform[..., 3, :].tolist()} instead of 0 0 0 1 (is it transposed?)"
    elif (error := _orthonormality_error(rotation)) > tolerance:
        problem = f"R @ R.T differs from the identity by {error:.2g}, {tolerance:g} is allowed"
    elif (np.linalg.det(rotation) < 0).any():
        problem = "its rotation mirrors (determinant -1)"
    else:
        return
    raise ValueError(f"{name} is not a rigid motion: {problem}. Check the calibration it was read from.")


def _orthonormality_error(rotation: np.ndarray) -> float:
    return float(np.abs(rotation @ rotation.swapaxes(-1, -2) - _IDENTITY).max(initial=0.0))


def _assemble(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    transform = np.zeros((*rotation.shape[:-2], 4, 4))
    transform[..., :3, :3] = rotation
    transform[..., :3, 3] = translation
    transform[..., 3, 3] = 1.0
    return transform
