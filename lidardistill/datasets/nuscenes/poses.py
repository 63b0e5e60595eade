"""Calibrations and poses from nuScenes' tables, with a check that they are rigid motions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lidardistill.datasets.nuscenes.tables import (
    CAMERAS,
    LIDAR,
    Row,
    as_numbers,
    field_values,
    read_table,
    stream_table,
    text_of,
)
from lidardistill.geometry.camera import intrinsics_to_cam2img
from lidardistill.geometry.lens import NUM_COEFFICIENTS, lens_coefficients
from lidardistill.geometry.rigid import rigid

SENSORS = (LIDAR, *CAMERAS)
"""Sensors by slot: slot 0 is the LiDAR, slots 1..6 are the cameras."""

_TOKEN = re.compile(rb'"token"\s*:\s*"([^"]*)"')
_UNIT_TOLERANCE = 1e-4


class Calibrations(NamedTuple):
    """Calibrations of the LiDAR and the cameras.

    Attributes:
        slot_of: maps a calibrated_sensor token to an index into `SENSORS`.
        row_of: maps a calibrated_sensor token to a row of the arrays below.
        sensor2ego: (C, 4, 4) float64.
        cam2img: (C, 4, 4) float64, identity for the LiDAR.
        distortion: (C, 8) float64 from the field camera_distortion, as in `geometry.lens`; zeros without it.
    """

    slot_of: dict[str, int]
    row_of: dict[str, int]
    sensor2ego: np.ndarray
    cam2img: np.ndarray
    distortion: np.ndarray


def read_calibrations(tables: Path) -> Calibrations:
    """Read sensor.json and calibrated_sensor.json.

    Raises:
        ValueError: a sensor2ego is not rigid, or a camera_intrinsic is invalid; the message names the token.
    """
    channel_of = {
        text_of(row, "token", "sensor"): text_of(row, "channel", "sensor")
        for row in read_table(tables, "sensor")
    }
    slot_of: dict[str, int] = {}
    row_of: dict[str, int] = {}
    sensor2ego: list[np.ndarray] = []
    cam2img: list[np.ndarray] = []
    distortion: list[np.ndarray] = []
    for row in read_table(tables, "calibrated_sensor"):
        token = text_of(row, "token", "calibrated_sensor")
        channel = channel_of.get(text_of(row, "sensor_token", "calibrated_sensor"))
        if channel not in SENSORS:
            continue
        slot_of[token] = SENSORS.index(channel)
        row_of[token] = len(sensor2ego)
        name = f"table calibrated_sensor.json, row {token} ({channel})"
        pose = _pose_values([row], "calibrated_sensor")[0]
        sensor2ego.append(rigid(pose[:4], pose[4:]))
        cam2img.append(np.eye(4) if channel == LIDAR else _cam2img(row, name))
        distortion.append(np.zeros(NUM_COEFFICIENTS) if channel == LIDAR else _distortion(row, name))
    if not sensor2ego:
        raise ValueError(
            f"tables {tables}: no calibrated_sensor belongs to {LIDAR} or the cameras. Expected nuScenes' "
            "sensor names."
        )
    return Calibrations(slot_of, row_of, np.stack(sensor2ego), np.stack(cam2img), np.stack(distortion))


def _cam2img(row: Row, name: str) -> np.ndarray:
    try:
        return intrinsics_to_cam2img(as_numbers(row["camera_intrinsic"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected a 3x3 camera_intrinsic: {error}. Correct the table.") from error


def _distortion(row: Row, name: str) -> np.ndarray:
    """(8,) lens coefficients; zeros if the field is absent, null, empty or all zero (no distortion)."""
    given = row.get("camera_distortion")
    if not given:
        return np.zeros(NUM_COEFFICIENTS)
    try:
        values = as_numbers(given)
        if not values.any():
            return np.zeros(NUM_COEFFICIENTS)
        return lens_coefficients(values.reshape(1, -1), 1)[0]
    except ValueError as error:
        raise ValueError(
            f"{name}: field 'camera_distortion': expected 4, 5 or 8 numbers k1 k2 p1 p2 [k3 [k4 k5 k6]], got "
            f"{str(given)[:80]} ({error}). Correct the table, or remove the field if the pictures are "
            "undistorted."
        ) from None


def _pose_values(rows: Sequence[Row], table: str) -> np.ndarray:
    """(n, 7) float64 rotation w x y z and translation of rows; raises ValueError if one is not rigid."""
    try:
        values = as_numbers([row["rotation"] + row["translation"] for row in rows])
        if values.shape != (len(rows), 7):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        bad = next((row for row in rows if not _has_pose(row)), rows[0])
        raise ValueError(
            f"table {table}.json, row {bad.get('token')}: expected 4 numbers as rotation and 3 as "
            f"translation, got {bad.get('rotation')} and "
            f"{bad.get('translation')}. Correct the table."
        ) from None
    length = np.linalg.norm(values[:, :4], axis=1)
    is_rigid = (np.abs(length - 1) < _UNIT_TOLERANCE) & np.isfinite(values[:, 4:]).all(axis=1)
    if not is_rigid.all():
        first = int(np.argmin(is_rigid))
        raise ValueError(
            f"table {table}.json, row {rows[first]['token']}: not a rigid motion: expected a rotation "
            "quaternion w x y z of length 1 and a finite translation, got rotation "
            f"{rows[first]['rotation']} (length {length[first]:.6g}) and "
            f"translation {rows[first]['translation']}. Correct the table."
        )
    return values


def _has_pose(row: Row) -> bool:
    return all(
        isinstance(value := row.get(key), list)
        and len(value) == length
        and all(type(number) in (int, float) for number in value)
        for key, length in (("rotation", 4), ("translation", 3))
    )


def read_poses(tables: Path, pose_of: dict[str, int]) -> np.ndarray:
    """Read the used poses from ego_pose.json.

    Args:
        tables: folder of the tables.
        pose_of: maps each of the P used ego_pose tokens to a row of the result.

    Returns:
        (P, 4, 4) float64 ego2global.

    Raises:
        ValueError: a pose is missing or not rigid; the message names the token.
    """
    wanted = {token.encode() for token in pose_of}
    values = np.zeros((len(pose_of), 7))
    seen = np.zeros(len(pose_of), dtype=bool)

    def keep(body: bytes, rows: list[bytes]) -> Iterable[bool]:
        tokens = field_values(_TOKEN, body, rows)
        return repeat(True) if tokens is None else map(wanted.__contains__, tokens)

    batch: list[Row] = []

    def flush() -> None:
        rows = [row for row in batch if text_of(row, "token", "ego_pose") in pose_of]
        batch.clear()
        if rows:
            at = [pose_of[row["token"]] for row in rows]
            values[at] = _pose_values(rows, "ego_pose")
            seen[at] = True

    for row in stream_table(tables, "ego_pose", keep):
        batch.append(row)
        if len(batch) == 4096:
            flush()
    flush()
    if not seen.all():
        token = next(token for token, number in pose_of.items() if not seen[number])
        raise ValueError(
            f"ego pose {token} is named in sample_data.json and is not in ego_pose.json "
            f"({int((~seen).sum())} such). The tables do not belong together; copy or download them again."
        )
    poses = np.empty((len(values), 4, 4))
    for first in range(
        0, len(values), 1 << 16
    ):  # in parts, because the conversion to matrices needs four times their memory
        part = slice(first, first + (1 << 16))
        poses[part] = rigid(values[part, :4], values[part, 4:])
    return poses
