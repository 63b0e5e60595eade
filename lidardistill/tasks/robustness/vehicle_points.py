"""Which points of a scan lie on vehicles, from labels or from boxes; for corruptions that strike vehicles alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lidardistill.datasets.nuscenes.boxes import FrameBoxes
from lidardistill.datasets.nuscenes.detection_classes import CLASSES
from lidardistill.datasets.nuscenes.labels import read_lidarseg
from lidardistill.datasets.nuscenes.lidarseg_classes import RAW_CLASSES
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.geometry.boxes import points_in_boxes

VEHICLE_LABELS = np.array(
    [name.startswith("vehicle.") and name != "vehicle.ego" for name in RAW_CLASSES], dtype=bool
)
"""(32,) bool, which raw lidarseg classes are vehicles of others."""

VEHICLES = ("bicycle", "bus", "car", "construction_vehicle", "motorcycle", "trailer", "truck")
"""Names of the same among the classes of lidarseg and of detection."""


def labelled_vehicles(index: NuScenesIndex, points: np.ndarray, row: int) -> np.ndarray:
    """(N,) bool, the points of a keyframe's scan that its lidarseg labels put on vehicles."""
    return VEHICLE_LABELS[read_lidarseg(index, row)]


def boxed_vehicles(read_boxes: Callable[[int], FrameBoxes], points: np.ndarray, row: int) -> np.ndarray:
    """(N,) bool, the points (N, >=3) of a row that lie in boxes of vehicles; `read_boxes` is `BoxTable.read`.

    With sweeps, what a moving vehicle has left behind its box stays.
    """
    found = read_boxes(row)
    is_vehicle = np.isin(found.labels, [CLASSES.index(name) for name in VEHICLES])
    inside, _ = points_in_boxes(points, found.boxes[is_vehicle])
    mask = np.zeros(len(points), dtype=bool)
    mask[inside] = True
    return mask
