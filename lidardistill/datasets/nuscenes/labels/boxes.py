"""Annotated boxes of keyframes; `box_columns` builds their table."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lidardistill.datasets.columns import load_columns
from lidardistill.datasets.labelled import FrameBoxes
from lidardistill.datasets.nuscenes.cache import (
    candidate_places,
    save_in_first_place,
    source_digest,
)
from lidardistill.datasets.nuscenes.detection_classes import CLASSES
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.datasets.nuscenes.tables import REQUIRED

log = logging.getLogger(__name__)

ANNOTATION_TABLES = ("sample_annotation", "instance", "category", "attribute")
"""Source tables of the boxes, in addition to the tables of the index."""


class BoxTable:
    """Boxes of all keyframes of an index, mapped into memory and shared by all workers.

    Create it with `BoxTable.open`. A pickled table stores only its path on disk, not its contents.
    """

    classes: tuple[str, ...] = CLASSES

    def __init__(self, folder: Path) -> None:
        """Map an existing table; `open` finds or builds it.

        Raises:
            FileNotFoundError: `folder` has no table, or a damaged one.
        """
        loaded = load_columns(folder)
        if loaded is None:
            raise FileNotFoundError(
                f"no usable table of boxes in {folder}: the annotations changed or it was removed while it "
                f"was in use. Start the command again; the table is then built anew."
            )
        self._set(folder, *loaded)

    def _set(self, folder: Path, columns: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        self.folder = folder
        self._columns = columns
        self._keyframes: str = meta["keyframes"]

    @classmethod
    def open(cls, index: NuScenesIndex, *, cache_dir: Path | str | None = None) -> BoxTable:
        """Open the boxes of an index; build the table first if there is none or the JSON tables have changed.

        The table is in `<dataroot>/.lidardistill/boxes-<version>`; if this is read-only, it is under
        LIDARDISTILL_CACHE or ~/.cache/lidardistill.

        Args:
            index: open index of the keyframes.
            cache_dir: folder for the table, instead of the default folders.

        Raises:
            FileNotFoundError: this version has no annotations.
            ValueError: the JSON tables are inconsistent, see `box_columns.build_box_columns`, or have changed
                since `index` was opened.
        """
        tables = index.dataroot / index.version
        missing = [f"{name}.json" for name in ANNOTATION_TABLES if not (tables / f"{name}.json").is_file()]
        if missing:
            raise FileNotFoundError(
                f"{tables} lacks {', '.join(missing)}: expected nuScenes' annotations, without which there "
                "are no boxes to learn from or to be judged by. datasets/README.md says how to obtain "
                "nuScenes."
            )
        keyframes = _keyframes_digest(index)
        digest = source_digest(tables, REQUIRED + ANNOTATION_TABLES)
        places = candidate_places(
            index.dataroot,
            index.version,
            None if cache_dir is None else Path(cache_dir).expanduser().absolute(),
            kind="boxes",
        )
        for place in places:
            loaded = load_columns(place / digest)
            if loaded is not None:
                table = cls.__new__(cls)
                table._set(place / digest, *loaded)
                break
        else:
            table = cls(_build(tables, index, places, digest, keyframes))
        if table._keyframes != keyframes:
            raise ValueError(
                f"the boxes in {table.folder} are of other keyframes than the index of {index.dataroot} "
                f"({index.version}): the tables changed while they were in use. Start the command again."
            )
        return table

    def __reduce__(self) -> tuple[type[BoxTable], tuple[Path]]:
        return type(self), (self.folder,)

    @property
    def state(self) -> str:
        """Cache key of the boxes; it changes when the tables change."""
        return self.folder.name

    def __len__(self) -> int:
        """Number of keyframes."""
        return len(self._columns["box_offsets"]) - 1

    def read(self, row: int) -> FrameBoxes:
        """Boxes of a keyframe.

        Args:
            row: row of the index, 0 .. number of keyframes - 1.

        Returns:
            Copies of the boxes, in the order of the tables.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row}: expected 0 .. {len(self) - 1}")
        columns = self._columns
        part = slice(*columns["box_offsets"][row : row + 2].tolist())
        return FrameBoxes(
            boxes=np.array(columns["boxes"][part]),
            labels=columns["labels"][part].astype(np.int64),
            num_lidar_pts=columns["num_lidar_pts"][part].astype(np.int64),
            num_radar_pts=columns["num_radar_pts"][part].astype(np.int64),
            attributes=columns["attributes"][part].astype(np.int64),
        )

    def classes_present(self, rows: Sequence[int] | np.ndarray, *, min_points: int = 1) -> np.ndarray:
        """Classes present in each keyframe.

        Args:
            rows: (k,) index rows.
            min_points: smallest number of LiDAR and radar points of a counted box.

        Returns:
            (k, number of classes) bool.
        """
        columns = self._columns
        present = np.zeros((len(self), len(CLASSES)), bool)
        row = np.repeat(np.arange(len(self)), np.diff(columns["box_offsets"]))
        seen = columns["num_lidar_pts"] + columns["num_radar_pts"] >= min_points
        present[row[seen], columns["labels"][seen]] = True
        return present[np.asarray(rows, dtype=np.int64)]


def _keyframes_digest(index: NuScenesIndex) -> str:
    return hashlib.sha256("\n".join(index.tokens).encode()).hexdigest()[:16]


def _build(tables: Path, index: NuScenesIndex, places: list[Path], digest: str, keyframes: str) -> Path:
    # Imported here because the builder imports numba through the geometry layer; opening a table does not
    # need it.
    from lidardistill.datasets.nuscenes.labels.box_columns import build_box_columns

    log.info("reading the boxes of %s; this happens once", tables)
    start = time.perf_counter()
    columns = build_box_columns(tables, index)
    folder = save_in_first_place(
        places,
        digest,
        columns,
        {"keyframes": keyframes},
        what=f"the boxes of {tables}",
        bytes_a_keyframe="2 kB",
    )
    log.info("read %d boxes in %.1f s: %s", len(columns["boxes"]), time.perf_counter() - start, folder)
    return folder
