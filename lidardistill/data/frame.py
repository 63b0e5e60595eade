"""One keyframe on disk. This module imports no torch, which would cost hundreds of megabytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lidardistill.corrupt import CorruptSample as CorruptSample


@dataclass(frozen=True)
class Frame:
    """One keyframe: points in memory, images still undecoded, no labels.

    Attributes:
        sample_token: nuScenes sample token (or another data set's unique name of the keyframe).
        scene_name: scene the keyframe belongs to.
        timestamp_us: LiDAR time, microseconds.
        lidar_path: file of the points.
        points: (N, 4) float32, LiDAR frame: x, y, z in metres and intensity as stored (nuScenes: 0..255).
        channels: V camera names, in the order of every array below.
        image_paths: V image files.
        image_timestamps_us: (V,) int64 camera times, microseconds.
        image_size: (V, 2) int64 height, width in pixels.
        lidar2cam: (V, 4, 4) float64, LiDAR frame at LiDAR time to camera frame at camera time.
        cam2img: (V, 4, 4) float64, camera frame to homogeneous pixels.
        lidar2ego: (4, 4) float64.
        ego2global: (4, 4) float64 at LiDAR time.
        distortion: (V, 8) float64 lens coefficients as in `geometry.lens`; None if the pictures are
            undistorted.
        kept: (M,) bool, True for the points of the scan file that are in `points`; None if all are. NaN and
            infinite points are dropped; label files have one entry for each of the M points.
    """

    sample_token: str
    scene_name: str
    timestamp_us: int
    lidar_path: Path
    points: np.ndarray
    channels: tuple[str, ...]
    image_paths: tuple[Path, ...]
    image_timestamps_us: np.ndarray
    image_size: np.ndarray
    lidar2cam: np.ndarray
    cam2img: np.ndarray
    lidar2ego: np.ndarray
    ego2global: np.ndarray
    distortion: np.ndarray | None = None
    kept: np.ndarray | None = None


class Sweep(NamedTuple):
    """A LiDAR scan, usually between keyframes.

    Attributes:
        path: scan file, as `datasets.points.read_points` reads it.
        timestamp_us: microseconds.
        lidar2global: (4, 4) float64 at that time.
    """

    path: Path
    timestamp_us: int
    lidar2global: np.ndarray
