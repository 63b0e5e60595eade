"""What a corruption makes of a scan, and how the labels follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lidardistill.datasets.nuscenes.lidarseg_classes import RAW_CLASSES

NOISE = RAW_CLASSES.index("noise")
"""nuScenes' raw class of echoes that belong to no object ("dust, vapour, fog, raindrops, reflections"); not evaluated."""


@dataclass(frozen=True)
class CorruptedScan:
    """A scan after its corruption.

    Attributes:
        points: (N', C) float32, columns as in the scan; LiDAR frame, metres.
        source: (N',) int64 row of the scan that each point comes from; meaningless where `injected` is True.
        injected: (N',) bool, True for an echo that no object of the scene returned: fog, a snowflake, another LiDAR's
            pulse, an attacker's.
        fake_box: (7,) float64 x, y, z of the centre, length, width, height (metres), yaw about z (radians) of an object
            that an attacker feigns, LiDAR frame; None without one.
    """

    points: np.ndarray
    source: np.ndarray
    injected: np.ndarray
    fake_box: np.ndarray | None = None

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """(N',) uint8 raw lidarseg classes: those of the source points, `NOISE` for what was injected.

        Args:
            labels: (N,) uint8 raw classes of the scan before.
        """
        if len(labels) == 0:
            return np.full(len(self.source), NOISE, dtype=np.uint8)
        return np.where(self.injected, np.uint8(NOISE), labels[np.where(self.injected, 0, self.source)])


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
