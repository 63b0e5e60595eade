"""nuScenes-lidarseg labels: the only module that opens label files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lidardistill.data.frame import CorruptSample
from lidardistill.datasets.nuscenes.lidarseg_classes import RAW_CLASSES
from lidardistill.datasets.nuscenes.source import POINT_COLUMNS, NuScenesIndex
from lidardistill.datasets.nuscenes.tables import integer_of, read_table, text_of, wrong_field


def read_lidarseg(index: NuScenesIndex, row: int) -> np.ndarray:
    """Read the labels of a keyframe's points.

    Args:
        index: index of a root with lidarseg.
        row: row of the keyframe.

    Returns:
        (N,) uint8 raw class 0..31 of each point, in the order of the scan file.

    Raises:
        ValueError: this root has no labels for the keyframe.
        FileNotFoundError: the label file or the scan is missing.
        CorruptSample: the numbers of labels and points differ, or a label is not a class.
    """
    path = _label_path(index, row)
    labels = np.fromfile(path, dtype=np.uint8)
    num_points = index.lidar_path(row).stat().st_size // (4 * POINT_COLUMNS)
    if len(labels) != num_points:
        raise CorruptSample(
            f"label file {path}: expected one byte for each of the {num_points} points of "
            f"{index.lidar_path(row)}, got {len(labels)}. Copy or download both files again."
        )
    if labels.max(initial=0) >= len(RAW_CLASSES):
        raise CorruptSample(
            f"label file {path}: expected raw classes 0..{len(RAW_CLASSES) - 1}, got {labels.max()}. Copy or "
            "download it again."
        )
    return labels


def check_labelled(index: NuScenesIndex, rows: Sequence[int] | np.ndarray) -> None:
    """Raise the errors of `read_lidarseg` for missing label files; checks at most 32 files, opens none."""
    rows = np.asarray(rows)
    for place in np.unique(np.linspace(0, len(rows) - 1, 32).round().astype(np.int64)).tolist():
        _label_path(index, int(rows[place]))


def check_categories(tables: Path) -> None:
    """Check that nuscenes-devkit can score lidarseg with category.json.

    Args:
        tables: folder of the version's tables.

    Raises:
        FileNotFoundError: there is no category.json.
        ValueError: a row has no `index` (the table is the one without lidarseg), or a wrong index.
    """
    path = tables / "category.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"table {path} is missing: expected nuScenes-lidarseg's, which the official score needs"
        )
    seen: dict[int, str] = {}
    for row in read_table(tables, "category"):
        name = text_of(row, "name", "category")
        if "index" not in row:
            raise ValueError(
                f"table {path}, row {row.get('token')} ({name}): field 'index' is missing: this is the "
                "category.json from before nuScenes-lidarseg, with which the official score fails. Unpack "
                "nuScenes-lidarseg last, so that its category.json replaces this one."
            )
        number = integer_of(row, "index", "category", least=0, most=len(RAW_CLASSES) - 1)
        if RAW_CLASSES[number] != name:
            raise wrong_field(row, "index", "category", f"that of {name!r}, as nuScenes-lidarseg has it")
        seen[number] = name
    absent = [name for number, name in enumerate(RAW_CLASSES) if number not in seen]
    if absent:
        raise ValueError(
            f"table {path} lacks {len(absent)} of the {len(RAW_CLASSES)} classes of nuScenes-lidarseg, such "
            f"as {absent[0]!r}. Unpack nuScenes-lidarseg last, so that its category.json replaces this one."
        )


def _label_path(index: NuScenesIndex, row: int) -> Path:
    path = index.lidarseg_path(row)
    if path is None:
        raise ValueError(
            f"{index.dataroot} ({index.version}) names no lidarseg labels for sample "
            f"{index.sample_token(row)}. Expected {index.version}/lidarseg.json and "
            f"lidarseg/{index.version}/*.bin; datasets/README.md tells how "
            f"to obtain nuScenes-lidarseg, and the test split has none."
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"label file {path} is missing although lidarseg.json names it. Expected: "
            f"lidarseg/{index.version}/*.bin in {index.dataroot}. Download nuScenes-lidarseg for this "
            "version."
        )
    return path
