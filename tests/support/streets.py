"""Streets of points in memory, without and with cameras."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import simplejpeg

from lidardistill.data.frame import Frame
from lidardistill.regions.sweep.clusters import propose_regions

SENSOR_HEIGHT = 1.84
PICTURE = (48, 96)
"""Rows and columns of the pictures of a `Street`."""


def road(rng, num=4000, slope=(0.0, 0.0), reach=40.0):
    """(num, 3) points of a tilted road, uniform in distance, 2 cm of noise."""
    angle, distance = rng.uniform(-np.pi, np.pi, num), rng.uniform(3, reach, num)
    x, y = distance * np.cos(angle), distance * np.sin(angle)
    z = slope[0] * x + slope[1] * y - SENSOR_HEIGHT + rng.normal(0, 0.02, num)
    return np.stack([x, y, z], axis=1)


def box(rng, centre, size, num=300, yaw=0.0):
    """Points in a box that stands at `centre`."""
    x, y, z = (rng.uniform(-0.5, 0.5, (num, 3)) * size).T
    turned = [np.cos(yaw) * x - np.sin(yaw) * y, np.sin(yaw) * x + np.cos(yaw) * y, z]
    return np.stack(turned, axis=1) + centre


def street(rng):
    """Road, car, bus, wall, pole, scattered echoes, own roof: (N, 4) float32 and part numbers."""
    level = -1.84
    parts = [
        road(rng, 6000),
        box(rng, [8, 4, level + 1.0], [4.5, 1.8, 1.2], 400, 0.3),
        box(rng, [-10, 3, level + 2.0], [12, 2.5, 3.0], 1500, 1.0),
        box(rng, [0, -15, level + 2.0], [30, 0.3, 3.0], 3000),
        box(rng, [-3, -8, level + 3.5], [0.3, 0.3, 6.0], 300),
        rng.uniform(30, 38, (30, 3)) * [1, -1, 0.2],
        box(rng, [0, 0, -0.5], [2.0, 1.6, 0.4], 300),
    ]
    points = np.concatenate(parts)
    part = np.repeat(np.arange(len(parts)), [len(p) for p in parts])
    order = rng.permutation(len(points))
    return np.column_stack([points, np.zeros(len(points))]).astype(np.float32)[order], part[order]


def frame(points: np.ndarray) -> Frame:
    none = np.zeros((0, 4, 4))
    return Frame(
        sample_token="token",
        scene_name="scene",
        timestamp_us=0,
        lidar_path=Path("sweep.bin"),
        points=points,
        channels=(),
        image_paths=(),
        image_timestamps_us=np.zeros(0, np.int64),
        image_size=np.zeros((0, 2), np.int64),
        lidar2cam=none,
        cam2img=none,
        lidar2ego=np.diag([1.0, 1.0, 1.0, 1.0]),
        ego2global=np.eye(4),
    )


class Streets:
    """Frames in memory: two streets, a bare road and an empty scan."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        one, two = street(rng)[0], street(rng)[0]
        road = one[propose_regions(one).ground_mask]
        self.points = [one, two, road, np.zeros((0, 4), np.float32)]
        for cloud in self.points:
            cloud[:, 3] = np.arange(len(cloud)) % 250

    def frame(self, row: int) -> Frame:
        return frame(self.points[row])

    def sample_token(self, row: int) -> str:
        return f"token{row}"


class Street:
    """One street in memory that two cameras see, one ahead and one to the left; two pictures on disk."""

    def __init__(self, folder: Path) -> None:
        self.dataroot = folder
        rng = np.random.default_rng(0)
        points = street(rng)[0]
        points[:, 3] = np.arange(len(points)) % 250
        views = []
        for forward, right in (((1, 0, 0), (0, -1, 0)), ((0, 1, 0), (1, 0, 0))):
            lidar2cam = np.eye(4)
            lidar2cam[:3, :3] = right, (0, 0, -1), forward
            views.append(lidar2cam)
        cam2img = np.eye(4)
        cam2img[0, 0] = cam2img[1, 1] = 50.0
        cam2img[0, 2], cam2img[1, 2] = 47.5, 23.5
        paths = []
        for number in range(2):
            path = folder / f"view{number}.jpg"
            picture = np.ascontiguousarray(
                rng.integers(0, 256, (6, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            )
            path.write_bytes(simplejpeg.encode_jpeg(picture, 95))
            paths.append(path)
        self.one = Frame(
            sample_token="token",
            scene_name="scene",
            timestamp_us=0,
            lidar_path=Path("sweep.bin"),
            points=points,
            channels=("CAM_A", "CAM_B"),
            image_paths=tuple(paths),
            image_timestamps_us=np.zeros(2, np.int64),
            image_size=np.array([PICTURE, PICTURE]),
            lidar2cam=np.stack(views),
            cam2img=np.stack([cam2img, cam2img]),
            lidar2ego=np.eye(4),
            ego2global=np.eye(4),
        )

    def frame(self, row: int) -> Frame:
        return self.one if row == 0 else replace(self.one, points=np.zeros((0, 4), np.float32))

    def sample_token(self, row: int) -> str:
        return f"token{row}"
