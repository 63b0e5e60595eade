"""The contract for labels and judges, apart from `Source`: pretraining imports neither this module nor a
room's labels.

A room with labels has a folder `labels/`; `datasets/label_kinds.py` is the one list of those rooms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from lidardistill.datasets.base import Source

IGNORED = 255
"""Label of a point that takes no part in losses and scores."""


@dataclass(frozen=True)
class FrameBoxes:
    """Boxes of one keyframe that belong to the detection task, n of them.

    Attributes:
        boxes: (n, 9) float32 x, y, z of the centre, length, width, height in metres, yaw about z in radians
            from x towards y, velocity x, y in metres a second (NaN where the data set cannot tell); LiDAR
            frame at LiDAR time.
        labels: (n,) int64 place in the classes of `BoxLabels`.
        num_lidar_pts: (n,) int64 points of the keyframe's scan inside, as the data set counts them.
        num_radar_pts: (n,) int64 points of all radars inside.
        attributes: (n,) int64 place in the data set's attributes, -1 for none.
    """

    boxes: np.ndarray
    labels: np.ndarray
    num_lidar_pts: np.ndarray
    num_radar_pts: np.ndarray
    attributes: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, kept: np.ndarray) -> FrameBoxes:
        """Some of the boxes: kept (n,) bool or rows."""
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
            towards y, velocity x, y in metres a second; LiDAR frame of the keyframe, before any augmentation.
        scores: (n,) 0..1.
        labels: (n,) int place in the classes of `BoxLabels`.
        attributes: (n,) int place in the data set's attributes or -1 for none; None leaves the choice to the
            judge.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    attributes: np.ndarray | None = None


class PointLabels(Protocol):
    """A class for each point. Picklable."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the C classes that are judged."""
        ...

    def read(self, row: int) -> np.ndarray:
        """(M,) uint8 place in `classes` or `IGNORED`, of every point of a keyframe's scan file.

        Raises:
            ValueError: the data set has no labels for the keyframe.
            FileNotFoundError: the label file is missing.
            CorruptSample: the label file does not fit its scan.
        """
        ...

    def vehicles(self, row: int) -> np.ndarray:
        """(M,) bool, which points of a keyframe's scan file lie on vehicles of others; raises as `read`."""
        ...

    def check(self, rows: Sequence[int] | np.ndarray) -> None:
        """Refuse, as `read`, rows without labels; opens no label file and looks at no more than 32 rows."""
        ...

    def check_tables(self) -> None:
        """Refuse, with ValueError or FileNotFoundError, tables that the judge cannot score by."""
        ...


class PointJudge(Protocol):
    """Scores of predicted point classes."""

    def check(self, split: str) -> None:
        """Refuse, before anything is trained, a split that `score` would refuse; raises ImportError or
        ValueError.
        """
        ...

    def write(self, out: Path, split: str, predictions: Iterable[tuple[int, np.ndarray]]) -> Path:
        """Write predictions: pairs of row and (M,) integers, the place in `classes` of every point of the
        scan file.
        """
        ...

    def score(self, split: str, out: Path) -> dict[str, Any]:
        """Figures of what `write` wrote: miou, iou by class, evaluator and more."""
        ...

    def prediction_file(self, out: Path, split: str, row: int) -> Path:
        """File of one keyframe's predictions."""
        ...

    def read_prediction(self, path: Path) -> np.ndarray:
        """(M,) uint8 place in `classes`, from a file that `write` wrote."""
        ...


class BoxLabels(Protocol):
    """Boxes of objects. Picklable."""

    classes: tuple[str, ...]

    @property
    def state(self) -> str:
        """A name that changes when the boxes change; for caches of what is made from them."""
        ...

    def read(self, row: int) -> FrameBoxes: ...

    def classes_present(self, rows: Sequence[int] | np.ndarray, *, min_points: int = 1) -> np.ndarray:
        """(k, C) bool, which classes have a box with at least `min_points` points in which keyframes."""
        ...


class BoxJudge(Protocol):
    """Scores of detections."""

    def check(self, split: str) -> None:
        """Refuse, before anything is trained, a split that `score` would refuse; raises ImportError or
        ValueError.
        """
        ...

    def write(
        self,
        path: Path,
        split: str,
        detections: Iterable[tuple[str, FrameDetections]],
        *,
        meta: Mapping[str, bool] | None = None,
    ) -> Path:
        """Write detections: pairs of sample token and boxes. `meta` says which inputs the detector has."""
        ...

    def score(self, split: str, path: Path) -> dict[str, Any]:
        """Figures of what `write` wrote: nds, map, errors and more."""
        ...


class MapLabels(Protocol):
    """Masks of the map around a keyframe. Picklable."""

    origin_m: tuple[float, float]
    cell_size: float
    shape: tuple[int, int]
    classes: tuple[str, ...]

    def open_maps(self, scene_names: Iterable[str]) -> None:
        """Read the maps of some scenes now, so that a missing one is found before anything is trained."""
        ...

    def read(
        self, scene_name: str, lidar2global: np.ndarray, old2new: np.ndarray | None = None
    ) -> np.ndarray:
        """(L, H = y, W = x) bool masks in the LiDAR frame, after the augmentation `old2new` (4, 4)."""
        ...


Corrupt = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""(stored points (M, columns), row) -> corrupted points (M', columns), and (M',) int64 point of the scan that
each comes from, -1 for a point that was brought in."""


class Labels(Protocol):
    """Everything labelled in one data set; each part raises ValueError if the data set does not have it."""

    def points(self) -> PointLabels: ...

    def point_judge(self) -> PointJudge: ...

    def boxes(self) -> BoxLabels: ...

    def box_judge(self) -> BoxJudge: ...

    def maps(self, *, bev_range: Sequence[float], cell_size: float, classes: Sequence[str]) -> MapLabels: ...

    def write_corrupted(self, rows: Sequence[int] | np.ndarray, out: Path, corrupt: Corrupt) -> Source:
        """Write a data set of corrupted scans, with their labels, and open it."""
        ...
