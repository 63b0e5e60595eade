"""The classes are the devkit's, in the head's order."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest

from lidardistill.datasets.nuscenes.detection_classes import (
    ATTRIBUTES,
    CATEGORY_TO_CLASS,
    CLASSES,
    predict_attributes,
)
from lidardistill.datasets.nuscenes.lidarseg_classes import RAW_CLASSES
from lidardistill.tasks.detect.center.head import TASKS


def test_labels_follow_the_heads_groups() -> None:
    assert tuple(chain.from_iterable(TASKS)) == CLASSES


def test_categories_classes_and_attributes_are_the_devkits() -> None:
    pytest.importorskip("nuscenes")
    from nuscenes.eval.detection.constants import ATTRIBUTE_NAMES, DETECTION_NAMES
    from nuscenes.eval.detection.utils import category_to_detection_name

    assert sorted(CLASSES) == sorted(DETECTION_NAMES)
    assert tuple(ATTRIBUTE_NAMES) == ATTRIBUTES
    for category in (*RAW_CLASSES, "human.pedestrian.stroller", "vehicle.flying"):
        label = CATEGORY_TO_CLASS.get(category)
        assert category_to_detection_name(category) == (None if label is None else CLASSES[label])
    assert len(CATEGORY_TO_CLASS) == 14


def test_attributes_follow_class_and_speed() -> None:
    pytest.importorskip("nuscenes")
    from nuscenes.eval.detection.utils import detection_name_to_rel_attributes

    labels = np.arange(len(CLASSES))
    still, moving, unknown = (
        predict_attributes(labels, np.tile(v, (len(CLASSES), 1)))
        for v in ([0.1, -0.1], [0.0, -0.5], [np.nan] * 2)
    )
    np.testing.assert_array_equal(still, unknown)
    for label, name in enumerate(CLASSES):
        allowed = detection_name_to_rel_attributes(name)
        for found in (still[label], moving[label]):
            assert (found == -1) == (not allowed)
            assert found == -1 or ATTRIBUTES[found] in allowed
        assert found == -1 or still[label] != moving[label]
    assert ATTRIBUTES[moving[CLASSES.index("car")]] == "vehicle.moving"
    assert ATTRIBUTES[still[CLASSES.index("bus")]] == "vehicle.stopped"
    assert ATTRIBUTES[still[CLASSES.index("pedestrian")]] == "pedestrian.standing"
    assert predict_attributes(np.zeros(0, np.int64), np.zeros((0, 2))).shape == (0,)


def test_bad_labels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"places 0\.\.9 .* got 10\.\.10"):
        predict_attributes(np.array([10]), np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"velocity \(n, 2\)"):
        predict_attributes(np.array([1]), np.zeros((1, 3)))
