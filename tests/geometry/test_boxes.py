"""Points in upright boxes and boxes on boxes, against slow twins and shapely."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidardistill.geometry.boxes import box_corners_xy, boxes_overlap, points_in_boxes


def random_boxes(rng: np.random.Generator, count: int, spread: float = 8.0) -> np.ndarray:
    return np.concatenate(
        [
            rng.uniform(-spread, spread, (count, 2)),
            rng.uniform(-1, 1, (count, 1)),
            rng.uniform(0.3, 6, (count, 3)),
            rng.uniform(-7, 7, (count, 1)),
            rng.normal(size=(count, 2)),
        ],
        axis=1,
    )


@given(st.integers(0, 10_000), st.integers(0, 6), st.integers(0, 300), st.sampled_from([0.1, 1.0, 8.0, 1e4]))
@settings(max_examples=80, deadline=None)
def test_points_in_boxes_is_its_twin(seed: int, num_boxes: int, num_points: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    xyz = rng.uniform(-8, 8, (num_points, 5)).astype(np.float32)
    boxes = random_boxes(rng, num_boxes, spread)  # 1e4: what lies far apart, and mostly empty boxes
    fast = points_in_boxes(xyz, boxes)
    slow = points_in_boxes(xyz, boxes, implementation="numpy")
    for ours, theirs in zip(fast, slow, strict=True):
        assert ours.dtype == theirs.dtype == np.int64
        np.testing.assert_array_equal(ours, theirs)


def test_points_in_boxes_is_the_devkits(rng) -> None:
    pytest.importorskip("nuscenes")
    from nuscenes.utils.data_classes import Box
    from nuscenes.utils.geometry_utils import points_in_box
    from pyquaternion import Quaternion

    xyz, boxes = rng.uniform(-8, 8, (2000, 3)), random_boxes(rng, 20)
    point_idx, offsets = points_in_boxes(xyz, boxes)
    assert offsets[-1] > 200
    for number, (x, y, z, length, width, height, yaw, *_) in enumerate(boxes):
        box = Box([x, y, z], [width, length, height], Quaternion(axis=[0, 0, 1], radians=yaw))
        np.testing.assert_array_equal(
            point_idx[offsets[number] : offsets[number + 1]], np.flatnonzero(points_in_box(box, xyz.T))
        )


def test_length_lies_along_the_yaw_and_the_surface_is_inside() -> None:
    box = np.array([[10.0, 5.0, 1.0, 4.0, 2.0, 1.5, np.pi / 2]])
    xyz = np.array([[10, 6.9, 1], [10, 3.1, 1], [11.1, 5, 1], [10, 5, 1.75], [10, 5, 1.76]])
    assert points_in_boxes(xyz, box)[0].tolist() == [0, 1, 3]
    np.testing.assert_allclose(box_corners_xy(box)[0], [[9, 7], [9, 3], [11, 3], [11, 7]], atol=1e-12)


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_overlap_is_its_twin_and_shapelys(seed: int) -> None:
    shapely = pytest.importorskip("shapely")
    rng = np.random.default_rng(seed)
    first, second = random_boxes(rng, 7, 5.0), random_boxes(rng, 9, 5.0)
    overlap = boxes_overlap(first, second)
    assert overlap.shape == (7, 9)
    np.testing.assert_array_equal(overlap, boxes_overlap(first, second, implementation="numpy"))
    np.testing.assert_array_equal(overlap.T, boxes_overlap(second, first))
    a, b = ([shapely.Polygon(corners) for corners in box_corners_xy(boxes)] for boxes in (first, second))
    np.testing.assert_array_equal(overlap, [[i.intersection(j).area > 1e-12 for j in b] for i in a])


@pytest.mark.parametrize("implementation", ["numba", "numpy"])
def test_overlap_of_crosses_corners_and_what_lies_inside(implementation) -> None:
    long = [0, 0, 0, 10, 1, 1, 0.3]
    cases = {
        (0, 0, 0, 10, 1, 1, 0.3 + np.pi / 2): True,  # a cross: no corner of one lies in the other
        (0, 0, 50, 0.1, 0.1, 1, 1.0): True,  # inside, and far above
        (3, 3, 0, 1, 1, 1, 0): False,  # within the bounding rectangle of the long one
        (100, 0, 0, 1, 1, 1, 0): False,
    }
    found = boxes_overlap(np.array([long]), np.array(list(cases)), implementation=implementation)
    assert found[0].tolist() == list(cases.values())
    square = np.array([[0.0, 0, 0, 1, 1, 1, 0]])
    touching = boxes_overlap(square, square + np.eye(7)[0], implementation=implementation)
    assert not touching.any()


def test_points_on_corners_and_far_away_are_told_apart() -> None:
    boxes = random_boxes(np.random.default_rng(0), 40, 30.0)
    corners = box_corners_xy(boxes)
    middle = boxes[:, None, :2]
    for factor, inside in ((1 - 1e-9, True), (1 + 1e-9, False)):
        xy = (middle + factor * (corners - middle)).reshape(-1, 2)
        xyz = np.c_[xy, np.repeat(boxes[:, 2], 4)]
        point_idx, offsets = points_in_boxes(xyz, boxes)
        own = [
            set(range(4 * b, 4 * b + 4)) & set(point_idx[offsets[b] : offsets[b + 1]].tolist())
            for b in range(40)
        ]
        assert [len(found) for found in own] == [4 if inside else 0] * 40
    lost = np.array([[np.nan, 0, 0], [np.inf, 0, 0], [1e30, -1e30, 0]])
    assert len(points_in_boxes(lost, boxes)[0]) == 0


def test_nothing_and_nonsense() -> None:
    none = np.zeros((0, 9))
    assert boxes_overlap(none, np.zeros((3, 7))).shape == (0, 3)
    assert points_in_boxes(np.zeros((0, 3)), none)[1].tolist() == [0]
    with pytest.raises(ValueError, match=r"boxes \(B, >=7\) .*got \(3, 6\)"):
        boxes_overlap(np.zeros((3, 6)), none)
    with pytest.raises(ValueError, match="box 1 holds NaN"):
        boxes_overlap(np.array([[0.0] * 7, [np.nan] * 7]), none)
    with pytest.raises(ValueError, match="points"):
        points_in_boxes(np.zeros((3, 2)), none)
    with pytest.raises(ValueError, match="numba, numpy, got 'torch'"):
        boxes_overlap(none, none, implementation="torch")  # type: ignore[arg-type]
    velocity_unknown = np.array([[0.0] * 7 + [np.nan] * 2])
    velocity_unknown[0, 3:6] = 1
    assert boxes_overlap(velocity_unknown, velocity_unknown).all()
