"""An attacker with a laser feigns a vehicle near the car."""

from __future__ import annotations

import numpy as np

from lidardistill.corruptions.scan import CorruptedScan, check_points
from lidardistill.corruptions.sensor import HIGH_DEG, LOW_DEG, NUM_RINGS

CAR_SIZE_M = (4.5, 1.9, 1.6)
"""Length, width, height of the feigned car."""
DISTANCE_M = (7.0, 10.0)
"""From the sensor to its centre, as seen from above: the "front-near" obstacle of the literature."""
BEARING_DEG = 30.0
NUM_PLACES = 16
ABOVE_GROUND_M = 0.4
GROUND_M = (-3.0, -0.5)
"""Where the ground may be, against the sensor: points that lie elsewhere are noise, or on no ground that a
car stands on.
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
    """Adds points where a car just ahead would return them.

    The car stands on the ground 7 to 10 m ahead, heading as the ego car does, at the emptiest of 16 random
    places. Its points lie where the sensor's beams meet the sides that it can see; their intensities are
    those of points of the scan.

    Args:
        points: (N, 4 or more) float32 x, y, z, intensity, LiDAR frame, metres.
        generator: draws place, points and intensities.
        num_points: that the attacker can feign.
        forward: (2,) unit x, y of the driving direction; nuScenes' LiDAR frame has it along y.

    Returns:
        The scan with `num_points` more at its end, all injected, and the feigned box. Further columns are 0
        there.

    Raises:
        ValueError: wrong shape, or no points to take the ground from.

    Source: Sun et al., Towards robust LiDAR-based perception (USENIX Security 2020), the front-near obstacle
        from up to 200 points; 60, 100 and 200 points as in CALICO's (ICLR 2024) table on spoofing.
    Differs from the paper in: their points are recorded traces of occluded cars, these are cast on a box;
        nothing that lies behind the car is taken away.
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
    """Where the beams of a sensor at the origin meet a box that stands apart from it.

    Args:
        box: (7,) centre x, y, z, length, width, height, yaw.

    Returns:
        (M, 3) float64 metres; beams of nuScenes' elevations, 0.1 degrees of azimuth apart.
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
    # In the frame of the box, its sides are planes of the axes: the slab method.
    c, s = np.cos(box[6]), np.sin(box[6])
    turn = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    local, origin = ray @ turn.T, -turn @ box[:3]
    with np.errstate(divide="ignore"):
        at = np.stack([(side * 0.5 * box[3:6] - origin) / local for side in (-1, 1)])
    enter, leave = at.min(axis=0).max(axis=1), at.max(axis=0).min(axis=1)
    hit = (enter < leave) & (enter > 0)
    return ray[hit] * enter[hit, None]
