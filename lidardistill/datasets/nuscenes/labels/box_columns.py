"""Building the columns of a `BoxTable` from nuScenes' annotations.

A table is built once; `boxes.py` opens it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lidardistill.datasets.nuscenes.detection_classes import ATTRIBUTES, CATEGORY_TO_CLASS
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.datasets.nuscenes.tables import (
    Row,
    as_numbers,
    collector_paused,
    field_of,
    integer_of,
    list_of,
    read_table,
    stream_table,
    text_of,
    wrong_field,
)
from lidardistill.geometry.rigid import invert_rigid, quaternion_to_rotation

MAX_TIME_DIFFERENCE_S = 1.5
"""Largest time between two keyframes for a velocity estimate; twice as much for a central difference."""

_CHUNK_ROWS = 1 << 15


class _Annotations(NamedTuple):
    """Annotations of the ten classes: n rows, in the order of the table.

    Attributes:
        tokens, before, after: (n,) bytes tokens: of the annotation, and of the same object's annotations one
            keyframe earlier and later, b"" for none.
        row: (n,) int64 index row of the keyframe.
        label, attribute: (n,) int64.
        points: (n, 2) int64 numbers of LiDAR and radar points.
        centre: (n, 3) float64 metres, global frame.
        size: (n, 3) float64 width, length, height, metres.
        rotation: (n, 4) float64 w, x, y, z, box to global.
    """

    tokens: np.ndarray
    before: np.ndarray
    after: np.ndarray
    row: np.ndarray
    label: np.ndarray
    attribute: np.ndarray
    points: np.ndarray
    centre: np.ndarray
    size: np.ndarray
    rotation: np.ndarray


def build_box_columns(tables: Path, index: NuScenesIndex) -> dict[str, np.ndarray]:
    """Read the annotations and transform them to the LiDAR frame of their keyframes.

    Args:
        tables: folder of the version's JSON tables.
        index: index of the same tables; its rows are the rows of the result.

    Returns:
        Columns, with K keyframes and n boxes of the ten classes, by keyframe and then in the order of the
        table: box_offsets (K + 1,) int64 from 0; boxes (n, 9) float32; labels and attributes (n,) int8;
        num_lidar_pts and num_radar_pts (n,) int32. See `FrameBoxes`.

    Raises:
        ValueError: an annotation has a dangling reference, a size that is not positive, values that are not
            numbers, or more than one attribute. The message names the token.
    """
    with collector_paused():
        found = _read_annotations(tables, index)
    lidar2global = np.stack([index.keyframe_scan(row).lidar2global for row in range(index.num_keyframes)])
    velocity = _velocities(found, _sample_times_s(tables, index))
    boxes = np.empty((len(found.row), 9), np.float32)
    for first in range(0, len(boxes), _CHUNK_ROWS):
        part = slice(first, first + _CHUNK_ROWS)
        global2lidar = invert_rigid(lidar2global[found.row[part]])
        turn = global2lidar[:, :3, :3]
        boxes[part, :3] = (turn @ found.centre[part, :, None])[:, :, 0] + global2lidar[:, :3, 3]
        boxes[part, 3:6] = found.size[part][:, [1, 0, 2]]
        forward = (turn @ quaternion_to_rotation(found.rotation[part]))[:, :2, 0]
        boxes[part, 6] = np.arctan2(forward[:, 1], forward[:, 0])
        boxes[part, 7:] = (turn @ velocity[part, :, None])[:, :2, 0]
    order = np.argsort(found.row, kind="stable")
    offsets = np.zeros(index.num_keyframes + 1, np.int64)
    np.cumsum(np.bincount(found.row, minlength=index.num_keyframes), out=offsets[1:])
    return {
        "box_offsets": offsets,
        "boxes": boxes[order],
        "labels": found.label[order].astype(np.int8),
        "attributes": found.attribute[order].astype(np.int8),
        "num_lidar_pts": found.points[order, 0].astype(np.int32),
        "num_radar_pts": found.points[order, 1].astype(np.int32),
    }


def _read_annotations(tables: Path, index: NuScenesIndex) -> _Annotations:
    label_of = _label_of_instance(tables)
    attribute_of = {
        text_of(row, "token", "attribute"): text_of(row, "name", "attribute")
        for row in read_table(tables, "attribute")
    }
    row_of = {token: row for row, token in enumerate(index.tokens)}
    table = (
        row
        for row in stream_table(tables, "sample_annotation", lambda _, rows: repeat(True, len(rows)))
        if _label(row, label_of) >= 0
    )
    # In parts, because a million rows need much memory as Python objects and little as arrays.
    parts = [_part(rows, row_of, label_of, attribute_of) for rows in _chunks(table)]
    if not parts:
        parts = [_part([], row_of, label_of, attribute_of)]
    return _Annotations(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, _CHUNK_ROWS)):
        yield chunk


def _label_of_instance(tables: Path) -> dict[str, int]:
    """Label of each instance token, -1 if its category is not part of the task."""
    name_of = {
        text_of(row, "token", "category"): text_of(row, "name", "category")
        for row in read_table(tables, "category")
    }
    labels = {}
    for row in read_table(tables, "instance"):
        category = text_of(row, "category_token", "instance")
        if category not in name_of:
            raise _dangling("instance", text_of(row, "token", "instance"), "category", category)
        labels[text_of(row, "token", "instance")] = CATEGORY_TO_CLASS.get(name_of[category], -1)
    return labels


def _label(row: Row, label_of: dict[str, int]) -> int:
    instance = text_of(row, "instance_token", "sample_annotation")
    if instance not in label_of:
        raise _dangling("sample_annotation", row.get("token", "(without token)"), "instance", instance)
    return label_of[instance]


def _part(
    rows: list[Row], row_of: dict[str, int], label_of: dict[str, int], attribute_of: dict[str, str]
) -> _Annotations:
    def strings(key: str) -> np.ndarray:
        return np.array([text_of(row, key, "sample_annotation").encode() for row in rows], dtype=np.bytes_)

    def integers(values: list[int]) -> np.ndarray:
        return np.array(values, dtype=np.int64)

    samples = [text_of(row, "sample_token", "sample_annotation") for row in rows]
    for row, sample in zip(rows, samples, strict=True):
        if sample not in row_of:
            raise _dangling("sample_annotation", row["token"], "sample", sample)
    points = [[_count(row, f"num_{sensor}_pts") for sensor in ("lidar", "radar")] for row in rows]
    return _Annotations(
        tokens=strings("token"),
        before=strings("prev"),
        after=strings("next"),
        row=integers([row_of[sample] for sample in samples]),
        label=integers([label_of[row["instance_token"]] for row in rows]),
        attribute=integers([_attribute(row, attribute_of) for row in rows]),
        points=np.array(points, dtype=np.int64).reshape(-1, 2),
        centre=_numbers(rows, "translation", 3),
        size=_numbers(rows, "size", 3, positive=True),
        rotation=_numbers(rows, "rotation", 4),
    )


def _count(row: Row, key: str) -> int:
    return integer_of(row, key, "sample_annotation", least=0, most=(1 << 31) - 1)


def _attribute(row: Row, attribute_of: dict[str, str]) -> int:
    tokens = list_of(row, "attribute_tokens", "sample_annotation")
    if not tokens:
        return -1
    if not all(type(token) is str for token in tokens):
        raise wrong_field(row, "attribute_tokens", "sample_annotation", "a list of attribute tokens")
    name = attribute_of.get(tokens[0])
    if len(tokens) > 1 or name not in ATTRIBUTES:
        raise ValueError(
            f"table sample_annotation.json, row {row['token']}: expected at most one attribute, of "
            f"{', '.join(ATTRIBUTES)}, got {[attribute_of.get(token, token) for token in tokens]}. Correct "
            "the table."
        )
    return ATTRIBUTES.index(name)


def _numbers(rows: list[Row], key: str, count: int, *, positive: bool = False) -> np.ndarray:
    """(n, count) float64 values of a field."""
    given = [field_of(row, key, "sample_annotation") for row in rows]
    try:
        values = as_numbers(given).reshape(len(rows), count) if rows else np.empty((0, count))
        if _usable(values, positive):
            return values
    except (TypeError, ValueError):
        pass
    for row, value in zip(rows, given, strict=True):  # find the wrong row
        try:
            if _usable(as_numbers(value).reshape(count), positive):
                continue
        except (TypeError, ValueError):
            pass
        raise ValueError(
            f"table sample_annotation.json, row {row['token']}: expected {count} finite "
            f"{'positive ' if positive else ''}numbers as {key}, got {value!r}. Correct the table."
        )
    raise AssertionError("each row is usable and all together are not")


def _usable(values: np.ndarray, positive: bool) -> bool:
    return bool(np.isfinite(values).all()) and (not positive or bool((values > 0).all()))


def _sample_times_s(tables: Path, index: NuScenesIndex) -> np.ndarray:
    """(K,) float64 time of each index row in seconds, from the table `sample`."""
    time_of = {
        text_of(row, "token", "sample"): integer_of(row, "timestamp", "sample")
        for row in read_table(tables, "sample")
    }
    return 1e-6 * np.array([time_of[token] for token in index.tokens], dtype=np.float64)


def _velocities(found: _Annotations, times_s: np.ndarray) -> np.ndarray:
    """(n, 3) float64 velocity in metres per second, global frame; NaN if unknown.

    Central difference from the previous to the next annotation of the object; if one is missing, one-sided
    difference with the box itself. Unknown if the two keyframes are too far apart in time.

    Source: nuscenes-devkit, `NuScenes.box_velocity`.
    """
    own = np.arange(len(found.row))
    by_token = np.argsort(found.tokens)
    first, has_first = _neighbours(found, found.before, by_token)
    last, has_last = _neighbours(found, found.after, by_token)
    first, last = np.where(has_first, first, own), np.where(has_last, last, own)
    seconds = times_s[found.row[last]] - times_s[found.row[first]]
    limit = np.where(has_first & has_last, 2 * MAX_TIME_DIFFERENCE_S, MAX_TIME_DIFFERENCE_S)
    known = (has_first | has_last) & (seconds <= limit) & (seconds > 0)
    way = found.centre[last] - found.centre[first]
    return np.where(known[:, None], way / np.where(known, seconds, 1.0)[:, None], np.nan)


def _neighbours(
    found: _Annotations, wanted: np.ndarray, by_token: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) int64 row of each token in the annotations, and (n,) bool, False for an empty token.

    Raises:
        ValueError: a token is not in the annotations.
    """
    named = wanted != b""
    if not len(wanted):
        return np.zeros(0, np.int64), named
    place = np.searchsorted(found.tokens, wanted, sorter=by_token)
    rows = by_token[np.minimum(place, len(by_token) - 1)]
    dangling = named & (found.tokens[rows] != wanted)
    if dangling.any():
        first = int(np.argmax(dangling))
        raise _dangling(
            "sample_annotation", found.tokens[first].decode(), "sample_annotation", wanted[first].decode()
        )
    return rows, named


def _dangling(table: str, token: str, named_table: str, named: str) -> ValueError:
    return ValueError(
        f"table {table}.json, row {token}: {named_table} {named} is not in {named_table}.json (or is of "
        "another class). The tables do not belong together; copy or download them again."
    )
