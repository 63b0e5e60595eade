"""Spoofing: an attacker with a laser injects the points of a fake vehicle ahead of the ego car."""

from __future__ import annotations

import numpy as np

from lidardistill.corruptions.scan import CorruptedScan, check_points
from lidardistill.corruptions.sensor import HIGH_DEG, LOW_DEG, NUM_RINGS

CAR_SIZE_M = (4.5, 1.9, 1.6)
"""Length, width, height of the fake car."""
DISTANCE_M = (7.0, 10.0)
"""Range of horizontal distances from the sensor to the centre of the fake car ("front-near" obstacle)."""
BEARING_DEG = 30.0
NUM_PLACES = 16
ABOVE_GROUND_M = 0.4
GROUND_M = (-3.0, -0.5)
"""Range of heights of the ground relative to the sensor. Points outside this range are noise, or a car cannot
stand there.
"""
_AZIMUTH_STEP_DEG = 0.1
_RANGE_NOISE_M = 0.02


def spoofing(
    points: np.ndarray,
    generator: np.random.Generator,
    *,
    num_points: int,
    forward: tuple[float, float] = (0.0, 1.0),
) -> CorruptedScan:
    """Add the points that a car just ahead would return.

    The fake car stands on the ground 7 to 10 m ahead and has the heading of the ego car. The function tries
    16 random places and takes the emptiest. The points lie where the sensor's beams meet the visible sides of
    the car. Their intensities are copied from points of the scan.

    Args:
        points: (N, 4 or more) float32 x, y, z, intensity, LiDAR frame, metres.
        generator: draws place, points and intensities.
        num_points: number of points that the attacker injects.
        forward: (2,) unit x, y of the driving direction; nuScenes' LiDAR frame has it along y.

    Returns:
        The scan with `num_points` injected points at its end, and the fake box. Further columns of the
        injected points are 0.

    Raises:
        ValueError: the shape is wrong, or no point lies on the ground.

    Source: Sun et al., Towards robust LiDAR-based perception (USENIX Security 2020), the front-near obstacle
        from up to 200 points; 60, 100 and 200 points as in CALICO's (ICLR 2024) table on spoofing.
    Differs from the paper in: the paper injects recorded traces of occluded cars, this function casts beams
        on a box; points behind the fake car stay in the scan.
    """
    check_points(points, "spoofing")
    if len(points) == 0 or num_points < 1:
        raise ValueError(
            f"spoofing: expected a scan with points and at least 1 to add, got {len(points)} and {num_points}"
        )
    centres, crowds = [], []
    heading = np.arctan2(forward[1], forward[0])
    for _ in range(NUM_PLACES):
        bearing = heading + np.radians(generator.uniform(-BEARING_DEG, BEARING_DEG))
        distance = generator.uniform(*DISTANCE_M)
        centre = distance * np.array([np.cos(bearing), np.sin(bearing)])
        near = np.hypot(points[:, 0] - centre[0], points[:, 1] - centre[1]) < 0.5 * CAR_SIZE_M[0]
        ground_z = float(np.percentile(points[near if near.any() else slice(None), 2], 5))
        ground_z = min(max(ground_z, GROUND_M[0]), GROUND_M[1])
        centres.append((*centre, ground_z + 0.5 * CAR_SIZE_M[2]))
        crowds.append(int((points[near, 2] > ground_z + ABOVE_GROUND_M).sum()))
    box = np.array([*centres[int(np.argmin(crowds))], *CAR_SIZE_M, heading])
    surface = visible_surface(box)
    rows = generator.choice(len(surface), num_points, replace=len(surface) < num_points)
    cast = surface[rows]
    away = np.sqrt((cast**2).sum(axis=1, keepdims=True))
    cast = cast * (1.0 + generator.normal(0.0, _RANGE_NOISE_M, (num_points, 1)) / away)
    added = np.zeros((num_points, points.shape[1]), dtype=points.dtype)
    added[:, :3] = cast
    added[:, 3] = points[generator.integers(0, len(points), num_points), 3]
    injected = np.arange(len(points) + num_points) >= len(points)
    source = np.concatenate([np.arange(len(points)), np.zeros(num_points, dtype=np.int64)])
    return CorruptedScan(np.concatenate([points, added]), source, injected, box)


def visible_surface(box: np.ndarray) -> np.ndarray:
    """Intersections of the sensor's beams with a box. The sensor is at the origin, outside the box.

    Args:
        box: (7,) centre x, y, z, length, width, height, yaw.

    Returns:
        (M, 3) float64 metres; the beams have nuScenes' elevations and an azimuth step of 0.1 degrees.
    """
    step = np.radians(_AZIMUTH_STEP_DEG)
    reach = np.arcsin(min(1.0, 0.5 * np.hypot(box[3], box[4]) / np.hypot(box[0], box[1])))
    bearing = np.arctan2(box[1], box[0])
    azimuth = np.arange(bearing - reach, bearing + reach + step, step)
    elevation = np.radians(np.linspace(LOW_DEG, HIGH_DEG, NUM_RINGS))
    azimuth, elevation = (a.ravel() for a in np.meshgrid(azimuth, elevation, indexing="ij"))
    ray = np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], axis=1
    )
    # Slab method: in the frame of the box, its sides are parallel to the axes.
    c, s = np.cos(box[6]), np.sin(box[6])
    turn = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    local, origin = ray @ turn.T, -turn @ box[:3]
    with np.errstate(divide="ignore"):
        at = np.stack([(side * 0.5 * box[3:6] - origin) / local for side in (-1, 1)])
    enter, leave = at.min(axis=0).max(axis=1), at.max(axis=0).min(axis=1)
    hit = (enter < leave) & (enter > 0)
    return ray[hit] * enter[hit, None]
