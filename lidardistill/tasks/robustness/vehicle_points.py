"""Vehicle points of a scan, from labels or boxes, for corruptions that change vehicles only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lidardistill.datasets.labelled import BoxLabels, PointLabels
from lidardistill.geometry.boxes import points_in_boxes

VEHICLES = ("bicycle", "bus", "car", "construction_vehicle", "motorcycle", "trailer", "truck")
"""Vehicle classes; lidarseg and detection use the same names."""


def labelled_vehicles(labels: PointLabels, points: np.ndarray, row: int) -> np.ndarray:
    """(N,) bool, the points of a keyframe's scan that its labels put on vehicles."""
    return labels.vehicles(row)


def boxed_vehicles(boxes: BoxLabels, points: np.ndarray, row: int) -> np.ndarray:
    """(N,) bool, the points (N, >=3) of a row that lie in boxes of vehicles.

    With sweeps, the points that a moving vehicle has left behind its box are not marked.
    """
    found = boxes.read(row)
    is_vehicle = np.isin(found.labels, places_of_vehicles(boxes.classes))
    inside, _ = points_in_boxes(points, found.boxes[is_vehicle])
    mask = np.zeros(len(points), dtype=bool)
    mask[inside] = True
    return mask


def places_of_vehicles(classes: Sequence[str]) -> list[int]:
    """Indices of the vehicle classes in `classes`."""
    return [place for place, name in enumerate(classes) if name in VEHICLES]
