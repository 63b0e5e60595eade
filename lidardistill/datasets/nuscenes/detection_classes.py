"""nuScenes' detection task: the ten classes, the categories of each class, and the attributes of boxes.

Source: nuScenes detection task (nuscenes-devkit, eval/detection/README.md): the mapping of categories and the
allowed attributes of each class.
"""

from __future__ import annotations

import numpy as np

CLASSES: tuple[str, ...] = (
    "car",
    "truck",
    "construction_vehicle",
    "bus",
    "trailer",
    "barrier",
    "motorcycle",
    "bicycle",
    "pedestrian",
    "traffic_cone",
)
"""Class names; a label is an index into this list. Order: `models.center_head.TASKS`, concatenated."""

_CATEGORIES: dict[str, tuple[str, ...]] = {
    "car": ("vehicle.car",),
    "truck": ("vehicle.truck",),
    "construction_vehicle": ("vehicle.construction",),
    "bus": ("vehicle.bus.bendy", "vehicle.bus.rigid"),
    "trailer": ("vehicle.trailer",),
    "barrier": ("movable_object.barrier",),
    "motorcycle": ("vehicle.motorcycle",),
    "bicycle": ("vehicle.bicycle",),
    "pedestrian": (
        "human.pedestrian.adult",
        "human.pedestrian.child",
        "human.pedestrian.construction_worker",
        "human.pedestrian.police_officer",
    ),
    "traffic_cone": ("movable_object.trafficcone",),
}

CATEGORY_TO_CLASS: dict[str, int] = {
    category: label for label, name in enumerate(CLASSES) for category in _CATEGORIES[name]
}
"""Maps each category of the task to its label; other categories are ignored."""

ATTRIBUTES: tuple[str, ...] = (
    "pedestrian.moving",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "cycle.with_rider",
    "cycle.without_rider",
    "vehicle.moving",
    "vehicle.parked",
    "vehicle.stopped",
)

MOVING_SPEED_M_S = 0.2

_STILL_AND_MOVING: dict[str, tuple[str, str] | None] = {
    "car": ("vehicle.parked", "vehicle.moving"),
    "truck": ("vehicle.parked", "vehicle.moving"),
    "construction_vehicle": ("vehicle.parked", "vehicle.moving"),
    "bus": ("vehicle.stopped", "vehicle.moving"),
    "trailer": ("vehicle.parked", "vehicle.moving"),
    "barrier": None,
    "motorcycle": ("cycle.without_rider", "cycle.with_rider"),
    "bicycle": ("cycle.without_rider", "cycle.with_rider"),
    "pedestrian": ("pedestrian.standing", "pedestrian.moving"),
    "traffic_cone": None,
}

_ATTRIBUTE_OF = np.array(
    [
        [-1 if pair is None else ATTRIBUTES.index(pair[moves]) for moves in (0, 1)]
        for pair in (_STILL_AND_MOVING[name] for name in CLASSES)
    ]
)


def predict_attributes(
    labels: np.ndarray, velocity: np.ndarray, moving_speed_m_s: float = MOVING_SPEED_M_S
) -> np.ndarray:
    """Most likely attribute of each box, from its class and speed.

    Args:
        labels: (n,) int index into `CLASSES`.
        velocity: (n, 2) metres per second; NaN counts as not moving.
        moving_speed_m_s: boxes faster than this count as moving, metres per second.

    Returns:
        (n,) int64 index into `ATTRIBUTES`, -1 for classes without attributes.

    Raises:
        ValueError: the shapes are wrong, or a label is not an index into `CLASSES`.

    Source: CenterPoint (Yin et al., CVPR 2021), released code for nuScenes.
    """
    labels = np.asarray(labels, dtype=np.int64)
    velocity = np.asarray(velocity, dtype=np.float64)
    if labels.ndim != 1 or velocity.shape != (len(labels), 2):
        raise ValueError(f"expected labels (n,) and velocity (n, 2), got {labels.shape} and {velocity.shape}")
    check_labels(labels)
    moves = np.hypot(velocity[:, 0], velocity[:, 1]) > moving_speed_m_s
    return _ATTRIBUTE_OF[labels, moves.astype(np.int64)]


def check_labels(labels: np.ndarray) -> None:
    """Check that labels are indices into `CLASSES`.

    Raises:
        ValueError: a label outside 0 .. number of classes - 1.
    """
    if labels.size and not 0 <= labels.min() <= labels.max() < len(CLASSES):
        raise ValueError(
            f"labels: expected places 0..{len(CLASSES) - 1} in detection_classes.CLASSES, got "
            f"{labels.min()}..{labels.max()}; a head that predicts a group of classes must add the group's "
            "first label"
        )
