"""Regions of a LiDAR sweep without labels: remove the ground, cluster the rest."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from lidardistill.regions.sweep import _clusters_numba, _clusters_numpy
from lidardistill.regions.sweep.config import REGIONS, RegionConfig
from lidardistill.regions.sweep.ground import check_points, find_ground
from lidardistill.spans import spanned

Implementation = Literal["numba", "numpy"]
NUM_HEADINGS = 8
"""Headings over half a turn for the length of a cluster; the true length is at most 2 % larger."""


class Clusters(NamedTuple):
    """Density-connected clusters.

    Attributes:
        cluster: (N,) int32 id 0..num_clusters-1, by the order of the clusters' first core points; meaningless
            where `cluster_mask` is False.
        cluster_mask: (N,) bool, False for noise.
        core_mask: (N,) bool, True for points with enough neighbours.
        num_clusters: number of clusters.
    """

    cluster: np.ndarray
    cluster_mask: np.ndarray
    core_mask: np.ndarray
    num_clusters: int


def dbscan(
    points: np.ndarray, eps_m: float, min_points: int, *, implementation: Implementation = "numba"
) -> Clusters:
    """Cluster points by density in x, y, z.

    A point with at least `min_points` points within `eps_m` (the distance included, itself counted) is a core
    point; core points within `eps_m` of each other share a cluster. DBSCAN does not define the cluster of a
    border point (no core point itself) with core points of several clusters in reach. Here it joins the
    cluster whose first core point is first in `points`. This equals scikit-learn's order of search, so ids
    are equal to scikit-learn's.

    Args:
        points: (N, >=3) metres; columns after z are not read.
        eps_m: radius, above zero.
        min_points: at least 1.
        implementation: "numba" searches neighbouring cells of a grid; "numpy" compares all pairs.

    Returns:
        The clusters, in float64 arithmetic; none for no points.

    Raises:
        ValueError: wrong shape, coordinates that are not finite, a parameter out of range, points too far
            apart for the grid's numbers (2^20 cells of eps / 1.7 along an axis: 450 km).

    Source: Ester et al., "A Density-Based Algorithm for Discovering Clusters", KDD 1996.
    """
    xyz = check_points(points)
    if not (np.isfinite(eps_m) and eps_m > 0):
        raise ValueError(f"eps_m: expected a radius above zero, got {eps_m}")
    if isinstance(min_points, bool) or min_points < 1:
        raise ValueError(f"min_points: expected at least 1, got {min_points}")
    num_points = xyz.shape[1]
    cluster, mask = np.zeros(num_points, np.int32), np.zeros(num_points, bool)
    core = np.zeros(num_points, bool)
    if num_points == 0:
        return Clusters(cluster, mask, core, 0)
    if implementation == "numpy":
        count = _clusters_numpy.dbscan(xyz, eps_m, min_points, cluster, mask, core)
        return Clusters(cluster, mask, core, count)
    # In a cell of this side all points are within eps, rounding included, so that its cores need no
    # distances.
    side = eps_m / np.sqrt(3.0) * (1 - 1e-9)
    cells = np.floor((xyz - xyz.min(axis=1, keepdims=True)) / side)
    if cells.max() >= _clusters_numba.MAX_CELLS:
        raise ValueError(
            f"points: they span {cells.max() * side:.0f} m, more than {_clusters_numba.MAX_CELLS} cells of "
            f"{side:.3g} m. Drop the stray points, or take a larger eps_m."
        )
    keys = _clusters_numba.cell_keys(cells.astype(np.int64))
    order = np.argsort(keys, kind="stable")
    count = _clusters_numba.dbscan(
        np.ascontiguousarray(xyz.T[order]), keys[order], order, eps_m, min_points, cluster, mask, core
    )
    return Clusters(cluster, mask, core, int(count))


class ClusterSizes(NamedTuple):
    """Sizes of clusters.

    Attributes:
        num_points: (K,) int64.
        length_m: (K,) float64 largest extent in x, y over `NUM_HEADINGS` headings, so that it does not depend
            on the object's heading.
        height_m: (K,) float64 extent in z.
    """

    num_points: np.ndarray
    length_m: np.ndarray
    height_m: np.ndarray


def cluster_sizes(points: np.ndarray, clusters: Clusters) -> ClusterSizes:
    """Measure every cluster; `points` (N, >=3) are the clustered points, metres."""
    ids = clusters.cluster[clusters.cluster_mask]
    x, y, z = np.asarray(points)[clusters.cluster_mask, :3].T.astype(np.float64)
    num = clusters.num_clusters

    def extent(values: np.ndarray) -> np.ndarray:
        low, high = np.full(num, np.inf), np.full(num, -np.inf)
        np.minimum.at(low, ids, values)
        np.maximum.at(high, ids, values)
        return high - low

    headings = np.pi * np.arange(NUM_HEADINGS) / NUM_HEADINGS
    lengths = [extent(np.cos(heading) * x + np.sin(heading) * y) for heading in headings]
    return ClusterSizes(np.bincount(ids, minlength=num), np.max(lengths, axis=0), extent(z))


class Proposals(NamedTuple):
    """Regions of one sweep.

    Attributes:
        region: (N,) int32 id 0..num_regions-1 without a gap; meaningless where `region_mask` is False.
        region_mask: (N,) bool, True for semantic-rich points. All others (ground, noise, dropped clusters,
            the vehicle itself) are semantic-less.
        ground_mask: (N,) bool.
        num_regions: number of regions.
    """

    region: np.ndarray
    region_mask: np.ndarray
    ground_mask: np.ndarray
    num_regions: int


@spanned("regions")
def propose_regions(
    points: np.ndarray,
    settings: RegionConfig = REGIONS,
    *,
    implementation: Implementation = "numba",
) -> Proposals:
    """Find the objects of a sweep without labels.

    Ground points are removed, DBSCAN clusters the rest, and too small, long or high clusters are dropped.

    Args:
        points: (N, >=3) LiDAR frame, metres, z up within a few degrees; columns after z are not read.
        settings: see `RegionConfig`.
        implementation: "numba", or "numpy" for the slow twins.

    Returns:
        The regions, a function of the points and their order alone; none for an empty sweep.

    Raises:
        ValueError: as `find_ground` and `dbscan`.

    Source: CALICO (Sun et al., ICLR 2024), section 3, semantic pooling.
    """
    points = np.asarray(points)
    ground = find_ground(points, settings.ground, implementation=implementation)
    candidates = ~ground.ground_mask & (np.hypot(points[:, 0], points[:, 1]) >= settings.min_range_m)
    above = points[candidates]
    clusters = dbscan(above, settings.eps_m, settings.min_neighbors, implementation=implementation)
    sizes = cluster_sizes(above, clusters)
    kept = (
        (sizes.num_points >= settings.min_points)
        & (sizes.length_m <= settings.max_length_m)
        & (sizes.height_m <= settings.max_height_m)
    )
    region, region_mask = np.zeros(len(points), np.int32), np.zeros(len(points), bool)
    if clusters.num_clusters:
        region_mask[candidates] = clusters.cluster_mask & kept[clusters.cluster]
        number = (np.cumsum(kept) - 1).astype(np.int32)
        region[candidates] = np.where(region_mask[candidates], number[clusters.cluster], 0)
    return Proposals(region, region_mask, ground.ground_mask, int(kept.sum()))
