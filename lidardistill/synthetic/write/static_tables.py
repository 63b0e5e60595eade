"""The nuScenes tables that do not depend on a drive: categories, attributes, visibilities, sensors.

Source: the nuScenes schema (nuscenes-devkit, docs/schema_nuscenes.md) and the lidarseg category indices.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lidardistill.datasets.nuscenes.lidarseg_classes import RAW_CLASSES
from lidardistill.datasets.nuscenes.tables import CAMERAS, LIDAR

Table = list[dict[str, Any]]
Tables = dict[str, Table]

VERSION = "v1.0-mini"
"""Folder of the tables. The devkit's `mini_train` and `mini_val` splits exist for this version only."""

ATTRIBUTES = (
    "vehicle.moving",
    "vehicle.stopped",
    "vehicle.parked",
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "pedestrian.moving",
)

VISIBILITIES = {"1": "v0-40", "2": "v40-60", "3": "v60-80", "4": "v80-100"}
"""Visibility tokens are these digits in nuScenes too, not hashes."""

TABLE_NAMES = (
    "attribute",
    "calibrated_sensor",
    "category",
    "ego_pose",
    "instance",
    "lidarseg",
    "log",
    "map",
    "sample",
    "sample_annotation",
    "sample_data",
    "scene",
    "sensor",
    "visibility",
)
"""The 13 tables of nuScenes and the one of nuScenes-lidarseg."""


def make_token(seed: int, *parts: str | int) -> str:
    """Names a record by what it is, so that the same world has the same tokens.

    Args:
        seed: seed of the world; other worlds have other tokens.
        parts: what the record is, such as scene name, kind, channel and number.

    Returns:
        32 hexadecimal digits.
    """
    name = json.dumps(["lidardistill", seed, *parts])
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


def static_tables(seed: int) -> Tables:
    """Builds category, attribute, visibility and sensor.

    Args:
        seed: seed of the world.

    Returns:
        The four tables; `category` carries the lidarseg `index`, 0..31.
    """
    return {
        "category": [
            {"token": make_token(seed, "category", name), "name": name, "description": "", "index": index}
            for index, name in enumerate(RAW_CLASSES)
        ],
        "attribute": [
            {"token": make_token(seed, "attribute", name), "name": name, "description": ""}
            for name in ATTRIBUTES
        ],
        "visibility": [
            {
                "token": token,
                "level": level,
                "description": f"visibility of the whole object is {level[1:]} %",
            }
            for token, level in VISIBILITIES.items()
        ],
        "sensor": [
            {
                "token": make_token(seed, "sensor", channel),
                "channel": channel,
                "modality": "lidar" if channel == LIDAR else "camera",
            }
            for channel in (*CAMERAS, LIDAR)
        ],
    }


def write_tables(root: Path, scenes: Iterable[Mapping[str, Table]], seed: int) -> None:
    """Writes the tables of a world.

    Args:
        root: dataroot; the tables go to `root/v1.0-mini`.
        scenes: what `write_scene` returned, in the order the scenes shall have in the database.
        seed: seed of the world, the one the scenes were written with.
    """
    tables: Tables = {name: [] for name in TABLE_NAMES}
    for part in (static_tables(seed), *scenes):
        for name, rows in part.items():
            tables[name].extend(rows)
    folder = root / VERSION
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        text = json.dumps(rows, indent=0, allow_nan=False)
        (folder / f"{name}.json").write_text(text + "\n", encoding="ascii")
