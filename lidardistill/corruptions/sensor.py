"""Sensor faults: lost beams, lost echoes, pulses of other LiDARs, a shaken mount, another sensor model."""

from __future__ import annotations

import numpy as np

from lidardistill.corruptions.scan import CorruptedScan, check_points, kept_rows

NUM_RINGS = 32
LOW_DEG, HIGH_DEG = -30.67, 10.67
"""Elevation of the first and the last of nuScenes' 32 beams; source: Velodyne HDL-32E manual."""


def rings_by_elevation(
    points: np.ndarray,
    *,
    num_rings: int = NUM_RINGS,
    low_deg: float = LOW_DEG,
    high_deg: float = HIGH_DEG,
) -> np.ndarray:
    """Beam (ring) of each point, computed from its elevation, for scans without a ring column.

    The beams must be evenly spaced. nuScenes' scans are motion-compensated, so the elevations are not exact:
    nine in ten points get the stored ring, the others a neighbouring one.

    Args:
        points: (N, 3 or more) x, y, z, LiDAR frame, metres.
        num_rings: beams of the sensor.
        low_deg, high_deg: elevation of the lowest (ring 0) and the highest beam.

    Returns:
        (N,) int64 0..num_rings - 1.
    """
    flat = np.hypot(points[:, 0].astype(np.float64), points[:, 1].astype(np.float64))
    elevation = np.degrees(np.arctan2(points[:, 2].astype(np.float64), flat))
    step = (high_deg - low_deg) / (num_rings - 1)
    return np.clip(np.rint((elevation - low_deg) / step), 0, num_rings - 1).astype(np.int64)


def beam_missing(
    points: np.ndarray, generator: np.random.Generator, rings: np.ndarray, *, num_missing: int
) -> CorruptedScan:
    """Remove whole beams: dirt on the window, or a dead laser.

    Args:
        points: (N, 4 or more) float32.
        generator: draws the lost beams.
        rings: (N,) int beam of each point.
        num_missing: number of lost beams, drawn from the beams with points.

    Raises:
        ValueError: the shapes do not fit, or `num_missing` is larger than the number of beams in the scan.

    Source: Robo3D (Kong et al., ICCV 2023), beam missing; 8, 16 and 24 of nuScenes' 32 beams.
    Differs from the paper in: the lost beams are distinct and drawn from all beams. The released script draws
        from beams 2 to 28 with replacement, so it can remove fewer beams than stated.
    """
    _check_rings(points, rings, "beam-missing")
    present = np.unique(rings)
    if num_missing > len(present):
        raise ValueError(
            f"beam-missing: {num_missing} beams cannot be lost, the scan has points of {len(present)}"
        )
    lost = generator.choice(present, num_missing, replace=False)
    return kept_rows(points, ~np.isin(rings, lost))


def cross_sensor(
    points: np.ndarray, rings: np.ndarray, *, num_kept: int, num_rings: int = NUM_RINGS, every: int = 2
) -> CorruptedScan:
    """Thin out the scan to that of a sensor with fewer beams and a coarser azimuth step.

    The kept beams are evenly spaced in elevation. Each kept beam keeps every `every`-th point by azimuth. The
    function draws no random numbers.

    Args:
        points: (N, 4 or more) float32.
        rings: (N,) int beam of each point, 0..num_rings - 1.
        num_kept: number of beams of the target sensor.
        num_rings: number of beams of the sensor of `points`.
        every: step along a beam; 2 keeps every second point.

    Raises:
        ValueError: the shapes do not fit, or `num_kept` is larger than `num_rings`.

    Source: Robo3D (Kong et al., ICCV 2023), cross-sensor; 24, 16 and 8 of nuScenes' 32 beams, every second
        point.
    Differs from the paper in: this function thins out points along each beam. The released script takes every
        second point of the file; in nuScenes' firing order this removes whole beams.
    """
    _check_rings(points, rings, "cross-sensor")
    if not 1 <= num_kept <= num_rings or every < 1:
        raise ValueError(
            f"cross-sensor: expected 1..{num_rings} beams and one of 1 or more points, got {num_kept} and "
            f"{every}"
        )
    beams = np.arange(num_kept) * num_rings // num_kept
    order = np.lexsort((np.arctan2(points[:, 1], points[:, 0]), rings))
    first = np.concatenate([[True], rings[order][1:] != rings[order][:-1]]) if len(order) else order == 0
    start = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order)) - start
    return kept_rows(points, np.isin(rings, beams) & (place % every == 0))


