"""A corrupted scan, and the source row of each of its points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CorruptedScan:
    """A scan after its corruption.

    Attributes:
        points: (N', C) float32, columns as in the scan; LiDAR frame, metres.
        source: (N',) int64 row of each point in the original scan; undefined where `injected` is True.
        injected: (N',) bool, True for an echo from outside the scene: fog, a snowflake, a pulse of another
            LiDAR or of an attacker.
        fake_box: (7,) float64 x, y, z of the centre, length, width, height (metres), yaw about z (radians) of
            an attacker's fake object, LiDAR frame; None without an attack.
    """

    points: np.ndarray
    source: np.ndarray
    injected: np.ndarray
    fake_box: np.ndarray | None = None

    def origin(self) -> np.ndarray:
        """(N',) int64 row of each point in the original scan, -1 for injected points."""
        return np.where(self.injected, -1, self.source)


def check_points(points: np.ndarray, what: str) -> np.ndarray:
    """Check that points are (N, 4 or more) floats of x, y, z, intensity, and return them; else ValueError."""
    if points.ndim != 2 or points.shape[1] < 4 or not np.issubdtype(points.dtype, np.floating):
        raise ValueError(
            f"{what}: expected points (N, 4 or more) of x, y, z, intensity, got {points.shape} {points.dtype}"
        )
    return points


def ranges(points: np.ndarray) -> np.ndarray:
    """(N,) float64 distance of each point from the sensor, metres."""
    return np.sqrt((points[:, :3].astype(np.float64) ** 2).sum(axis=1))


def kept_rows(points: np.ndarray, keep: np.ndarray) -> CorruptedScan:
    """Points where the (N,) bool mask `keep` is True, unchanged."""
    source = np.flatnonzero(keep)
    return CorruptedScan(points[source], source, np.zeros(len(source), dtype=bool))
