"""nuScenes' implementation of the interface of labels and judges (`datasets.labelled`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lidardistill.datasets.labelled import IGNORED, Corrupt, FrameDetections
from lidardistill.datasets.nuscenes.labels.boxes import BoxTable
from lidardistill.datasets.nuscenes.labels.corrupted import write_corrupted
from lidardistill.datasets.nuscenes.labels.devkit import check_split, import_evaluator
from lidardistill.datasets.nuscenes.labels.judge_boxes import score_detections
from lidardistill.datasets.nuscenes.labels.judge_points import (
    known_to_devkit,
    prediction_file,
    score,
    write_predictions,
)
from lidardistill.datasets.nuscenes.labels.points import check_categories, check_labelled, read_lidarseg
from lidardistill.datasets.nuscenes.labels.submission import write_detections
from lidardistill.datasets.nuscenes.lidarseg_classes import (
    CLASS_TO_TARGET,
    CLASSES,
    RAW_CLASSES,
    RAW_TO_CLASS,
)
from lidardistill.datasets.nuscenes.source import NuScenesIndex

if TYPE_CHECKING:
    from lidardistill.datasets.nuscenes.labels.map_masks import MapMasks

RAW_TO_TARGET: np.ndarray = CLASS_TO_TARGET[RAW_TO_CLASS]
"""(256,) uint8 look-up table: raw label to index of the evaluated class, or `IGNORED`."""

VEHICLE_LABELS = np.array(
    [name.startswith("vehicle.") and name != "vehicle.ego" for name in RAW_CLASSES], dtype=bool
)
"""(32,) bool, True for raw classes of other vehicles."""


class NuScenesLabels:
    """Labels and judges of an open nuScenes root."""

    def __init__(self, index: Any) -> None:
        self.index: NuScenesIndex = index

    def points(self) -> LidarsegLabels:
        return LidarsegLabels(self.index)

    def point_judge(self) -> LidarsegJudge:
        return LidarsegJudge(self.index)

    def boxes(self) -> BoxTable:
        return BoxTable.open(self.index)

    def box_judge(self) -> DetectionJudge:
        return DetectionJudge(self.index)

    def maps(self, *, bev_range: Sequence[float], cell_size: float, classes: Sequence[str]) -> MapMasks:
        from lidardistill.datasets.nuscenes.labels.map_masks import MapMasks

        return MapMasks(
            self.index.dataroot,
            self.index.version,
            bev_range=bev_range,
            cell_size=cell_size,
            classes=classes,
        )

    def write_corrupted(self, rows: Sequence[int] | np.ndarray, out: Path, corrupt: Corrupt) -> NuScenesIndex:
        return write_corrupted(self.index, rows, out, corrupt)


@dataclass(frozen=True)
class LidarsegLabels:
    """nuScenes-lidarseg as `PointLabels`: the 16 evaluated classes."""

    index: NuScenesIndex

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES[1:]

    def read(self, row: int) -> np.ndarray:
        return RAW_TO_TARGET[read_lidarseg(self.index, row)]

    def vehicles(self, row: int) -> np.ndarray:
        return VEHICLE_LABELS[read_lidarseg(self.index, row)]

    def check(self, rows: Sequence[int] | np.ndarray) -> None:
        check_labelled(self.index, rows)

    def check_tables(self) -> None:
        check_categories(self.index.dataroot / self.index.version)


@dataclass(frozen=True)
class LidarsegJudge:
    """nuscenes-devkit's lidarseg evaluator as `PointJudge`."""

    index: NuScenesIndex

    def check(self, split: str) -> None:
        import_evaluator("lidarseg")
        check_categories(self.index.dataroot / self.index.version)
        if known_to_devkit(split):
            check_split(self.index, split)
        else:
            self.index.rows_of_split(split)

    def write(self, out: Path, split: str, predictions: Iterable[tuple[int, np.ndarray]]) -> Path:
        index = self.index

        def classes() -> Iterator[tuple[str, np.ndarray]]:
            for row, places in predictions:
                yield index.lidar_token(row), (places + 1).astype(np.uint8)

        return write_predictions(out, index.version, split, classes(), dataroot=index.dataroot, index=index)

    def score(self, split: str, out: Path) -> dict[str, Any]:
        return score(self.index.dataroot, self.index.version, split, out, index=self.index)

    def prediction_file(self, out: Path, split: str, row: int) -> Path:
        return prediction_file(out, split, self.index.lidar_token(row))

    def read_prediction(self, path: Path) -> np.ndarray:
        stored = np.fromfile(path, dtype=np.uint8)
        return np.where(stored == 0, np.uint8(IGNORED), stored - 1)


@dataclass(frozen=True)
class DetectionJudge:
    """nuscenes-devkit's detection evaluator as `BoxJudge`."""

    index: NuScenesIndex

    def check(self, split: str) -> None:
        import_evaluator("detection")
        check_split(self.index, split)

    def write(
        self,
        path: Path,
        split: str,
        detections: Iterable[tuple[str, FrameDetections]],
        *,
        meta: Mapping[str, bool] | None = None,
    ) -> Path:
        return write_detections(
            path,
            self.index.version,
            split,
            detections,
            dataroot=self.index.dataroot,
            meta=meta,
            index=self.index,
        )

    def score(self, split: str, path: Path) -> dict[str, Any]:
        return score_detections(self.index.dataroot, self.index.version, split, path, index=self.index)
