"""Run folders in the engine's layout, with made-up figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from lidardistill.datasets.nuscenes.lidarseg_classes import CLASSES

MIOU = {"pretrained": 0.522, "random": 0.123, "permuted": 0.117}
SESSION = {
    "command": "lidardistill demo --out runs/demo",
    "start": "2026-11-23T10:00:00+00:00",
    "end": "2026-11-23T10:02:05+00:00",
    "outcome": "finished",
    "git": {"commit": "0123456789abcdef", "dirty": False},
    "versions": {"python": "3.11.7", "torch": "2.13.0", "spconv": None},
    "machine": {"cores": 2, "processor": "A processor", "gpus": []},
    "peak_memory": {"process_mb": 1536.0},
}


def write_part(folder: Path, verb: str, miou: float | None = None, lines: int = 0, loss: float = 3.1) -> Path:
    folder.mkdir(parents=True)
    weights = {} if verb == "pretrain" else {"weights": "random" if "random" in str(folder) else "x"}
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"verb": verb, **weights, "seed": 0, "data": {"dataroot": "w"}})
    )
    (folder / "manifest.json").write_text(json.dumps({"seed": 0, "sessions": [SESSION]}))
    if lines:
        share = np.arange(lines) / max(lines - 1, 1)
        rows = [
            {
                "step": 1 + 25 * number,
                "loss": 6.24 - (6.24 - loss) * s**0.4 + 0.05 * np.sin(9 * number),
                "loss_window": 6.24 - (6.24 - loss) * s**0.4,
                "match_top1": 0.002 + 0.2 * s * (6.24 - loss) / 3,
                "effective_rank": 3 + 30 * s,
                "log_candidates": 6.24,
                "seconds": 3.0 * number,
            }
            for number, s in enumerate(share)
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if miou is not None:
        spread = np.linspace(1.8, 0.2, 16)
        iou = {name: float(np.clip(miou * s, 0, 1)) for name, s in zip(CLASSES[1:], spread, strict=True)}
        iou["trailer"] = None
        metrics = {
            "miou": miou,
            "iou": iou,
            "split": "mini_val",
            "evaluator": "nuscenes-devkit 1.2.0 LidarSegEval",
        }
        (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def write_scene_arrays(path: Path, *, r2: float = 0.2, labels: bool = True, predictions: bool = True) -> Path:
    """A showcase of a made-up street: 3 views, a road, a wall and a car."""
    rng = np.random.default_rng(0)
    points = rng.uniform((-20, -40, -2), (20, 40, 3), (3000, 3)).astype(np.float32)
    names = np.array(("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT"))
    size = (45, 80)
    pairing = np.column_stack(
        [np.sort(rng.integers(0, 3, 900)), rng.integers(0, size[0], 900), rng.integers(0, size[1], 900)]
    )
    target = rng.integers(0, 17, len(points)).astype(np.uint8)
    arrays = {
        "channels": names,
        "images": rng.integers(0, 255, (3, *size, 3)).astype(np.uint8),
        "superpixels": np.repeat(np.arange(size[0] * size[1]).reshape(1, *size) // 400, 3, 0).astype(
            np.int32
        ),
        "superpixel_mask": np.ones((3, *size), bool),
        "points": np.column_stack([points, np.zeros(len(points), np.float32)]),
        "lidar2ego": np.array([[0, 1, 0, 0.9], [-1, 0, 0, 0], [0, 0, 1, 1.8], [0, 0, 0, 1.0]]),
        "pairing_points": rng.integers(0, len(points), 900).astype(np.int32),
        "pairing_images": pairing.astype(np.int16),
        "depth": rng.uniform(2, 50, 900).astype(np.float16),
        "point_mask": np.ones(len(points), bool),
        "pca_points": rng.integers(0, 255, (len(points), 3)).astype(np.uint8),
        "pca_images": rng.integers(0, 255, (3, *size, 3)).astype(np.uint8),
        "position_r2": np.full(3, r2),
        "query": np.array(7),
        "similarity_points": rng.uniform(-1, 1, len(points)).astype(np.float16),
        "similarity_images": rng.uniform(-1, 1, (3, *size)).astype(np.float16),
        "classes": np.array(CLASSES),
        "sample_token": np.array("0a1b2c3d4e"),
        "scene": np.array("scene-0103"),
        "split": np.array("mini_val"),
        "teacher": np.array("efficientnet_lite0"),
    }
    if labels:
        arrays["labels"] = target
    if predictions:
        arrays["predictions"] = np.where(rng.random(len(target)) < 0.75, np.maximum(target, 1), 4).astype(
            np.uint8
        )
    np.savez_compressed(path, **arrays)
    return path


@pytest.fixture
def make_showcase() -> Callable[..., Path]:
    return write_scene_arrays


@pytest.fixture
def make_arm(tmp_path: Path) -> Callable[..., Path]:
    """Make a complete arm folder; `without` names parts or files to leave out."""

    def make(name: str, without: tuple[str, ...] = ()) -> Path:
        arm = tmp_path / name
        if name != "random" and "pretrain" not in without:
            loss = 6.23 if name == "permuted" else 3.1
            write_part(arm / "pretrain", "pretrain", lines=0 if "curves" in without else 41, loss=loss)
        if "probe" not in without:
            write_part(arm / "probe", "probe", miou=MIOU.get(name, 0.3))
        if name == "pretrained" and "showcase" not in without:
            write_scene_arrays(arm / "showcase.npz")
        return arm

    return make
