"""Detections in nuScenes' submission format: written atomically, and checked before scoring.

Source: nuScenes detection challenge (nuscenes-devkit, eval/detection/README.md): boxes in the global frame,
at most 500 per keyframe, one attribute each, for every keyframe of a split.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from lidardistill.atomic import atomic_write
from lidardistill.datasets.labelled import FrameDetections
from lidardistill.datasets.nuscenes.detection_classes import (
    ATTRIBUTES,
    CLASSES,
    check_labels,
    predict_attributes,
)
from lidardistill.datasets.nuscenes.labels.devkit import checked_meta, rows_of_split
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.geometry.rigid import rotation_to_quaternion, transform_points

MAX_BOXES = 500
"""Largest number of boxes of a keyframe."""

_LENGTHS = {"translation": 3, "size": 3, "rotation": 4, "velocity": 2}


def write_detections(
    path: Path | str,
    version: str,
    split: str,
    detections: Iterable[tuple[str, FrameDetections]],
    *,
    dataroot: Path | str,
    meta: Mapping[str, bool] | None = None,
    index: NuScenesIndex | None = None,
) -> Path:
    """Write a submission, a JSON file.

    The function consumes and writes the detections one keyframe at a time. It replaces an earlier file only
    after all detections are complete and valid.

    Args:
        path: file to write; its folder is created.
        version: such as v1.0-mini.
        split: such as mini_val; every keyframe of its scenes in the data set needs an entry, which may be
            empty.
        detections: pairs of sample token and detections. If a keyframe has more than 500 boxes, only the best
            500 are written.
        dataroot: nuScenes root; supplies the keyframes and their poses.
        meta: flags that differ from `devkit.META`, for the inputs of the detector, such as use_camera.
        index: open index of the same root, if available.

    Returns:
        `path`.

    Raises:
        ValueError: a box is invalid for the official evaluator (or it would misread the box), or a keyframe
            is missing, unknown or duplicated. The message names the sample token.
        OSError: the file cannot be written.
    """
    flags = checked_meta(meta)
    index = index or NuScenesIndex.open(dataroot, version)
    missing = {index.sample_token(row): row for row in rows_of_split(index, split)}
    total = len(missing)
    path = Path(path)
    with atomic_write(path) as stream:
        stream.write(b'{"meta": ' + orjson.dumps(flags) + b', "results": {')
        written: set[str] = set()
        for token, found in detections:
            if token in written:
                raise ValueError(f"{token} was predicted twice; one entry a keyframe is expected")
            if token not in missing:
                raise ValueError(
                    f"{token} is no keyframe of {split} in {index.dataroot}; expected the token of sample "
                    "(NuScenesIndex.sample_token)"
                )
            lidar2global = index.keyframe_scan(missing.pop(token)).lidar2global
            entry = orjson.dumps(to_global(token, found, lidar2global))
            stream.write((b",\n" if written else b"\n") + orjson.dumps(token) + b": " + entry)
            written.add(token)
        if missing:
            raise ValueError(
                f"{split} has {total} keyframes and {len(missing)} have no entry, such as "
                f"{', '.join(sorted(missing)[:3])}; predict all of them, with no boxes where nothing is seen"
            )
        stream.write(b"\n}}\n")
    return path


def to_global(token: str, found: FrameDetections, lidar2global: np.ndarray) -> list[dict[str, Any]]:
    """Entries of one keyframe, in the global frame.

    Args:
        token: sample token.
        found: detections in the LiDAR frame.
        lidar2global: (4, 4) float64.

    Returns:
        At most 500 entries, best first. A box is upright in the LiDAR frame, so in the global frame it has
        the tilt of the sensor; the evaluator uses only its yaw.

    Raises:
        ValueError: see `write_detections`.
    """
    boxes, scores, labels, attributes = _checked(token, found)
    best = np.argsort(-scores, kind="stable")[:MAX_BOXES]
    boxes, scores, labels, attributes = boxes[best], scores[best], labels[best], attributes[best]
    centre = transform_points(lidar2global, boxes[:, :3])
    velocity = boxes[:, 7:] @ lidar2global[:2, :2].T
    w, x, y, z = rotation_to_quaternion(lidar2global[:3, :3])
    c, s = np.cos(boxes[:, 6] / 2), np.sin(boxes[:, 6] / 2)
    rotation = np.stack([w * c - z * s, x * c + y * s, y * c - x * s, z * c + w * s], axis=1)
    return [
        {
            "sample_token": token,
            "translation": centre[i].tolist(),
            "size": boxes[i, [4, 3, 5]].tolist(),
            "rotation": rotation[i].tolist(),
            "velocity": velocity[i].tolist(),
            "detection_name": CLASSES[labels[i]],
            "detection_score": float(scores[i]),
            "attribute_name": ATTRIBUTES[attributes[i]] if attributes[i] >= 0 else "",
        }
        for i in range(len(boxes))
    ]


def read_detections(path: Path | str, tokens: Iterable[str]) -> dict[str, Any]:
    """Read a submission and check it, because the official evaluator does not report the place of an error.

    Args:
        path: submission file of `write_detections` or another detector.
        tokens: sample tokens of the expected entries; other entries are errors.

    Returns:
        Content of the file: `meta`, and `results` by sample token.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a submission, a keyframe is missing or unexpected, or a box is invalid.
            The message names the file and the sample token.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no detections at {path}: expected a nuScenes submission, a JSON file")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); write it again") from error
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), dict) for key in ("meta", "results")
    ):
        raise ValueError(f"{path}: expected an object with `meta` and `results`, as nuScenes defines them")
    wanted, found = set(tokens), set(content["results"])
    if wanted - found:
        raise ValueError(
            f"{path}: {len(wanted - found)} of {len(wanted)} keyframes have no entry, such as "
            f"{', '.join(sorted(wanted - found)[:3])}; every keyframe of the split needs one, if an empty one"
        )
    if found - wanted:
        raise ValueError(
            f"{path}: {len(found - wanted)} entries are of no keyframe of the split, such as "
            f"{', '.join(sorted(found - wanted)[:3])}; was it written for another split?"
        )
    for token, entries in content["results"].items():
        if not isinstance(entries, list) or len(entries) > MAX_BOXES:
            got = len(entries) if isinstance(entries, list) else type(entries).__name__
            raise ValueError(f"{path}, {token}: expected a list of at most {MAX_BOXES} boxes, got {got}")
        for entry in entries:
            if (problem := _problem(token, entry)) is not None:
                raise ValueError(f"{path}, {token}: {problem}")
    return content


