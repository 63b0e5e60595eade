"""A keyframe's scan with the scans before it, all in the keyframe's LiDAR frame."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from lidardistill.data.frame import Sweep
from lidardistill.datasets.base import Source
from lidardistill.datasets.points import read_points
from lidardistill.geometry.rigid import invert_rigid, transform_points

CLOSE_M = 1.0
"""CenterPoint and the devkit drop what lies nearer than this along both x and y: the roof of the ego car."""


def read_sweeps(
    source: Source,
    row: int,
    num_sweeps: int,
    *,
    close_m: float = CLOSE_M,
    keyframe_points: np.ndarray | None = None,
) -> np.ndarray:
    """Read the scan of a keyframe and those before it, and move them to where the sensor then stands.

    Each scan is moved by one 4x4 matrix, its own LiDAR frame through the global frame into the keyframe's,
    composed in
    float64: rotation and translation of the ego car. What moves by itself leaves a trail.

    At the start of a scene there are fewer scans before, down to none, and so fewer points: as in the devkit,
    nothing is repeated to fill up. (CenterPoint repeats the oldest scan. Copies of points tell a network
    nothing new, and weigh the mean of a voxel towards what is oldest.)

    Args:
        source: names the scans.
        row: keyframe.
        num_sweeps: scans before the keyframe's own, at most; other keyframes count among them. 0 reads one
            scan alone. What papers call ten sweeps is 9 here.
        close_m: points of each scan with |x| and |y| below this, metres, in that scan's own frame, are left
            out: they are of the ego car. 0 keeps them.
        keyframe_points: (N, 4) float32 points of the keyframe's own scan, where they have been read already.

    Returns:
        (N, 5) float32 x, y, z in metres, LiDAR frame of the keyframe at its time; intensity as stored;
        seconds before the keyframe, >= 0. The keyframe's own points come first and lag by exactly 0, older
        scans follow, newest first.

    Raises:
        ValueError: a negative argument.
        FileNotFoundError: a scan is missing.
        CorruptSample: a scan cannot be used.

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
        if number:  # the keyframe's own points stay bit-equal to what the sensor measured
            part[:, :3] = transform_points(global2lidar @ scan.lidar2global, points[:, :3])
        part[:, 4] = (own.timestamp_us - scan.timestamp_us) * 1e-6
        parts.append(part)
    return np.concatenate(parts)


def scans_before(source: Source, row: int) -> Iterator[Sweep]:
    """The scans of a scene before a keyframe, newest first: the chain of `prev` in sample_data."""
    scene = source.scene_name(row)
    while True:
        yield from reversed(source.sweeps(row))
        row -= 1
        if row < 0 or source.scene_name(row) != scene:
            return
        yield source.keyframe_scan(row)


def without_ego_car(points: np.ndarray, close_m: float) -> np.ndarray:
    """Points that do not lie within `close_m` of the sensor along both x and y.

    Args:
        points: (N, >=2), the scan's own LiDAR frame, metres.
        close_m: metres; 0 keeps all.

    Returns:
        (M, >=2), the same array where all are kept.
    """
    far = (np.abs(points[:, 0]) >= close_m) | (np.abs(points[:, 1]) >= close_m)
    return points if far.all() else points.take(np.flatnonzero(far), axis=0)
