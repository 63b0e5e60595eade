"""A small nuScenes root; tests can damage its tables before they are written."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from lidardistill.datasets.nuscenes.tables import CAMERAS, LIDAR

VERSION = "v1.0-mini"
SCENES = ("scene-0103", "scene-0061")
"""Database order is neither the order of names nor that of time."""
KEYFRAMES = 3
IMAGE_SIZE = (24, 40)
NUM_POINTS = 50


@dataclass
class SmallRoot:
    """Tables in memory; `write` puts them on disk."""

    path: Path
    tables: dict[str, list[dict[str, Any]]]
    indent: int | None = field(default=0)

    def write(self) -> Path:
        folder = self.path / VERSION
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in self.tables.items():
            (folder / f"{name}.json").write_text(json.dumps(rows, indent=self.indent))
        return self.path

    def find(self, table: str, **wanted: Any) -> dict[str, Any]:
        return next(
            row for row in self.tables[table] if all(row[key] == value for key, value in wanted.items())
        )

    def keyframe(self, sample: int, channel: str) -> dict[str, Any]:
        """The sample_data row of a sample, which is numbered as sample.json lists them."""
        token = self.tables["sample"][sample]["token"]
        return self.find(
            "sample_data", sample_token=token, is_key_frame=True, token=f"data-{token}-{channel}"
        )


def unit(values: np.ndarray) -> list[float]:
    return (values / np.linalg.norm(values)).tolist()


def make_small_root(path: Path, rng: np.random.Generator) -> SmallRoot:
    """Two scenes of three keyframes, two LiDAR sweeps before each; random mountings and poses."""
    sensors = (LIDAR, *CAMERAS, "RADAR_FRONT")
    tables: dict[str, list[dict[str, Any]]] = {
        name: []
        for name in ("scene", "sample", "sample_data", "ego_pose", "calibrated_sensor", "sensor", "lidarseg")
    }
    for channel in sensors:
        tables["sensor"].append({"token": f"sensor-{channel}", "channel": channel, "modality": "any"})

    def pose() -> dict[str, list[float]]:
        return {
            "rotation": unit(rng.normal(size=4)),
            "translation": (rng.normal(size=3) * [900.0, 900.0, 1.0]).tolist(),
        }

    def add_data(sample: str, channel: str, scene: str, time_us: int, key: bool) -> None:
        token = f"data-{sample}-{channel}" if key else f"data-{sample}-{channel}-{time_us}"
        is_camera = channel in CAMERAS
        ending = "jpg" if is_camera else "pcd.bin"
        tables["ego_pose"].append({"token": f"pose-{token}", "timestamp": time_us, **pose()})
        tables["sample_data"].append(
            {
                "token": token,
                "sample_token": sample,
                "ego_pose_token": f"pose-{token}",
                "calibrated_sensor_token": f"calibration-{scene}-{channel}",
                "timestamp": time_us,
                "fileformat": "jpg" if is_camera else "pcd",
                "is_key_frame": key,
                "height": IMAGE_SIZE[0] if is_camera else 0,
                "width": IMAGE_SIZE[1] if is_camera else 0,
                "filename": f"{'samples' if key else 'sweeps'}/{channel}/{token}.{ending}",
                "prev": "",
                "next": "",
            }
        )

    for number, scene in enumerate(SCENES):
        tables["scene"].append(
            {"token": f"token-{scene}", "name": scene, "description": "a {brace} in a small table"}
        )
        for channel in sensors:
            intrinsics = (
                [[30.0 + number, 0, 20.0], [0, 30.0 + number, 12.0], [0, 0, 1.0]]
                if channel in CAMERAS
                else []
            )
            calibration = {
                "token": f"calibration-{scene}-{channel}",
                "sensor_token": f"sensor-{channel}",
                **pose(),
            }
            tables["calibrated_sensor"].append({**calibration, "camera_intrinsic": intrinsics})
        for step in range(KEYFRAMES):
            sample, time_us = f"sample-{scene}-{step}", 10_000_000 * (9 - number) + 500_000 * step
            tables["sample"].append({"token": sample, "timestamp": time_us, "scene_token": f"token-{scene}"})
            for slot, channel in enumerate(sensors):
                add_data(sample, channel, scene, time_us + 1000 * slot, key=True)
            for channel in (LIDAR, "CAM_FRONT"):
                for before in (200_000, 100_000):
                    add_data(sample, channel, scene, time_us - before, key=False)
            tables["lidarseg"].append(
                {
                    "token": f"data-{sample}-{LIDAR}",
                    "sample_data_token": f"data-{sample}-{LIDAR}",
                    "filename": f"lidarseg/{VERSION}/data-{sample}-{LIDAR}_lidarseg.bin",
                }
            )
    rng.shuffle(tables["ego_pose"])
    rng.shuffle(tables["sample_data"])
    root = SmallRoot(path, tables)
    for row in tables["sample_data"]:
        file = path / row["filename"]
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".jpg":
            pixels = rng.integers(0, 256, (*IMAGE_SIZE, 3), dtype=np.uint8)
            file.write_bytes(simplejpeg.encode_jpeg(pixels, quality=95))
        else:
            rng.normal(size=(NUM_POINTS, 5)).astype(np.float32).tofile(file)
    for row in tables["lidarseg"]:
        file = path / row["filename"]
        file.parent.mkdir(parents=True, exist_ok=True)
        rng.integers(0, 32, NUM_POINTS, dtype=np.uint8).tofile(file)
    return root


@pytest.fixture
def small_root(tmp_path: Path) -> SmallRoot:
    """Unwritten tables: damage a row, then call `write`."""
    return make_small_root(tmp_path / "root", np.random.default_rng(0))
