"""Slow twin of `_clusters_numba`: all distances, then a search from each core point without a cluster."""

from __future__ import annotations

import numpy as np


def dbscan(
    xyz: np.ndarray,
    eps: float,
    min_points: int,
    cluster: np.ndarray,
    cluster_mask: np.ndarray,
    core_mask: np.ndarray,
) -> int:
    """Cluster (3, N) float64 metres, not sorted; fill the three arrays like `_clusters_numba.dbscan`."""
    x, y, z = (axis[:, None] - axis[None, :] for axis in xyz)
    near = x * x + y * y + z * z <= eps * eps
    core_mask[:] = near.sum(axis=1) >= min_points
    count = 0
    for seed in np.flatnonzero(core_mask):
        if cluster_mask[seed]:
            continue
        front = np.zeros(len(near), bool)
        front[seed] = True
        while front.any():
            cluster[front], cluster_mask[front] = count, True
            front = near[front & core_mask].any(axis=0) & ~cluster_mask
        count += 1
    return count
