"""`lidardistill bench voxelize`: hashing against `np.unique` over rows, which sorts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lidardistill.bench.harness.timing import alternate
from lidardistill.bench.projection import read_rig, synthetic_rig
from lidardistill.geometry import voxelize

VOXEL_SIZE = (0.1, 1.0, 0.1)  # rho m, phi degrees, z m: SLidR


def run(rounds: int = 7, dataroot: Path | None = None) -> dict[str, Any]:
    """Alternates `voxelize` and `unique_rows` in one process on one thread.

    Args:
        rounds: of five calls each.
        dataroot: a nuScenes root, whose first keyframe is used; None for a made-up sweep.

    Returns:
        What `alternate` returns, `input`, and `quality`: whether voxels, their order and first points equal
        the numpy twin's, whether the points fall into the same groups as the baseline's, and the number of
        voxels.
    """
    points = (synthetic_rig() if dataroot is None else read_rig(Path(dataroot))).points
    ours = voxelize(points, VOXEL_SIZE, kind="cylindrical")
    twin = voxelize(points, VOXEL_SIZE, kind="cylindrical", implementation="numpy")
    figures = alternate(
        lambda: voxelize(points, VOXEL_SIZE, kind="cylindrical"), lambda: unique_rows(points), rounds
    )
    figures["baseline"]["name"] = "float32 cylinder coordinates, floor, np.unique(axis=0)"
    coords, inverse = unique_rows(points)
    same = np.all(
        ours.voxel_coords[ours.point2voxel] - ours.voxel_coords[ours.point2voxel[0]]
        == (coords[inverse][:, ::-1] - coords[inverse[0], ::-1]),
        axis=1,
    )
    return {
        "name": "voxelize",
        **figures,
        "input": {"source": str(dataroot or "synthetic"), "points": len(points), "voxel_size": VOXEL_SIZE},
        "quality": {
            "equal_to_numpy_twin": all(
                np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(ours, twin, strict=True)
            ),
            "voxels": len(ours.voxel_coords),
            "voxels_of_baseline": len(coords),
            "points_that_baseline_moves": int((~same).sum()),
        },
    }


def unique_rows(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cylindrical voxels as the field's loaders make them.

    Args:
        points: (N, >=3) float32.

    Returns:
        (M, 3) int32 rho, phi, z, sorted; (N,) int64 row of each point in it.
    """
    x, y, z = points[:, :3].T
    cylinder = np.stack([np.sqrt(x * x + y * y), np.degrees(np.arctan2(y, x)), z], axis=1)
    cells = np.floor(cylinder / np.array(VOXEL_SIZE, dtype=np.float32)).astype(np.int32)
    coords, _, inverse = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    return coords, inverse.reshape(-1)