def _checked(token: str, found: FrameDetections) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Check detections; returns boxes and scores in float64, labels and attributes in int64."""
    boxes, scores = (np.asarray(values, dtype=np.float64) for values in found[:2])
    labels = np.asarray(found.labels)
    n = len(boxes)
    if boxes.shape != (n, 9) or scores.shape != (n,) or labels.shape != (n,):
        raise ValueError(
            f"{token}: expected boxes (n, 9), scores (n,) and labels (n,), got {boxes.shape}, {scores.shape} "
            f"and {labels.shape}"
        )
    labels = labels.astype(np.int64)
    finite = np.isfinite(boxes).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{token}: box {int(np.argmin(finite))} of {n} holds NaN or infinity: "
            f"{boxes[np.argmin(finite)].tolist()}; did the training diverge? A velocity that is not known is "
            "0 here: the evaluator skips NaN, as "
            "if it were right"
        )
    if n and not (boxes[:, 3:6] > 0).all():
        raise ValueError(f"{token}: expected lengths, widths and heights above 0, got {boxes[:, 3:6].min()}")
    if n and not (np.isfinite(scores).all() and 0 <= scores.min() <= scores.max() <= 1):
        raise ValueError(f"{token}: expected scores in 0..1, got {scores.min()}..{scores.max()}; logits?")
    try:
        check_labels(labels)
    except ValueError as error:
        raise ValueError(f"{token}: {error}") from None
    if found.attributes is None:
        return boxes, scores, labels, predict_attributes(labels, boxes[:, 7:])
    attributes = np.asarray(found.attributes, dtype=np.int64)
    if attributes.shape != (n,) or (n and not -1 <= attributes.min() <= attributes.max() < len(ATTRIBUTES)):
        raise ValueError(
            f"{token}: expected attributes ({n},) in -1..{len(ATTRIBUTES) - 1}, got {attributes.shape} "
            f"{attributes.tolist()[:5]}"
        )
    return boxes, scores, labels, attributes


def _problem(token: str, entry: Any) -> str | None:
    """Description of the problem of an entry, None if it is valid."""
    if not isinstance(entry, dict):
        return f"a box is an object, got {entry!r}"
    for key, length in _LENGTHS.items():
        value = entry.get(key)
        if not isinstance(value, list) or len(value) != length or not all(map(_is_number, value)):
            return f"expected {length} numbers as {key}, got {value!r}"
        # NaN is a valid velocity: the evaluator excludes it from the velocity error.
        if key != "velocity" and not np.isfinite(value).all():
            return f"{key} holds NaN or infinity: {value}"
    if min(entry["size"]) <= 0:
        return f"expected width, length and height above 0, got {entry['size']}"
    if entry.get("detection_name") not in CLASSES:
        return f"detection_name: expected one of {', '.join(CLASSES)}, got {entry.get('detection_name')!r}"
    if entry.get("attribute_name") not in ("", *ATTRIBUTES):
        found = entry.get("attribute_name")
        return f"attribute_name: expected one of {', '.join(ATTRIBUTES)} or '', got {found!r}"
    score: Any = entry.get("detection_score")
    if not _is_number(score) or not np.isfinite(score):
        return f"detection_score: expected a number, got {score!r}"
    if entry.get("sample_token") != token:
        return f"an entry says that it belongs to sample {entry.get('sample_token')!r}"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
