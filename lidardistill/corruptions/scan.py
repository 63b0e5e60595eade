"""A corrupted scan, and where each of its points comes from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CorruptedScan:
    """A scan after its corruption.

    Attributes:
        points: (N', C) float32, columns as in the scan; LiDAR frame, metres.
        source: (N',) int64 row of the scan that each point comes from; meaningless where `injected` is True.
        injected: (N',) bool, True for an echo that no object of the scene returned: fog, a snowflake, another
            LiDAR's pulse, an attacker's.
        fake_box: (7,) float64 x, y, z of the centre, length, width, height (metres), yaw about z (radians) of
            an object that an attacker feigns, LiDAR frame; None without one.
    """

    points: np.ndarray
    source: np.ndarray
    injected: np.ndarray
    fake_box: np.ndarray | None = None

    def origin(self) -> np.ndarray:
        """(N',) int64 row of the scan that each point comes from, -1 for points that were injected."""
        return np.where(self.injected, -1, self.source)


def check_points(points: np.ndarray, what: str) -> np.ndarray:
    """The points, refused where they are not (N, 4 or more) floats of x, y, z, intensity."""
    if points.ndim != 2 or points.shape[1] < 4 or not np.issubdtype(points.dtype, np.floating):
        raise ValueError(
            f"{what}: expected points (N, 4 or more) of x, y, z, intensity, got {points.shape} {points.dtype}"
        )
    return points


def ranges(points: np.ndarray) -> np.ndarray:
    """(N,) float64 distance of each point from the sensor, metres."""
    return np.sqrt((points[:, :3].astype(np.float64) ** 2).sum(axis=1))


def kept_rows(points: np.ndarray, keep: np.ndarray) -> CorruptedScan:
    """The points that a (N,) bool mask keeps, unchanged."""
    source = np.flatnonzero(keep)
    return CorruptedScan(points[source], source, np.zeros(len(source), dtype=bool))
