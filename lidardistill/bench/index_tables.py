"""nuScenes tables of any size: rows are replicated, and as many and as wide as the real ones.

Scans have one point.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lidardistill.datasets.nuscenes.tables import CAMERAS, LIDAR

RADARS = ("RADAR_FRONT", "RADAR_FRONT_LEFT", "RADAR_FRONT_RIGHT", "RADAR_BACK_LEFT", "RADAR_BACK_RIGHT")
SENSORS = (LIDAR, *CAMERAS, *RADARS)
SWEEPS = {LIDAR: 9, **dict.fromkeys(CAMERAS, 5), **dict.fromkeys(RADARS[:4], 5), RADARS[4]: 6}
"""Rows beside each keyframe's: with the twelve keyframes 77 a sample, as v1.0-trainval has on average."""
ANNOTATIONS = 34
KEYFRAMES_OF_A_SCENE = 40

_ODD = 0x9E3779B97F4A7C15F39CC0605CEDC835
_POSES = 64


def write_tables(root: Path, version: str, keyframes: int) -> dict[str, int]:
    """Write all tables that the index and nuscenes-devkit read.

    Args:
        root: new nuScenes root.
        version: folder of the tables.
        keyframes: samples; 34,149 make the 2.63 million sample_data rows of v1.0-trainval.

    Returns:
        Rows by table.
    """
    folder = root / version
    folder.mkdir(parents=True)
    num_scenes = -(-keyframes // KEYFRAMES_OF_A_SCENE)
    poses = _poses()
    small: dict[str, list[dict[str, Any]]] = {
        "sensor": [
            {"token": _token(1, number), "channel": channel, "modality": channel.split("_")[0].lower()}
            for number, channel in enumerate(SENSORS)
        ],
        "scene": [
            {
                "token": _token(2, number),
                "log_token": _token(3, 0),
                "nbr_samples": KEYFRAMES_OF_A_SCENE,
                "first_sample_token": _token(4, number * KEYFRAMES_OF_A_SCENE),
                "last_sample_token": _token(4, min(keyframes, (number + 1) * KEYFRAMES_OF_A_SCENE) - 1),
                "name": f"scene-{number + 1:04d}",
                "description": "a replicated scene",
            }
            for number in range(num_scenes)
        ],
        "calibrated_sensor": [
            {
                "token": _token(5, scene * len(SENSORS) + number),
                "sensor_token": _token(1, number),
                **poses[(scene + number) % _POSES],
                "camera_intrinsic": [[1266.4, 0.0, 816.3], [0.0, 1266.4, 491.5], [0.0, 0.0, 1.0]]
                if channel in CAMERAS
                else [],
            }
            for scene in range(num_scenes)
            for number, channel in enumerate(SENSORS)
        ],
        "sample": [
            {
                "token": _token(4, number),
                "timestamp": _time_us(number),
                "prev": "",
                "next": "",
                "scene_token": _token(2, number // KEYFRAMES_OF_A_SCENE),
            }
            for number in range(keyframes)
        ],
        "category": [{"token": _token(8, 0), "name": "vehicle.car", "description": ""}],
        "instance": [
            {
                "token": _token(9, 0),
                "category_token": _token(8, 0),
                "nbr_annotations": 1,
                "first_annotation_token": _token(10, 0),
                "last_annotation_token": _token(10, 0),
            }
        ],
        "attribute": [],
        "visibility": [],
        "log": [{"token": _token(3, 0), "logfile": "", "vehicle": "", "date_captured": "", "location": ""}],
        "map": [
            {"token": _token(11, 0), "log_tokens": [_token(3, 0)], "category": "", "filename": "map.png"}
        ],
    }
    (root / "map.png").touch()  # the devkit wants it to be there and does not look inside
    for name, rows in small.items():
        (folder / f"{name}.json").write_text(json.dumps(rows, indent=0))
    counts = {name: len(rows) for name, rows in small.items()}
    pose_texts = [json.dumps(pose, indent=0)[2:-2] for pose in poses]
    counts["sample_data"] = _write(folder / "sample_data.json", _sample_data(keyframes))
    counts["ego_pose"] = _write(folder / "ego_pose.json", _ego_poses(counts["sample_data"], pose_texts))
    counts["sample_annotation"] = _write(
        folder / "sample_annotation.json", _annotations(keyframes, pose_texts)
    )
    return counts


def write_scans(root: Path, keyframes: int) -> None:
    """Put a scan of one point behind every keyframe of `write_tables`: one file under many names."""
    folder = root / "samples" / LIDAR
    folder.mkdir(parents=True)
    scan = root / "scan.bin"
    np.zeros((1, 5), "<f4").tofile(scan)
    for sample in range(keyframes):
        os.link(scan, folder / _file_name(LIDAR, _time_us(sample) + SENSORS.index(LIDAR), "pcd.bin"))


def _file_name(channel: str, time_us: int, ending: str) -> str:
    return f"n015-2018-07-24-11-22-45+0800__{channel}__{time_us}.{ending}"


def _write(path: Path, rows: Iterator[str]) -> int:
    """Rows as nuScenes lays them out, a field a line."""
    count = 0
    with path.open("w", buffering=1 << 22) as stream:
        stream.write("[\n")
        for row in rows:
            stream.write(f",\n{row}" if count else row)
            count += 1
        stream.write("\n]")
    return count


def _sample_data(keyframes: int) -> Iterator[str]:
    plan = [
        (number, channel, step)
        for number, channel in enumerate(SENSORS)
        for step in range(1 + SWEEPS[channel])
    ]
    for sample in range(keyframes):
        scene = sample // KEYFRAMES_OF_A_SCENE
        for place, (number, channel, step) in enumerate(plan):
            token = _token(6, sample * len(plan) + place)
            time_us = _time_us(sample) - 50_000 * step + number
            kind, ending = (
                ("jpg", "jpg") if channel in CAMERAS else ("pcd", "pcd.bin" if channel == LIDAR else "pcd")
            )
            height, width = (900, 1600) if channel in CAMERAS else (0, 0)
            yield (
                f'{{\n"token": "{token}",\n"sample_token": "{_token(4, sample)}",\n'
                f'"ego_pose_token": "{token}",\n'
                f'"calibrated_sensor_token": "{_token(5, scene * len(SENSORS) + number)}",\n'
                f'"timestamp": {time_us},\n'
                f'"fileformat": "{kind}",\n"is_key_frame": {"false" if step else "true"},\n'
                f'"height": {height},\n'
                f'"width": {width},\n"filename": "{"sweeps" if step else "samples"}/{channel}/'
                f'{_file_name(channel, time_us, ending)}",\n'
                f'"prev": "{_token(7, sample)}",\n"next": "{_token(7, place)}"\n}}'
            )


def _ego_poses(count: int, poses: list[str]) -> Iterator[str]:
    for number in range(count):
        yield (
            f'{{\n"token": "{_token(6, number)}",\n"timestamp": {_time_us(0) + number},\n'
            f"{poses[number % _POSES]}\n}}"
        )


def _annotations(keyframes: int, poses: list[str]) -> Iterator[str]:
    for sample in range(keyframes):
        for number in range(ANNOTATIONS):
            yield (
                f'{{\n"token": "{_token(10, sample * ANNOTATIONS + number)}",\n'
                f'"sample_token": "{_token(4, sample)}",\n'
                f'"instance_token": "{_token(9, 0)}",\n"visibility_token": "4",\n"attribute_tokens": [],\n'
                f'{poses[number]},\n"size": [\n0.621,\n0.669,\n1.642\n],\n"prev": "",\n"next": "",\n'
                f'"num_lidar_pts": 5,\n"num_radar_pts": 0\n}}'
            )


def _token(kind: int, number: int) -> str:
    """32 hex digits that look random and are not: an odd factor permutes the 128-bit numbers."""
    return f"{((kind << 40) + number + 1) * _ODD % (1 << 128):032x}"


def _time_us(sample: int) -> int:
    return 1_532_402_927_647_951 + 500_000 * sample


def _poses() -> list[dict[str, list[float]]]:
    rng = np.random.default_rng(0)
    rotations = rng.normal(size=(_POSES, 4))
    rotations /= np.linalg.norm(rotations, axis=1, keepdims=True)
    translations = rng.normal(size=(_POSES, 3)) * [900.0, 900.0, 1.0]
    return [
        {"rotation": rotation, "translation": translation}
        for rotation, translation in zip(rotations.tolist(), translations.tolist(), strict=True)
    ]
