"""Sweeps: a keyframe's scan and the scans before it, all in the keyframe's LiDAR frame."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from lidardistill.data.frame import Sweep
from lidardistill.datasets.base import Source
from lidardistill.datasets.points import read_points
from lidardistill.geometry.rigid import invert_rigid, transform_points

CLOSE_M = 1.0
"""CenterPoint and the devkit drop points closer than this along both x and y: the roof of the ego car."""


def read_sweeps(
    source: Source,
    row: int,
    num_sweeps: int,
    *,
    close_m: float = CLOSE_M,
    keyframe_points: np.ndarray | None = None,
) -> np.ndarray:
    """Read the scan of a keyframe and the scans before it, and transform all to the keyframe's LiDAR frame.

    Each scan is transformed by one 4x4 matrix, composed in float64: from its own LiDAR frame through the
    global frame into the keyframe's LiDAR frame. This compensates the motion of the ego car; moving objects
    leave a trail.

    The start of a scene has fewer earlier scans, or none, and so fewer points. As in the devkit, no scan is
    repeated. (CenterPoint repeats the oldest scan. Copies of points give a network no new information, and
    bias the mean of a voxel towards the oldest scan.)

    Args:
        source: data set.
        row: row of the keyframe.
        num_sweeps: largest number of earlier scans, including scans of other keyframes. 0 reads only the
            keyframe's scan. "Ten sweeps" in papers means 9 here.
        close_m: points with |x| and |y| below this, metres, in their own scan's frame, are dropped as points
            on the ego car. 0 keeps them.
        keyframe_points: (N, 4) float32 points of the keyframe's own scan, if already read.

    Returns:
        (N, 5) float32 x, y, z in metres, LiDAR frame of the keyframe at its time; intensity as stored;
        seconds before the keyframe, >= 0. The keyframe's own points are first, with a time of exactly 0;
        older scans follow, newest first.

    Raises:
        ValueError: an argument is negative.
        FileNotFoundError: a scan is missing.
        CorruptSample: a scan is invalid.

    Source: CenterPoint (Yin et al., CVPR 2021) section 4.2 and the devkit's
        `LidarPointCloud.from_file_multisweep`.
    """
    if num_sweeps < 0 or not close_m >= 0:
        raise ValueError(f"expected num_sweeps and close_m of at least 0, got {num_sweeps} and {close_m}")
    own = source.keyframe_scan(row)
    global2lidar = invert_rigid(own.lidar2global)
    parts = []
    for number, scan in enumerate((own, *islice(scans_before(source, row), num_sweeps))):
        at_hand = keyframe_points if number == 0 else None
        points = read_points(scan.path, source.columns) if at_hand is None else at_hand
        points = without_ego_car(points, close_m)
        part = np.empty((len(points), 5), np.float32)
        part[:, :4] = points
        if number:  # the keyframe's own points stay bit-equal to the stored points
            part[:, :3] = transform_points(global2lidar @ scan.lidar2global, points[:, :3])
        part[:, 4] = (own.timestamp_us - scan.timestamp_us) * 1e-6
        parts.append(part)
    return np.concatenate(parts)


def scans_before(source: Source, row: int) -> Iterator[Sweep]:
    """Scans of a scene before a keyframe, newest first: the `prev` chain of sample_data."""
    scene = source.scene_name(row)
    while True:
        yield from reversed(source.sweeps(row))
        row -= 1
        if row < 0 or source.scene_name(row) != scene:
            return
        yield source.keyframe_scan(row)


def without_ego_car(points: np.ndarray, close_m: float) -> np.ndarray:
    """Drop points closer than `close_m` to the sensor along both x and y.

    Args:
        points: (N, >=2), the scan's own LiDAR frame, metres.
        close_m: metres; 0 keeps all points.

    Returns:
        (M, >=2); the same array if all points are kept.
    """
    far = (np.abs(points[:, 0]) >= close_m) | (np.abs(points[:, 1]) >= close_m)
    return points if far.all() else points.take(np.flatnonzero(far), axis=0)
