"""The interface of labels and judges. It is separate from `Source`: pretraining imports neither this module
nor any `labels/` folder.

A data set with labels has a folder `labels/`; `datasets/label_kinds.py` lists these data sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from lidardistill.datasets.base import Source

IGNORED = 255
"""Label of points that losses and scores ignore."""


@dataclass(frozen=True)
class FrameBoxes:
    """The n annotated boxes of one keyframe for the detection task.

    Attributes:
        boxes: (n, 9) float32 x, y, z of the centre, length, width, height in metres, yaw about z in radians
            from x towards y, velocity x, y in metres per second (NaN if unknown); LiDAR frame at LiDAR time.
        labels: (n,) int64 index into the classes of `BoxLabels`.
        num_lidar_pts: (n,) int64 LiDAR points of the keyframe's scan in the box, as counted by the data set.
        num_radar_pts: (n,) int64 points of all radars in the box.
        attributes: (n,) int64 index into the data set's attributes, -1 for none.
    """

    boxes: np.ndarray
    labels: np.ndarray
    num_lidar_pts: np.ndarray
    num_radar_pts: np.ndarray
    attributes: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, kept: np.ndarray) -> FrameBoxes:
        """Select boxes: `kept` is a (n,) bool mask or row numbers."""
        return FrameBoxes(
            self.boxes[kept],
            self.labels[kept],
            self.num_lidar_pts[kept],
            self.num_radar_pts[kept],
            self.attributes[kept],
        )


class FrameDetections(NamedTuple):
    """Detections of one keyframe, n boxes in any order.

    Attributes:
        boxes: (n, 9) x, y, z of the centre, length, width, height in metres, yaw about z in radians from x
            towards y, velocity x, y in metres per second; LiDAR frame of the keyframe, before any
            augmentation.
        scores: (n,) 0..1.
        labels: (n,) int index into the classes of `BoxLabels`.
        attributes: (n,) int index into the data set's attributes, -1 for none; None lets the judge choose.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    attributes: np.ndarray | None = None


class PointLabels(Protocol):
    """A class for each point. Picklable."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the C evaluated classes."""
        ...

    def read(self, row: int) -> np.ndarray:
        """Read (M,) uint8 labels, an index into `classes` or `IGNORED`, of all points of a scan file.

        Raises:
            ValueError: the data set has no labels for the keyframe.
            FileNotFoundError: the label file is missing.
            CorruptSample: the label file does not fit its scan.
        """
        ...

    def vehicles(self, row: int) -> np.ndarray:
        """(M,) bool mask of points on other vehicles, for a keyframe's scan file; raises as `read`."""
        ...

    def check(self, rows: Sequence[int] | np.ndarray) -> None:
        """Raise the errors of `read` for rows without labels; opens no label file, checks at most 32 rows."""
        ...

    def check_tables(self) -> None:
        """Raise ValueError or FileNotFoundError if the judge cannot use the tables."""
        ...


class PointJudge(Protocol):
    """Scores of predicted point classes."""

    def check(self, split: str) -> None:
        """Raise the ImportError or ValueError of `score` for a split before training starts."""
        ...

    def write(self, out: Path, split: str, predictions: Iterable[tuple[int, np.ndarray]]) -> Path:
        """Write predictions: pairs of row and (M,) integer indices into `classes`, one for each point of the
        scan file.
        """
        ...

    def score(self, split: str, out: Path) -> dict[str, Any]:
        """Scores of the written predictions: miou, iou by class, evaluator and more."""
        ...

    def prediction_file(self, out: Path, split: str, row: int) -> Path:
        """File of one keyframe's predictions."""
        ...

    def read_prediction(self, path: Path) -> np.ndarray:
        """Read (M,) uint8 indices into `classes` from a file of `write`."""
        ...


class BoxLabels(Protocol):
    """Boxes of objects. Picklable."""

    classes: tuple[str, ...]

    @property
    def state(self) -> str:
        """Cache key of the boxes; it changes when the boxes change."""
        ...

    def read(self, row: int) -> FrameBoxes: ...

    def classes_present(self, rows: Sequence[int] | np.ndarray, *, min_points: int = 1) -> np.ndarray:
        """(k, C) bool: True if a keyframe has a box of a class with at least `min_points` points."""
        ...


class BoxJudge(Protocol):
    """Scores of detections."""

    def check(self, split: str) -> None:
        """Raise the ImportError or ValueError of `score` for a split before training starts."""
        ...

    def write(
        self,
        path: Path,
        split: str,
        detections: Iterable[tuple[str, FrameDetections]],
        *,
        meta: Mapping[str, bool] | None = None,
    ) -> Path:
        """Write detections: pairs of sample token and boxes. `meta`: flags for the detector's inputs."""
        ...

    def score(self, split: str, path: Path) -> dict[str, Any]:
        """Scores of the written detections: nds, map, errors and more."""
        ...


class MapLabels(Protocol):
    """Masks of the map around a keyframe. Picklable."""

    origin_m: tuple[float, float]
    cell_size: float
    shape: tuple[int, int]
    classes: tuple[str, ...]

    def open_maps(self, scene_names: Iterable[str]) -> None:
        """Read the maps of some scenes now; a missing map then raises an error before training starts."""
        ...

    def read(
        self, scene_name: str, lidar2global: np.ndarray, old2new: np.ndarray | None = None
    ) -> np.ndarray:
        """(L, H = y, W = x) bool masks in the LiDAR frame, after the augmentation `old2new` (4, 4)."""
        ...


Corrupt = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""(stored points (M, columns), row) -> corrupted points (M', columns), and (M',) int64 row of each point in
the original scan, -1 for an injected point."""


class Labels(Protocol):
    """All labels and judges of one data set; each method raises ValueError if the data set lacks it."""

    def points(self) -> PointLabels: ...

    def point_judge(self) -> PointJudge: ...

    def boxes(self) -> BoxLabels: ...

    def box_judge(self) -> BoxJudge: ...

    def maps(self, *, bev_range: Sequence[float], cell_size: float, classes: Sequence[str]) -> MapLabels: ...

    def write_corrupted(self, rows: Sequence[int] | np.ndarray, out: Path, corrupt: Corrupt) -> Source:
        """Write corrupted scans and their labels as a new data set, and open it."""
        ...
