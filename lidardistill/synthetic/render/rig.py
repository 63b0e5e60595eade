"""Where nuScenes' sensors sit: the calibration of one real car, rounded."""

from __future__ import annotations

import numpy as np

from lidardistill.geometry.rigid import rigid
from lidardistill.synthetic.write.recording import Rig

# Source: nuScenes v1.0-mini, calibrated_sensor.json of log n015-2018-07-24-11-22-45, rounded.
# channel: rotation wxyz, translation (ego frame, metres), focal length, principal point (1600 x 900 pixels),
# and how long before the LiDAR's timestamp the camera fires (seconds; ego_pose.json of the same keyframe).
_CAMERAS: dict[str, tuple] = {
    "CAM_FRONT": ((0.4998, -0.5030, 0.4998, -0.4974), (1.701, 0.016, 1.511), 1266.4, (816.3, 491.5), 0.0355),
    "CAM_FRONT_RIGHT": (
        (0.2060, -0.2027, 0.6825, -0.6714),
        (1.551, -0.493, 1.496),
        1260.8,
        (808.0, 495.3),
        0.0276,
    ),
    "CAM_BACK_RIGHT": (
        (0.1228, -0.1324, -0.7004, 0.6905),
        (1.015, -0.481, 1.562),
        1259.5,
        (807.3, 501.2),
        0.0201,
    ),
    "CAM_BACK": ((0.5038, -0.4974, -0.4942, 0.5045), (0.028, 0.003, 1.579), 809.2, (829.2, 481.8), 0.0104),
    "CAM_BACK_LEFT": (
        (0.6924, -0.7032, -0.1165, 0.1120),
        (1.036, 0.485, 1.591),
        1256.7,
        (792.1, 492.8),
        0.0005,
    ),
    "CAM_FRONT_LEFT": (
        (0.6757, -0.6736, 0.2121, -0.2112),
        (1.524, 0.495, 1.509),
        1272.6,
        (826.6, 479.8),
        0.0431,
    ),
}
_LIDAR = ((0.7078, -0.0065, 0.0106, -0.7063), (0.944, 0.000, 1.840))
_FULL_SIZE = (900, 1600)

CHANNELS: tuple[str, ...] = tuple(_CAMERAS)
CAMERA_LEAD_S: np.ndarray = np.array([_CAMERAS[c][4] for c in CHANNELS])
"""(V,) seconds by which each camera fires before the LiDAR's timestamp."""


def _unit(rotation: tuple[float, ...]) -> np.ndarray:
    wxyz = np.array(rotation)
    return wxyz / np.linalg.norm(wxyz)


def make_rig(image_size: tuple[int, int]) -> Rig:
    """nuScenes' rig with its cameras scaled to `image_size` (height, width) pixels.

    A pixel is centred at whole coordinates, so the principal point scales about half a pixel outside.
    """
    height, width = image_size
    if height < 8 or width < 8:
        raise ValueError(f"image_size: expected at least 8 x 8 pixels (height, width), got {image_size}.")
    sy, sx = height / _FULL_SIZE[0], width / _FULL_SIZE[1]
    poses, intrinsics = [], []
    for rotation, translation, focal, (cx, cy), _ in _CAMERAS.values():
        poses.append(rigid(_unit(rotation), np.array(translation)))
        intrinsics.append(
            [
                [focal * sx, 0.0, (cx + 0.5) * sx - 0.5],
                [0.0, focal * sy, (cy + 0.5) * sy - 0.5],
                [0.0, 0.0, 1.0],
            ]
        )
    return Rig(
        lidar2ego=rigid(_unit(_LIDAR[0]), np.array(_LIDAR[1])),
        channels=CHANNELS,
        cam2ego=np.array(poses),
        intrinsics=np.array(intrinsics),
        image_size=(height, width),
    )
