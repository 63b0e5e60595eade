"""Cloud and boxes move together."""

from __future__ import annotations

import numpy as np
import pytest

from lidardistill.geometry.boxes import points_in_boxes
from lidardistill.tasks.detect.config import DetectionAugmentConfig
from lidardistill.tasks.detect.detection_augment import draw_old2new, move_boxes, move_points


def some_boxes(rng: np.random.Generator, count: int = 12) -> np.ndarray:
    columns = [
        rng.uniform(-20, 20, (count, 2)),
        rng.uniform(-1, 1, (count, 1)),
        rng.uniform(1, 6, (count, 3)),
        rng.uniform(-3, 3, (count, 1)),
        rng.normal(0, 5, (count, 2)),
    ]
    return np.concatenate(columns, axis=1).astype(np.float32)


@pytest.mark.parametrize("seed", range(8))
def test_points_stay_inside_and_outside_their_boxes(seed) -> None:
    generator = np.random.default_rng(seed)
    boxes = some_boxes(generator)
    points = generator.uniform(-1, 1, (6000, 5)).astype(np.float32) * np.float32([22, 22, 3, 1, 1])
    before, offsets = points_in_boxes(points, boxes * np.float32([1, 1, 1, 0.999, 0.999, 0.999, 1, 1, 1]))
    grown, _ = points_in_boxes(points, boxes * np.float32([1, 1, 1, 1.001, 1.001, 1.001, 1, 1, 1]))
    assert offsets[-1] > 100
    old2new = draw_old2new(DetectionAugmentConfig(shift_std_m=3.0, scale=(0.8, 1.3)), generator)
    after, _ = points_in_boxes(move_points(points, old2new), move_boxes(boxes, old2new))
    assert set(before) <= set(after) <= set(grown)
    np.testing.assert_array_equal(move_points(points, old2new)[:, 3:], points[:, 3:])


@pytest.mark.parametrize("seed", range(8))
def test_a_box_moves_as_its_front_and_its_future(seed) -> None:
    """The slow twin: three points of each box are moved one by one, and the box is read off them."""
    generator = np.random.default_rng(seed)
    boxes = some_boxes(generator).astype(np.float64)
    old2new = draw_old2new(DetectionAugmentConfig(), generator)
    moved = move_boxes(boxes, old2new)
    assert moved.dtype == np.float32
    for box, new in zip(boxes, moved, strict=True):

        def at(dx: float, dy: float, box=box) -> np.ndarray:
            return (old2new @ [box[0] + dx, box[1] + dy, box[2], 1.0])[:3]

        front = at(np.cos(box[6]) * box[3] / 2, np.sin(box[6]) * box[3] / 2) - at(0, 0)
        np.testing.assert_allclose(new[:3], at(0, 0), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(2 * np.linalg.norm(front), new[3], rtol=1e-5)
        np.testing.assert_allclose(
            [np.cos(new[6]), np.sin(new[6])], (front / np.linalg.norm(front))[:2], atol=1e-5
        )
        np.testing.assert_allclose(new[7:], (at(*box[7:]) - at(0, 0))[:2], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(new[3:6] / box[3:6], new[3] / box[3], rtol=1e-5)


def test_draws_have_the_ranges_that_they_are_said_to_have() -> None:
    generator = np.random.default_rng(0)
    motions = np.stack([draw_old2new(DetectionAugmentConfig(), generator) for _ in range(4000)])
    scale = motions[:, 2, 2]
    assert scale.min() >= 0.95
    assert scale.max() <= 1.05
    assert np.ptp(scale) > 0.098
    np.testing.assert_allclose(motions[:, :3, 3].std(axis=0), 0.5, rtol=0.05)
    plane = motions[:, :2, :2] / scale[:, None, None]
    mirrored = np.linalg.det(plane) < 0
    assert mirrored.mean() == pytest.approx(0.5, abs=0.03)  # one flip of the two
    angle = np.arctan2(plane[~mirrored, 1, 0], plane[~mirrored, 0, 0])
    back = np.abs(angle) > np.pi / 2  # both flips are half a turn
    assert back.mean() == pytest.approx(0.5, abs=0.04)
    assert np.abs(angle[~back]).max() <= np.pi / 4
    assert np.histogram(angle[~back], 4, (-np.pi / 4, np.pi / 4))[0].min() > 180
    np.testing.assert_array_equal(motions[:, 3], np.tile([0, 0, 0, 1], (4000, 1)))


def test_each_step_alone() -> None:
    off = DetectionAugmentConfig(rotate_max_deg=0, scale=(1, 1), flip_x=False, flip_y=False, shift_std_m=0)
    for still in (off, None):
        np.testing.assert_array_equal(draw_old2new(still, np.random.default_rng(0)), np.eye(4))

    def only(seed: int = 1, **changes: object) -> np.ndarray:
        return draw_old2new(off.model_copy(update=changes), np.random.default_rng(seed))

    for flip, flipped in (
        ({"flip_x": True}, np.diag([-1, 1, 1, 1])),
        ({"flip_y": True}, np.diag([1, -1, 1, 1])),
    ):
        drawn = [only(seed, **flip) for seed in range(40)]
        mirrored = [np.array_equal(motion, flipped) for motion in drawn]
        assert all(m or np.array_equal(motion, np.eye(4)) for m, motion in zip(mirrored, drawn, strict=True))
        assert 10 < sum(mirrored) < 30
    assert only(scale=(2.0, 2.0)).diagonal().tolist() == [2, 2, 2, 1]
    turned = only(rotate_max_deg=6.0)
    assert turned[1, 0] == -turned[0, 1] != 0
    assert np.abs(only(shift_std_m=1.0)[:3, 3]).min() > 0
    box = np.array([[10.0, 0, 0, 4, 2, 1, 0.3, 5, 1]], np.float32)
    flipped = move_boxes(box, np.diag([-1.0, 1, 1, 1]))[0]
    np.testing.assert_allclose(flipped, [-10, 0, 0, 4, 2, 1, np.pi - 0.3, -5, 1], rtol=1e-6)


def test_nothing_moves_where_all_is_off_and_unknown_velocities_stay_unknown() -> None:
    points, boxes = np.ones((3, 5), np.float32), np.ones((2, 9), np.float32)
    assert move_points(points, np.eye(4)) is points
    assert move_boxes(boxes, np.eye(4)) is boxes
    boxes[0, 7:] = np.nan
    moved = move_boxes(boxes, draw_old2new(DetectionAugmentConfig(), np.random.default_rng(0)))
    np.testing.assert_array_equal(np.isnan(moved), np.isnan(boxes))
    assert move_boxes(boxes[:0], np.diag([-1.0, 1, 1, 1])).shape == (0, 9)


@pytest.mark.parametrize(
    "changes", [{"rotate_max_deg": -1.0}, {"scale": (1.1, 0.9)}, {"scale": (0.0, 1.0)}, {"shift_std_m": -1.0}]
)
def test_bad_settings_are_named(changes) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        DetectionAugmentConfig(**changes)
