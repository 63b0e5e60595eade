"""`lidardistill bench clusters`: regions of a sweep against scikit-learn's DBSCAN on the same points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lidardistill.bench.harness.timing import alternate
from lidardistill.packages import missing_package
from lidardistill.regions.sweep.clusters import dbscan, propose_regions
from lidardistill.regions.sweep.config import RegionConfig
from lidardistill.regions.sweep.ground import find_ground


def run(rounds: int = 7, dataroot: Path | None = None) -> dict[str, Any]:
    """Alternates ours and scikit-learn's in one process on one thread.

    Args:
        rounds: of five calls each.
        dataroot: a nuScenes root, whose first keyframe is used; None for a made-up sweep.

    Returns:
        What `alternate` returns of DBSCAN against scikit-learn's, on the points that stand on the ground;
        `proposals`: the same for all of `propose_regions` on the whole sweep, to which scikit-learn's DBSCAN
            alone on the points off
        the ground is compared; `input`; and `quality`: whether ids equal scikit-learn's, whether the ground
        equals the numpy twin's, shares and counts, and with lidarseg labels beside the sweep the ground's
        precision and recall.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import DBSCAN
    except ImportError as error:
        raise missing_package("scikit-learn", "bench clusters", error) from error
    from lidardistill.bench.projection import read_rig, synthetic_rig

    points = (synthetic_rig() if dataroot is None else read_rig(Path(dataroot))).points
    settings = RegionConfig()
    ground = find_ground(points, settings.ground)
    twin = find_ground(points, settings.ground, implementation="numpy")
    candidates = ~ground.ground_mask & (np.hypot(points[:, 0], points[:, 1]) >= settings.min_range_m)
    above = points[candidates]
    exact = above[:, :3].astype(np.float64)

    def theirs() -> np.ndarray:
        return DBSCAN(eps=settings.eps_m, min_samples=settings.min_neighbors).fit_predict(exact)

    def ours() -> Any:
        return dbscan(above, settings.eps_m, settings.min_neighbors)

    clusters, regions = ours(), propose_regions(points, settings)
    figures = alternate(ours, theirs, rounds)
    figures["baseline"]["name"] = "scikit-learn's DBSCAN on the same points, float64"
    whole = alternate(lambda: propose_regions(points, settings), theirs, rounds)
    whole["baseline"]["name"] = "scikit-learn's DBSCAN alone, on the points off the ground"
    return {
        "name": "clusters",
        **figures,
        "proposals": whole,
        "input": {
            "source": str(dataroot or "synthetic"),
            "points": len(points),
            "points_clustered": len(above),
            "eps_m": settings.eps_m,
            "min_neighbors": settings.min_neighbors,
        },
        "quality": {
            "ids_equal_to_scikit_learn": bool(
                np.array_equal(np.where(clusters.cluster_mask, clusters.cluster, -1), theirs())
            ),
            "ground_mask_of_numpy_twin": bool(np.array_equal(ground.ground_mask, twin.ground_mask)),
            "clusters": clusters.num_clusters,
            "regions": regions.num_regions,
            "ground_share": float(ground.ground_mask.mean()),
            "region_share": float(regions.region_mask.mean()),
            **({} if dataroot is None else _against_labels(Path(dataroot), ground.ground_mask)),
        },
    }


FLAT = ("driveable_surface", "other_flat", "sidewalk", "terrain")
"""Judged classes of nuScenes-lidarseg that are ground."""


def _against_labels(dataroot: Path, ground_mask: np.ndarray) -> dict[str, float]:
    """Precision and recall of the ground against the flat classes of the first keyframe; nothing without
    labels."""
    versions = sorted(path.parent.name for path in dataroot.glob("v1.0-*/lidarseg.json"))
    if not versions:
        return {}
    from lidardistill.datasets.kinds import open_source, source_config
    from lidardistill.datasets.label_kinds import open_labels
    from lidardistill.datasets.labelled import IGNORED

    index = open_source(source_config("nuscenes", dataroot, versions[0]))
    first = json.loads((dataroot / versions[0] / "sample.json").read_bytes())[0]["token"]
    points = open_labels(index).points()
    labels = points.read(index.row_of(first))
    flat = np.isin(labels, [points.classes.index(name) for name in FLAT])
    named = labels != IGNORED
    hit = (ground_mask & flat & named).sum()
    return {
        "ground_precision": float(hit / max(1, (ground_mask & named).sum())),
        "ground_recall": float(hit / max(1, (flat & named).sum())),
    }
