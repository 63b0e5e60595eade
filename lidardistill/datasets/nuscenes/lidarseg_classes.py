"""nuScenes-lidarseg classes: 32 raw classes, the official mapping to 16 classes, and their colours.

Source: nuScenes lidarseg task page and nuscenes-devkit `eval/lidarseg` (class mapping, ignored classes).
"""

from __future__ import annotations

import numpy as np

RAW_CLASSES: tuple[str, ...] = (
    "noise",
    "animal",
    "human.pedestrian.adult",
    "human.pedestrian.child",
    "human.pedestrian.construction_worker",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer",
    "human.pedestrian.stroller",
    "human.pedestrian.wheelchair",
    "movable_object.barrier",
    "movable_object.debris",
    "movable_object.pushable_pullable",
    "movable_object.trafficcone",
    "static_object.bicycle_rack",
    "vehicle.bicycle",
    "vehicle.bus.bendy",
    "vehicle.bus.rigid",
    "vehicle.car",
    "vehicle.construction",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
    "vehicle.motorcycle",
    "vehicle.trailer",
    "vehicle.truck",
    "flat.driveable_surface",
    "flat.other",
    "flat.sidewalk",
    "flat.terrain",
    "static.manmade",
    "static.other",
    "static.vegetation",
    "vehicle.ego",
)
"""Raw classes; the uint8 values in a lidarseg file are indices into this list."""

CLASSES: tuple[str, ...] = (
    "ignore",
    "barrier",
    "bicycle",
    "bus",
    "car",
    "construction_vehicle",
    "motorcycle",
    "pedestrian",
    "traffic_cone",
    "trailer",
    "truck",
    "driveable_surface",
    "other_flat",
    "sidewalk",
    "terrain",
    "manmade",
    "vegetation",
)
"""The 16 evaluated classes at 1..16; 0 is ignored."""

_RAW_TO_CLASS = {
    9: 1, 14: 2, 15: 3, 16: 3, 17: 4, 18: 5, 21: 6, 2: 7, 3: 7, 4: 7, 6: 7, 12: 8, 22: 9, 23: 10,
    24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 30: 16,
}  # fmt: skip

RAW_TO_CLASS: np.ndarray = np.array([_RAW_TO_CLASS.get(raw, 0) for raw in range(256)], dtype=np.uint8)
"""(256,) uint8 look-up table: raw label to class 0..16."""

IGNORE_INDEX = 255
"""Training target of points that losses ignore."""

CLASS_TO_TARGET: np.ndarray = np.array([IGNORE_INDEX, *range(16)], dtype=np.uint8)
"""(17,) uint8 look-up table: evaluated class 0..16 to training target 0..15, or `IGNORE_INDEX`."""

NUM_CLASSES = len(CLASSES) - 1

COLORS: np.ndarray = np.array(
    [
        [0, 0, 0], [112, 128, 144], [220, 20, 60], [255, 127, 80], [255, 158, 0], [233, 150, 70],
        [255, 61, 99], [0, 0, 230], [47, 79, 79], [255, 140, 0], [255, 99, 71], [0, 207, 191],
        [175, 0, 75], [75, 0, 75], [112, 180, 60], [222, 184, 135], [0, 175, 0],
    ],
    dtype=np.uint8,
)  # fmt: skip
"""(17, 3) uint8 official RGB colour of each evaluated class."""
