"""Camera models: from the camera frame to pixels.

Camera frame: x right, y down, z forward, metres. Depth is z.

Pixel rule, stated here once: pixel (row r, column c) is centred at (u, v) = (c, r), so the image covers
-0.5 <= u < W - 0.5. A point belongs to pixel (round(v), round(u)); half a pixel rounds to the even one, as
`np.round`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from lidardistill.geometry.lens import distort, injective_radius, lens_coefficients
from lidardistill.geometry.rigid import check_rigid

_LAST_ROW = np.array([0.0, 0.0, 0.0, 1.0])


def intrinsics_to_cam2img(intrinsics: ArrayLike) -> np.ndarray:
    """Pads camera matrices, so that every transform of the project is 4x4.

    Args:
        intrinsics: (..., 3, 3) focal lengths and centre, pixels.

    Returns:
        (..., 4, 4) float64.

    Raises:
        ValueError: see `check_cam2img`.
    """
    intrinsics = np.asarray(intrinsics, dtype=np.float64)
    if intrinsics.shape[-2:] != (3, 3):
        raise ValueError(f"intrinsics: expected shape (..., 3, 3), got {intrinsics.shape}")
    cam2img = np.zeros((*intrinsics.shape[:-2], 4, 4))
    cam2img[..., :3, :3] = intrinsics
    cam2img[..., 3, 3] = 1.0
    check_cam2img(cam2img, "intrinsics")
    return cam2img


def check_cam2img(cam2img: np.ndarray, name: str) -> None:
    """Refuses a camera matrix that would not give pixels and metres of depth.

    Args:
        cam2img: (..., 4, 4).
        name: what the matrix is and where it came from, for the message.

    Raises:
        ValueError: wrong shape, not finite, a focal length <= 0, or last rows other than 0 0 1 t and 0 0 0 1.
    """
    cam2img = np.asarray(cam2img)
    if cam2img.shape[-2:] != (4, 4):
        raise ValueError(f"{name}: expected a camera matrix of shape (..., 4, 4), got {cam2img.shape}")
    if not np.isfinite(cam2img).all():
        problem = "it holds NaN or infinity"
    elif (cam2img[..., 0, 0] <= 0).any() or (cam2img[..., 1, 1] <= 0).any():
        problem = "its focal lengths must be above zero"
    elif (cam2img[..., 2, :3] != _LAST_ROW[1:]).any() or (cam2img[..., 3, :] != _LAST_ROW).any():
        problem = "its rows 2 and 3 must be 0 0 1 t and 0 0 0 1 (is it transposed?)"
    else:
        return
    raise ValueError(f"{name} is not a camera matrix: {problem}. Got {cam2img.tolist()}")


def project(
    points_cam: np.ndarray, cam2img: np.ndarray, distortion: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Pixel positions of a few points, such as the corners of a box. `pair_points` is the way for a sweep.

    Args:
        points_cam: (N, 3) metres, camera frame.
        cam2img: (4, 4).
        distortion: (D,) k1 k2 p1 p2 [k3 [k4 k5 k6]], or None for a pinhole.

    Returns:
        uv: (N, 2) float64 pixels; NaN, which no comparison accepts as inside an image, for points that a
            camera cannot see at any image size: points at or behind it, and rays beyond the lens's
            `injective_radius`.
        depth: (N,) float64 metres.

    Raises:
        ValueError: wrong shapes or not a camera matrix.
    """
    points_cam = np.asarray(points_cam, dtype=np.float64)
    cam2img = np.asarray(cam2img, dtype=np.float64)
    if points_cam.ndim != 2 or points_cam.shape[1] != 3 or cam2img.shape != (4, 4):
        raise ValueError(f"project: expected (N, 3) and (4, 4), got {points_cam.shape} and {cam2img.shape}")
    check_cam2img(cam2img, "cam2img")
    depth = points_cam[:, 2] + cam2img[2, 3]
    uv = np.full((len(points_cam), 2), np.nan)
    seen = depth > 0
    if distortion is None:
        homogeneous = points_cam[seen] @ cam2img[:2, :3].T + cam2img[:2, 3]
        uv[seen] = homogeneous / depth[seen, None]
        return uv, depth
    check_no_offset(cam2img, "cam2img")
    (k,) = lens_coefficients(distortion, 1)
    ray = np.full((len(points_cam), 2), np.nan)
    ray[seen] = points_cam[seen, :2] / depth[seen, None]
    seen &= (ray * ray).sum(axis=1) < injective_radius(k) ** 2
    distorted = np.stack(distort(ray[seen, 0], ray[seen, 1], k), axis=-1)
    uv[seen] = distorted @ cam2img[:2, :2].T + cam2img[:2, 2]
    return uv, depth


def check_no_offset(cam2img: np.ndarray, name: str) -> None:
    """Refuses a translation inside a camera matrix where a lens model stands between the two.

    Args:
        cam2img: (..., 4, 4).
        name: for the message.

    Raises:
        ValueError: the last column is not 0 0 0 1.
    """
    if (cam2img[..., :3, 3] != 0).any():
        raise ValueError(
            f"{name}: with distortion its last column must be 0 0 0 1; move the offset into lidar2cam"
        )


def kitti_calibration(path: Path | str, camera: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """KITTI's rectified chain `P @ R0_rect @ Tr_velo_to_cam`, split where the camera frame is.

    P2 = K [1 | t] holds the few centimetres from camera 0, the reference, to camera 2. They are moved into
    `lidar2cam`, so that depth is measured from the camera that took the image.

    Args:
        path: a file of `calib/`: KITTI object, or odometry and SemanticKITTI (`Tr`, already rectified).
        camera: 0..3; 2 is the left colour camera, `image_2`.

    Returns:
        lidar2cam: (4, 4) float64, velodyne frame to the rectified frame of the camera.
        cam2img: (4, 4) float64. `cam2img @ lidar2cam` is the product above.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a matrix is missing, has the wrong number of entries, or is not rigid.

    Source: Geiger et al., "Vision meets robotics: the KITTI dataset", IJRR 2013, section on calibration.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no KITTI calibration at {path}: expected training/calib/NNNNNN.txt")
    entries = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)

    projection = _kitti_matrix(entries, f"P{camera}", (3, 4), path)
    lidar2reference = np.eye(4)
    lidar2reference[:3] = _kitti_matrix(
        entries, "Tr_velo_to_cam" if "Tr" not in entries else "Tr", (3, 4), path
    )
    rectify = np.eye(4)
    if "Tr" not in entries:
        rectify[:3, :3] = _kitti_matrix(entries, "R0_rect", (3, 3), path)

    cam2img = intrinsics_to_cam2img(projection[:, :3])
    reference2cam = np.eye(4)
    reference2cam[:3, 3] = np.linalg.solve(projection[:, :3], projection[:, 3])
    lidar2cam = reference2cam @ rectify @ lidar2reference
    check_rigid(lidar2cam, f"R0_rect @ Tr_velo_to_cam of {path}")
    return lidar2cam, cam2img


def _kitti_matrix(entries: dict[str, str], key: str, shape: tuple[int, int], path: Path) -> np.ndarray:
    if key not in entries:
        raise ValueError(f"{path}: expected a line '{key}:', found {sorted(entries)}")
    try:
        values = np.array(entries[key].split(), dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{path}: line '{key}:' holds something other than numbers: {error}") from None
    if values.size != shape[0] * shape[1]:
        raise ValueError(f"{path}: line '{key}:' needs {shape[0] * shape[1]} numbers, got {values.size}")
    return values.reshape(shape)
