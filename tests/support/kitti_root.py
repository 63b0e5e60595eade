"""A KITTI-layout root of a few small frames, whose points lie in front of the camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (40, 120)


def write_kitti(
    root: Path, training: int = 3, testing: int = 1, num_points: int = 400, seed: int = 0
) -> Path:
    """Write frames 000000, 000001, ... of `training` and `testing`."""
    rng = np.random.default_rng(seed)
    for split, count in (("training", training), ("testing", testing)):
        for number in range(count):
            write_frame(root / split, f"{number:06d}", rng, num_points)
    return root


def write_frame(folder: Path, name: str, rng: np.random.Generator, num_points: int) -> None:
    for part in ("velodyne", "image_2", "calib"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    xyz = rng.uniform([4.0, -4.0, -1.5], [30.0, 4.0, 1.5], (num_points, 3))
    points = np.concatenate([xyz, rng.random((num_points, 1))], axis=1).astype(np.float32)
    points.tofile(folder / "velodyne" / f"{name}.bin")
    patches = rng.integers(0, 256, (4, 12, 3), dtype=np.uint8)
    pixels = patches.repeat(SIZE[0] // 4, 0).repeat(SIZE[1] // 12, 1)
    Image.fromarray(pixels).save(folder / "image_2" / f"{name}.png")
    height, width = SIZE
    projection = [[60.0, 0, width / 2, 3.0], [0, 60.0, height / 2, 0.2], [0, 0, 1, 0.003]]
    velo2cam = [[0, -1, 0, 0.0], [0, 0, -1, -0.08], [1, 0, 0, -0.27]]  # x right, y down, z forward
    lines = {"P2": np.ravel(projection), "R0_rect": np.eye(3).ravel(), "Tr_velo_to_cam": np.ravel(velo2cam)}
    text = "\n".join(f"{key}: {' '.join(f'{v:.12e}' for v in values)}" for key, values in lines.items())
    (folder / "calib" / f"{name}.txt").write_text(text + "\n")
