"""Database of annotated objects, cut out of labelled scans for GT sampling."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lidardistill.contents import state_of
from lidardistill.corrupt import CorruptSample
from lidardistill.datasets.base import Source
from lidardistill.datasets.columns import FORMAT, load_columns, save_columns
from lidardistill.datasets.labelled import BoxLabels
from lidardistill.datasets.sweeps import CLOSE_M, read_sweeps
from lidardistill.geometry.boxes import points_in_boxes

log = logging.getLogger(__name__)

_SAY_EVERY = 1000


class GTDatabase:
    """Objects with their boxes and points, in the LiDAR frame of their own keyframe.

    A pickle holds the folder if the database is on disk, else the contents.

    Attributes:
        boxes: (D, 9) float32, see `datasets.labelled.FrameBoxes`.
        labels: (D,) int64 place in the classes of `BoxLabels`.
        rows: (D,) int64 index row of the keyframe of each object.
        num_sweeps: number of earlier scans whose points are included, as in `read_sweeps`.
        folder: folder on disk, or None.
    """

    def __init__(
        self, columns: dict[str, np.ndarray], *, num_sweeps: int, folder: Path | None = None
    ) -> None:
        self.num_sweeps = num_sweeps
        self.folder = folder
        self.boxes, self.labels, self.rows = columns["boxes"], columns["labels"], columns["rows"]
        self._points, self._offsets = columns["points"], columns["point_offsets"]

    @classmethod
    def build(
        cls,
        index: Source,
        boxes: BoxLabels,
        rows: Sequence[int] | np.ndarray,
        *,
        num_sweeps: int,
        close_m: float = CLOSE_M,
        min_points: Sequence[int] | None = None,
        folder: Path | str | None = None,
    ) -> GTDatabase:
        """Cut all objects out of some keyframes.

        Each keyframe takes about 20 ms with ten scans. A real keyframe gives about 20 kB per scan: nuScenes'
        training split with ten scans takes some gigabytes and needs a folder. Without a folder, every worker
        process keeps the objects in memory.

        Args:
            index: data set with the scans.
            boxes: box labels of the same index.
            rows: (n,) index rows whose labels may be used for training; no other rows.
            num_sweeps, close_m: as in `read_sweeps`; use the values of the training.
            min_points: smallest number of points of an object, for each class; None: 5, as in CenterPoint.
            folder: folder of the memory-mapped database, which all workers share. A second call with the same
                arguments reads it. Each state of labels, scans, rows and settings has its own subfolder.

        Returns:
            The objects. A keyframe that cannot be read is left out, with a warning.

        Raises:
            ValueError: no rows, or the length of `min_points` is not the number of classes.
            OSError: `folder` cannot be written.
        """
        rows = np.unique(np.asarray(rows, dtype=np.int64))
        if len(rows) == 0:
            raise ValueError("rows: expected at least one labelled keyframe to cut objects from, got none")
        if min_points is None:
            min_points = (5,) * len(boxes.classes)
        if len(min_points) != len(boxes.classes):
            raise ValueError(
                f"min_points: expected one number for each of {', '.join(boxes.classes)}, got {min_points}"
            )
        place = None
        if folder is not None:
            state = [
                FORMAT,
                boxes.state,
                rows.tolist(),
                state_of(_scans(index, rows, num_sweeps)),
                num_sweeps,
                close_m,
                list(map(int, min_points)),
            ]
            digest = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]
            place = Path(folder).expanduser().absolute() / f"objects-{digest}"
            if place.is_dir() and (loaded := load_columns(place)) is not None:
                return cls(loaded[0], num_sweeps=num_sweeps, folder=place)
        objects = _objects(index, boxes, rows, num_sweeps, close_m, np.asarray(min_points))
        if place is None:
            parts: list[np.ndarray] = [np.zeros((0, 5), np.float32)]
            columns = _collect(objects, parts.append)
            return cls({**columns, "points": np.concatenate(parts)}, num_sweeps=num_sweeps)
        place.parent.mkdir(parents=True, exist_ok=True)
        # The points of many keyframes do not fit into memory: write them to disk keyframe by keyframe.
        with tempfile.TemporaryDirectory(prefix=".cutting-", dir=place.parent) as scratch:
            raw = Path(scratch) / "points.f32"
            with raw.open("wb") as stream:
                columns = _collect(objects, lambda points: stream.write(points.tobytes()))
            total = int(columns["point_offsets"][-1])
            all_points = (
                np.memmap(raw, np.float32, "r", shape=(total, 5)) if total else np.zeros((0, 5), np.float32)
            )
            save_columns(place, {**columns, "points": all_points}, {"num_sweeps": num_sweeps})
        return cls.load(place)

    @classmethod
    def load(cls, folder: Path) -> GTDatabase:
        """Memory-map a database that `build` wrote.

        Raises:
            FileNotFoundError: `folder` holds no database, or a damaged one.
        """
        loaded = load_columns(folder)
        if loaded is None:
            raise FileNotFoundError(
                f"no usable objects in {folder}: it was removed while it was in use. Start the command "
                "again; they are then cut out anew."
            )
        columns, meta = loaded
        return cls(columns, num_sweeps=meta["num_sweeps"], folder=folder)

    def __reduce__(self) -> tuple[Callable[..., GTDatabase], tuple[Any, ...]]:
        if self.folder is not None:
            return GTDatabase.load, (self.folder,)
        columns = {
            "boxes": self.boxes, "labels": self.labels, "rows": self.rows, "points": self._points,
            "point_offsets": self._offsets,
        }  # fmt: skip
        return _in_memory, (columns, self.num_sweeps)

    def __len__(self) -> int:
        return len(self.labels)

    def points(self, entry: int) -> np.ndarray:
        """(n, 5) float32 points of an object: x, y, z, intensity, seconds before its keyframe."""
        return self._points[self._offsets[entry] : self._offsets[entry + 1]]


def _scans(index: Source, rows: np.ndarray, num_sweeps: int) -> Iterator[Path]:
    """Scan files of the points."""
    for row in rows.tolist():
        yield index.keyframe_scan(row).path
        if num_sweeps > 1:
            for sweep in index.sweeps(row):
                yield sweep.path


def _in_memory(columns: dict[str, np.ndarray], num_sweeps: int) -> GTDatabase:
    return GTDatabase(columns, num_sweeps=num_sweeps)


class _Objects(NamedTuple):
    """Objects of one keyframe: k of them, with n points in all."""

    points: np.ndarray
    num_points: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    rows: np.ndarray


def _objects(
    index: Source,
    table: BoxLabels,
    rows: np.ndarray,
    num_sweeps: int,
    close_m: float,
    min_points: np.ndarray,
) -> Iterator[_Objects]:
    start = time.perf_counter()
    for number, row in enumerate(rows.tolist(), start=1):
        if number % _SAY_EVERY == 0:
            seconds = time.perf_counter() - start
            log.info("cutting out objects: %d of %d keyframes in %.0f s", number, len(rows), seconds)
        found = table.read(row)
        if not len(found):
            continue
        try:
            scan = read_sweeps(index, row, num_sweeps, close_m=close_m)
        except (CorruptSample, FileNotFoundError) as error:
            log.warning("no objects are cut out of keyframe %d: %s", row, error)
            continue
        point_idx, offsets = points_in_boxes(scan, found.boxes)
        inside = np.diff(offsets)
        kept = inside >= min_points[found.labels]
        yield _Objects(
            points=scan[point_idx[np.repeat(kept, inside)]],
            num_points=inside[kept],
            boxes=found.boxes[kept],
            labels=found.labels[kept],
            rows=np.full(int(kept.sum()), row),
        )


def _collect(
    objects: Iterable[_Objects], keep_points: Callable[[np.ndarray], object]
) -> dict[str, np.ndarray]:
    """Columns of all objects without the points; passes the points to `keep_points` by keyframe."""
    none = np.zeros(0, np.int64)
    parts = [(none, np.zeros((0, 9), np.float32), none, none)]
    for found in objects:
        keep_points(found.points)
        parts.append((found.num_points, found.boxes, found.labels, found.rows))
    num_points, boxes, labels, rows = (np.concatenate(column) for column in zip(*parts, strict=True))
    return {
        "point_offsets": np.concatenate([[0], np.cumsum(num_points)]).astype(np.int64),
        "boxes": boxes,
        "labels": labels,
        "rows": rows,
    }
