"""Building the columns of the nuScenes index from the JSON tables.

An index is built once; `source.py` opens it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lidardistill.datasets.nuscenes.poses import SENSORS, Calibrations, read_calibrations, read_poses
from lidardistill.datasets.nuscenes.tables import (
    CAMERAS,
    LIDAR,
    Row,
    field_values,
    filename_of,
    flag_of,
    integer_of,
    read_table,
    stream_table,
    text_of,
    token_of,
)
from lidardistill.geometry.rigid import invert_rigid

_LARGEST_SIDE = (1 << 31) - 1

_CALIBRATION = re.compile(rb'"calibrated_sensor_token"\s*:\s*"([^"]*)"')


class _SensorRows(NamedTuple):
    """Content of sample_data: one entry per keyframe and slot, and the LiDAR scans between keyframes."""

    seen: np.ndarray
    filenames: np.ndarray
    timestamps_us: np.ndarray
    image_size: np.ndarray
    calibration: np.ndarray
    pose: np.ndarray
    lidar_tokens: list[str]
    sweeps: list[tuple[int, int, str, int, int]]
    pose_of: dict[str, int]


def build_columns(tables: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read the tables and compose every calibration.

    Rows are keyframes, ordered by scene in database order, then by time.

    Args:
        tables: folder of the version's JSON tables.

    Returns:
        Columns, with K keyframes, C calibrated sensors, S sweeps, slots as in `SENSORS`: sample_tokens (K,)
        bytes and token_order (K,) int32, which sorts them; scene (K,) int32 index into `scene_names`;
        lidar_tokens (K,) bytes, the LiDAR's sample_data token; timestamps_us (K, 7) int64; image_size (K, 6,
        2) int32 height, width; calibration (K, 7) int32 row in sensor2ego (C, 4, 4), cam2img (C, 4, 4)
        float64 (identity for the LiDAR) and distortion (C, 8) float64, see `geometry.lens`; ego2global (K, 4,
        4) float64 at LiDAR time; lidar2cam (K, 6, 4, 4) float64, LiDAR frame at LiDAR time to camera frame at
        camera time, through the global frame; names and names_offsets: (7 K) file names as in `pack_names`;
        lidarseg and lidarseg_offsets: K names, "" for none; sweep_offsets (K + 1,) int64: LiDAR scans between
        the previous keyframe of the same scene and this one, by time; sweep_timestamps_us (S,) int64;
        sweep_lidar2global (S, 4, 4) float64; sweep_names, sweep_names_offsets.
        Meta: scene_names in database order.

    Raises:
        ValueError: the tables have a dangling reference, a missing sensor, a calibration that is not rigid, a
            file name outside the dataroot, or invalid JSON. The message names the table and the token.
    """
    scenes = read_table(tables, "scene")
    scene_names = [text_of(row, "name", "scene") for row in scenes]
    scene_of = {token_of(row, "token", "scene"): number for number, row in enumerate(scenes)}

    samples = _ordered_samples(read_table(tables, "sample"), scene_of, tables)
    tokens = [sample["token"] for sample in samples]
    row_of = {token: row for row, token in enumerate(tokens)}
    scene = np.array([scene_of[sample["scene_token"]] for sample in samples], dtype=np.int32)

    calibrations = read_calibrations(tables)
    sensors = _read_sample_data(tables, tokens, row_of, scene, calibrations)
    poses = read_poses(tables, sensors.pose_of)

    sensor2ego = calibrations.sensor2ego[sensors.calibration]
    sensor2global = poses[sensors.pose] @ sensor2ego
    lidar2cam = invert_rigid(sensor2global[:, 1:]) @ sensor2global[:, :1]

    names, names_offsets = pack_names(sensors.filenames.ravel().tolist())
    lidarseg, lidarseg_offsets = pack_names(_lidarseg_names(tables, sensors.lidar_tokens))
    packed_tokens = _pack_tokens(tokens)
    columns = {
        "sample_tokens": packed_tokens,
        "token_order": np.argsort(packed_tokens).astype(np.int32),
        "scene": scene,
        "lidar_tokens": _pack_tokens(sensors.lidar_tokens),
        "timestamps_us": sensors.timestamps_us,
        "image_size": sensors.image_size,
        "calibration": sensors.calibration,
        "sensor2ego": calibrations.sensor2ego,
        "cam2img": calibrations.cam2img,
        "distortion": calibrations.distortion,
        "ego2global": poses[sensors.pose[:, 0]],
        "lidar2cam": lidar2cam,
        "names": names,
        "names_offsets": names_offsets,
        "lidarseg": lidarseg,
        "lidarseg_offsets": lidarseg_offsets,
        **_sweep_columns(sensors, scene, calibrations, poses),
    }
    return columns, {"scene_names": scene_names}