def crosstalk(points: np.ndarray, generator: np.random.Generator, *, share: float) -> CorruptedScan:
    """Crosstalk: pulses of other LiDARs displace some points by metres.

    Args:
        points: (N, 4 or more) float32; intensity 0..255.
        generator: draws the displaced points and their Gaussian noise: std 3 m along each axis, 3 for the
            intensity.
        share: share of displaced points, 0..1.

    Returns:
        The scan with the same number of points; displaced points count as injected.

    Source: Robo3D (Kong et al., ICCV 2023), crosstalk; 3, 7 and 12 % for nuScenes.
    """
    check_points(points, "crosstalk")
    out = points.copy()
    moved = generator.choice(len(points), int(share * len(points)), replace=False)
    out[moved, :4] += generator.normal(0.0, 3.0, (len(moved), 4)).astype(points.dtype)
    out[moved, 3] = np.clip(out[moved, 3], 0.0, 255.0)
    injected = np.zeros(len(points), dtype=bool)
    injected[moved] = True
    return CorruptedScan(out, np.arange(len(points)), injected)


def motion_blur(points: np.ndarray, generator: np.random.Generator, *, jitter_m: float) -> CorruptedScan:
    """Motion blur of a shaken mount: one shift of the whole scan, and jitter of each point.

    Args:
        points: (N, 4 or more) float32.
        generator: draws Gaussian noise: one shift of the scan with std `jitter_m` along each axis, and one
            for each point with std `jitter_m` / 10 along x and y and `jitter_m` / 20 along z, clipped at
            3 `jitter_m`.
        jitter_m: std of the shift of the scan, metres.

    Source: Robo3D (Kong et al., ICCV 2023), motion blur; 0.20, 0.25 and 0.30 m.
    """
    check_points(points, "motion-blur")
    out = points.copy()
    shift = generator.normal(0.0, jitter_m, 3)
    own = generator.normal(0.0, 1.0, (len(points), 3)) * (jitter_m * np.array([0.1, 0.1, 0.05]))
    out[:, :3] += shift + np.clip(own, -3 * jitter_m, 3 * jitter_m)
    return CorruptedScan(out, np.arange(len(points)), np.zeros(len(points), dtype=bool))


def incomplete_echo(
    points: np.ndarray, generator: np.random.Generator, vehicle_mask: np.ndarray, *, share: float
) -> CorruptedScan:
    """Remove the weakest echoes of all vehicles: dark vehicles reflect too little light.

    Args:
        points: (N, 4 or more) float32; echoes are ranked by intensity.
        generator: breaks ties between equal intensities.
        vehicle_mask: (N,) bool, points on vehicles.
        share: share of the vehicle points that are lost, 0..1.

    Raises:
        ValueError: the shapes do not fit.

    Source: Robo3D (Kong et al., ICCV 2023), incomplete echo; 75, 85 and 95 %.
    Differs from the paper in: this function removes the weakest echoes, so dark vehicles vanish and bright
        ones stay whole; Robo3D removes random points of each vehicle class.
    """
    check_points(points, "incomplete-echo")
    if vehicle_mask.shape != points.shape[:1] or vehicle_mask.dtype != np.bool_:
        raise ValueError(
            f"incomplete-echo: expected vehicle_mask ({len(points)},) bool, got {vehicle_mask.shape} "
            f"{vehicle_mask.dtype}"
        )
    vehicles = np.flatnonzero(vehicle_mask)
    order = np.lexsort((generator.random(len(vehicles)), points[vehicles, 3]))
    keep = np.ones(len(points), dtype=bool)
    keep[vehicles[order[: int(share * len(vehicles))]]] = False
    return kept_rows(points, keep)


def _check_rings(points: np.ndarray, rings: np.ndarray, what: str) -> None:
    check_points(points, what)
    if rings.shape != points.shape[:1] or not np.issubdtype(rings.dtype, np.integer):
        raise ValueError(
            f"{what}: expected rings ({len(points)},) of whole numbers, got {rings.shape} {rings.dtype}"
        )
