"""The worked example of docs/add_a_dataset.md runs: pairs of one keyframe, then two steps of pretraining."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.pages import ROOT, commands, overlay, run

PAGE = ROOT / "docs" / "add_a_dataset.md"
HEIGHT, WIDTH, FOCAL = 60, 100, 80.0
TINY = (
    "data.superpixels={num_superpixels: 12, sigma: 1.0}",
    "data.augment.image_size=[45, 80]",
    "teacher={kind: color_histogram}",
    "teacher_cache=null",
    "schedule.warmup_steps=1",
    "trainer={max_steps: 2, accelerator: cpu, checkpoint_every: 2, log_every: 1}",
)


def write_drives(root: Path, rng: np.random.Generator) -> np.ndarray:
    """Two drives of two keyframes; the camera looks along x. Returns the points of the first keyframe."""
    lidar2cam = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    cam2img = [[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]]
    first = None
    for drive in ("monday", "tuesday"):
        folder = root / drive
        folder.mkdir(parents=True)
        (folder / "calibration.json").write_text(
            json.dumps({"lidar2cam": lidar2cam.tolist(), "cam2img": cam2img})
        )
        for name in ("000000", "000001"):
            points = rng.uniform([2, -4, -2, 0], [20, 4, 2, 1], (400, 4)).astype(np.float32)
            first = points if first is None else first
            points.tofile(folder / f"{name}.bin")
            patches = rng.integers(0, 256, (3, 5, 3), dtype=np.uint8)
            picture = patches.repeat(HEIGHT // 3, 0).repeat(WIDTH // 5, 1)
            Image.fromarray(picture).save(folder / f"{name}.png")
    assert first is not None
    return first


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path, rng: np.random.Generator) -> None:
    site = overlay(tmp_path, PAGE)
    points = write_drives(site / "data" / "drives", rng)
    for line in commands(PAGE):
        verb, *words = shlex.split(line)[1:]
        run(site, verb, *words, *(TINY if verb == "pretrain" else ()))
    pairs = np.load(site / "pairs.npz")
    x, y, z, _ = points.astype(np.float64).T
    u, v = WIDTH / 2 - FOCAL * y / x, HEIGHT / 2 - FOCAL * z / x
    seen = (u > 0) & (u < WIDTH - 1) & (v > 0) & (v < HEIGHT - 1)
    assert pairs["pairing_points"].tolist() == np.flatnonzero(seen).tolist()
    expected = np.stack([v, u], axis=1)[seen]
    np.testing.assert_allclose(pairs["pairing_images"][:, 1:], expected, atol=0.51)
    losses = [
        json.loads(line)["loss"] for line in (site / "runs/drives/metrics.jsonl").read_text().splitlines()
    ]
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))