def pack_names(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Concatenate strings.

    Returns:
        (T,) uint8 UTF-8 bytes, and (len(names) + 1,) int64 start of each string and end of the last.
    """
    encoded = [name.encode() for name in names]
    offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(name) for name in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets


def _ordered_samples(samples: list[Row], scene_of: dict[str, int], tables: Path) -> list[Row]:
    if not samples:
        raise ValueError(f"table {tables / 'sample.json'} is empty: expected at least one keyframe")
    for sample in samples:
        token_of(sample, "token", "sample")
        integer_of(sample, "timestamp", "sample")
        if text_of(sample, "scene_token", "sample") not in scene_of:
            raise ValueError(
                f"table sample.json, row {sample['token']}: scene {sample['scene_token']} is not in "
                f"scene.json. The tables do not belong together; copy or download them again."
            )
    return sorted(samples, key=lambda s: (scene_of[s["scene_token"]], s["timestamp"]))


def _read_sample_data(
    tables: Path, tokens: list[str], row_of: dict[str, int], scene: np.ndarray, calibrations: Calibrations
) -> _SensorRows:
    count, slots = len(tokens), len(SENSORS)
    found = _SensorRows(
        seen=np.zeros((count, slots), dtype=bool),
        filenames=np.full((count, slots), "", dtype=object),
        timestamps_us=np.zeros((count, slots), dtype=np.int64),
        image_size=np.zeros((count, slots - 1, 2), dtype=np.int32),
        calibration=np.zeros((count, slots), dtype=np.int32),
        pose=np.zeros((count, slots), dtype=np.int64),
        lidar_tokens=[""] * count,
        sweeps=[],
        pose_of={},
    )
    lidars = {token.encode() for token, slot in calibrations.slot_of.items() if slot == 0}
    cameras = {token.encode() for token, slot in calibrations.slot_of.items() if slot}

    def keep(body: bytes, rows: list[bytes]) -> Iterable[bool]:
        # Seven rows in ten belong to radars or to pictures between keyframes; these are not parsed. A
        # keyframe's row contains true. Rows with neither true nor false are parsed too, to check the type.
        mountings = field_values(_CALIBRATION, body, rows)
        if mountings is None:
            return repeat(True)
        return [
            m in lidars or (m in cameras and (b"true" in row or b"false" not in row))
            for m, row in zip(mountings, rows, strict=True)
        ]

    for data in stream_table(tables, "sample_data", keep):
        calibration = text_of(data, "calibrated_sensor_token", "sample_data")
        key = flag_of(data, "is_key_frame", "sample_data")
        slot = calibrations.slot_of.get(calibration)
        if slot is None or (slot and not key):
            continue
        token = token_of(data, "token", "sample_data")
        sample = text_of(data, "sample_token", "sample_data")
        pose = text_of(data, "ego_pose_token", "sample_data")
        timestamp = integer_of(data, "timestamp", "sample_data")
        filename = filename_of(data, "sample_data")
        row = row_of.get(sample)
        if row is None:
            raise ValueError(
                f"table sample_data.json, row {token}: sample {sample} is not in sample.json. The tables do "
                f"not belong together; copy or download them again."
            )
        pose_number = found.pose_of.setdefault(pose, len(found.pose_of))
        calibration_row = calibrations.row_of[calibration]
        if not key:
            found.sweeps.append((int(scene[row]), timestamp, filename, calibration_row, pose_number))
            continue
        found.seen[row, slot] = True
        found.filenames[row, slot] = filename
        found.timestamps_us[row, slot] = timestamp
        found.calibration[row, slot] = calibration_row
        found.pose[row, slot] = pose_number
        if slot == 0:
            found.lidar_tokens[row] = token
            continue
        height, width = (
            integer_of(data, key, "sample_data", least=1, most=_LARGEST_SIDE) for key in ("height", "width")
        )
        found.image_size[row, slot - 1] = height, width
    _refuse_missing_sensors(found.seen, tokens)
    return found


def _refuse_missing_sensors(seen: np.ndarray, tokens: list[str]) -> None:
    if not seen.all():
        row, slot = (int(i[0]) for i in np.nonzero(~seen))
        raise ValueError(
            f"sample {tokens[row]} has no keyframe of {SENSORS[slot]} in sample_data.json "
            f"({int((~seen).any(axis=1).sum())} of {len(tokens)} samples lack a sensor). Expected {LIDAR} "
            f"and all of {', '.join(CAMERAS)}. Restore the rows, or take the sample out of sample.json."
        )


def _sweep_columns(
    sensors: _SensorRows, scene: np.ndarray, calibrations: Calibrations, poses: np.ndarray
) -> dict[str, np.ndarray]:
    sweeps = sorted(sensors.sweeps)
    sweep_scene = np.array([sweep[0] for sweep in sweeps], dtype=np.int64)
    times = np.array([sweep[1] for sweep in sweeps], dtype=np.int64)
    keyframe = np.full(len(sweeps), -1, dtype=np.int64)
    for number in np.unique(sweep_scene):
        rows = np.flatnonzero(scene == number)
        first, last = np.searchsorted(sweep_scene, [number, number + 1])
        following = np.searchsorted(sensors.timestamps_us[rows, 0], times[first:last], side="right")
        has_one = following < len(rows)  # scans after the last keyframe belong to no keyframe
        keyframe[first:last][has_one] = rows[following[has_one]]
    kept = np.flatnonzero(keyframe >= 0)
    offsets = np.zeros(len(scene) + 1, dtype=np.int64)
    np.cumsum(np.bincount(keyframe[kept], minlength=len(scene)), out=offsets[1:])
    calibration = np.array([sweeps[i][3] for i in kept], dtype=np.int64)
    pose = np.array([sweeps[i][4] for i in kept], dtype=np.int64)
    names, names_offsets = pack_names([sweeps[i][2] for i in kept])
    return {
        "sweep_offsets": offsets,
        "sweep_timestamps_us": times[kept],
        "sweep_lidar2global": poses[pose] @ calibrations.sensor2ego[calibration],
        "sweep_names": names,
        "sweep_names_offsets": names_offsets,
    }


def _lidarseg_names(tables: Path, lidar_tokens: list[str]) -> list[str]:
    """Name of each keyframe's label file, "" for none. Opens no label file."""
    if not (tables / "lidarseg.json").is_file():
        return [""] * len(lidar_tokens)
    of_scan = {
        text_of(row, "sample_data_token", "lidarseg"): filename_of(row, "lidarseg")
        for row in read_table(tables, "lidarseg")
    }
    return [of_scan.get(token, "") for token in lidar_tokens]


def _pack_tokens(tokens: list[str]) -> np.ndarray:
    return np.array([token.encode() for token in tokens], dtype=np.bytes_)
