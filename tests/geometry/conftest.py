"""Cameras and clouds that several geometry tests need, and the real keyframe read by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

CHANNELS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")


class RealKeyframe(NamedTuple):
    """One nuScenes keyframe; `records` are (sample_data, calibrated_sensor, ego_pose), the LiDAR first."""

    points: np.ndarray
    lidar_path: Path
    records: list[tuple[dict, dict, dict]]
    lidar2cam: np.ndarray
    cam2img: np.ndarray
    image_size: tuple[int, int]


@pytest.fixture(scope="session")
def real_keyframe(nuscenes_one: Path) -> RealKeyframe:
    """The tables joined by hand and the poses by scipy, so that nothing of ours is tested against itself."""

    def table(name: str) -> dict[str, dict]:
        rows = json.loads((nuscenes_one / "v1.0-mini" / f"{name}.json").read_text())
        return {row["token"]: row for row in rows}

    sensors, calibrations, poses = table("sensor"), table("calibrated_sensor"), table("ego_pose")
    by_channel = {}
    for row in table("sample_data").values():
        calibration = calibrations[row["calibrated_sensor_token"]]
        channel = sensors[calibration["sensor_token"]]["channel"]
        by_channel[channel] = (row, calibration, poses[row["ego_pose_token"]])

    def matrix(record: dict) -> np.ndarray:
        transform = np.eye(4)
        w, x, y, z = record["rotation"]
        transform[:3, :3] = Rotation.from_quat([x, y, z, w]).as_matrix()
        transform[:3, 3] = record["translation"]
        return transform

    lidar, lidar_calibration, lidar_pose = by_channel["LIDAR_TOP"]
    lidar2global = matrix(lidar_pose) @ matrix(lidar_calibration)
    lidar2cam, cam2img = [], []
    for channel in CHANNELS:
        _, calibration, pose = by_channel[channel]
        lidar2cam.append(np.linalg.inv(matrix(pose) @ matrix(calibration)) @ lidar2global)
        padded = np.eye(4)
        padded[:3, :3] = calibration["camera_intrinsic"]
        cam2img.append(padded)
    path = nuscenes_one / lidar["filename"]
    return RealKeyframe(
        points=np.fromfile(path, dtype=np.float32).reshape(-1, 5),
        lidar_path=path,
        records=[by_channel[channel] for channel in ("LIDAR_TOP", *CHANNELS)],
        lidar2cam=np.stack(lidar2cam),
        cam2img=np.stack(cam2img),
        image_size=(900, 1600),
    )
