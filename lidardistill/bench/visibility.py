"""`lidardistill bench visibility`: occlusion by tiles against a k-d tree a view, and a dense z-buffer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from lidardistill.bench.harness.timing import alternate
from lidardistill.bench.projection import read_rig, synthetic_rig
from lidardistill.geometry import pair_points
from lidardistill.geometry.camera import intrinsics_to_cam2img
from lidardistill.geometry.views import Pairing
from lidardistill.geometry.visibility import RELATIVE_MARGIN, splat_radius_px_m, visible_pairs


def run(rounds: int = 7, dataroot: Path | None = None) -> dict[str, Any]:
    """Alternates `visible_pairs` and two ways of a library in one process on one thread.

    Args:
        rounds: of five calls each.
        dataroot: a nuScenes root, whose first keyframe is used; None for a made-up sweep.

    Returns:
        What `alternate` returns, against `by_trees`; `dense_zbuffer`, the same against it; `input`; and
        `quality`: whether the pairs are those of the numpy twin, the share hidden, and the pairs that each
        baseline moves.
    """
    rig = synthetic_rig() if dataroot is None else read_rig(Path(dataroot))
    cam2img = intrinsics_to_cam2img(rig.intrinsics)
    pairing = pair_points(rig.points, rig.lidar2cam(), cam2img, rig.image_size)
    radius = splat_radius_px_m(cam2img)

    def ours() -> np.ndarray:
        return visible_pairs(pairing, rig.image_size, radius_px_m=radius)

    visible = ours()
    twin = visible_pairs(pairing, rig.image_size, radius_px_m=radius, implementation="numpy")
    trees = alternate(ours, lambda: by_trees(pairing, radius), rounds)
    trees["baseline"]["name"] = "scipy's cKDTree of each view, query_ball_point of each disc"
    dense = alternate(ours, lambda: by_zbuffer(pairing, rig.image_size, radius), rounds)
    dense["baseline"]["name"] = "numpy z-buffer: pairs from far to near, each a square of its disc's side"
    return {
        "name": "visibility",
        **trees,
        "dense_zbuffer": dense,
        "input": {
            "source": str(dataroot or "synthetic"),
            "pairs": len(visible),
            "views": len(cam2img),
            "image_size": list(rig.image_size),
        },
        "quality": {
            "equal_to_numpy_twin": bool(np.array_equal(visible, twin)),
            "hidden_share": round(float(1 - visible.mean()), 4),
            "pairs_that_trees_move": int((by_trees(pairing, radius) != visible).sum()),
            "pairs_that_zbuffer_moves": int((by_zbuffer(pairing, rig.image_size, radius) != visible).sum()),
        },
    }


def by_trees(pairing: Pairing, radius_px_m: np.ndarray) -> np.ndarray:
    """(P,) bool, True where visible: the same discs, found by a tree of each view's pixels."""
    hidden = np.zeros(len(pairing.depth), bool)
    for view in np.unique(pairing.pairing_images[:, 0]):
        rows = np.flatnonzero(pairing.pairing_images[:, 0] == view)
        pixels, depth = pairing.pairing_images[rows, 1:].astype(np.float64), pairing.depth[rows]
        found = cKDTree(pixels).query_ball_point(pixels, radius_px_m[view] / depth)
        for cover, covered in enumerate(found):
            under = np.asarray(covered)
            hidden[rows[under[depth[under] > depth[cover] * (1 + RELATIVE_MARGIN)]]] = True
    return ~hidden


def by_zbuffer(pairing: Pairing, image_size: tuple[int, int], radius_px_m: np.ndarray) -> np.ndarray:
    """(P,) bool, True where visible: an image of the nearest depth, from squares instead of discs."""
    height, width = image_size
    visible = np.empty(len(pairing.depth), bool)
    for view in np.unique(pairing.pairing_images[:, 0]):
        rows = np.flatnonzero(pairing.pairing_images[:, 0] == view)
        row, col = pairing.pairing_images[rows, 1:].T
        depth = pairing.depth[rows]
        buffer = np.full((height, width), np.inf)
        reach = (radius_px_m[view] / depth).astype(np.int64)
        for i in np.argsort(-depth):
            top, left = max(row[i] - reach[i], 0), max(col[i] - reach[i], 0)
            buffer[top : row[i] + reach[i] + 1, left : col[i] + reach[i] + 1] = depth[i]
        visible[rows] = depth <= buffer[row, col] * (1 + RELATIVE_MARGIN)
    return visible
