"""Points on vehicles by label and by box."""

from __future__ import annotations

import numpy as np

from lidardistill.datasets.labelled import FrameBoxes
from lidardistill.datasets.nuscenes import detection_classes, lidarseg_classes
from lidardistill.datasets.nuscenes.labels.room import VEHICLE_LABELS
from lidardistill.datasets.nuscenes.lidarseg_classes import RAW_CLASSES
from lidardistill.tasks.robustness.vehicle_points import VEHICLES, boxed_vehicles


def test_vehicles_of_others():
    names = {name for name, is_vehicle in zip(RAW_CLASSES, VEHICLE_LABELS, strict=True) if is_vehicle}
    assert "vehicle.car" in names
    assert "vehicle.ego" not in names
    assert len(names) == 10
    assert set(VEHICLES) < set(detection_classes.CLASSES)
    assert set(VEHICLES) < set(lidarseg_classes.CLASSES)


class Boxes:
    classes = detection_classes.CLASSES

    def __init__(self, found):
        self.found = found

    def read(self, row):
        return self.found


def test_points_in_boxes_of_vehicles():
    boxes = np.zeros((3, 9), dtype=np.float32)
    boxes[:, :6] = [[5, 0, 0, 4, 2, 2], [-5, 0, 0, 4, 2, 2], [0, 8, 0, 1, 1, 2]]
    labels = np.array([detection_classes.CLASSES.index(name) for name in ("car", "bicycle", "pedestrian")])
    counts = np.ones(3, dtype=np.int64)
    found = FrameBoxes(boxes, labels, counts, counts, -counts)
    points = np.array(
        [[5, 0.9, 0, 1, 0], [5, 1.1, 0, 1, 0], [-4, 0, 0.5, 1, 0], [0, 8, 0, 1, 0]], dtype=np.float32
    )
    mask = boxed_vehicles(Boxes(found), points, 7)
    assert mask.tolist() == [True, False, True, False]
    assert boxed_vehicles(Boxes(found.take(labels < 0)), points, 7).tolist() == [False] * 4
