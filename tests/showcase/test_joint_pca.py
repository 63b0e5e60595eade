"""Colours of a joint embedding: the same each time, signs fixed, and honest about position."""

from __future__ import annotations

import numpy as np
import pytest

from lidardistill.showcase.joint_pca import fit_joint_pca, map_colors, position_r2


def two_sides(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(16, 16)))[0][:4]
    kinds = rng.normal(size=(400, 4)) * (8, 4, 2, 0.1)
    noise = rng.normal(size=(2, 400, 16)) * 0.01
    return kinds @ basis + noise[0] + 5, kinds @ basis + noise[1] - 5


def test_the_same_colours_each_time_and_for_either_sign() -> None:
    student, teacher = two_sides()
    first, second = fit_joint_pca(student, teacher), fit_joint_pca(student.copy(), teacher.copy())
    assert np.array_equal(first.rgb(first.student(student)), second.rgb(second.student(student)))
    rows = np.arange(len(student))[::-1]
    turned = fit_joint_pca(student[rows], teacher[rows])
    np.testing.assert_allclose(turned.axes, first.axes, atol=1e-9)
    largest = np.abs(first.axes).argmax(axis=1)
    assert (first.axes[np.arange(3), largest] > 0).all()
    np.testing.assert_allclose(first.axes @ first.axes.T, np.eye(3), atol=1e-12)


def test_what_matches_gets_one_colour_although_the_sides_lie_apart() -> None:
    student, teacher = two_sides()
    pca = fit_joint_pca(student, teacher)
    ours = pca.rgb(pca.student(student)).astype(int)
    theirs = pca.rgb(pca.teacher(teacher)).astype(int)
    assert np.abs(ours - theirs).max() <= 4
    assert np.ptp(ours, axis=0).min() > 150
    assert np.abs(ours - theirs[::-1]).mean() > 30


def test_both_sides_weigh_the_same() -> None:
    student, teacher = two_sides()
    once, often = fit_joint_pca(student, teacher), fit_joint_pca(student, np.tile(teacher, (5, 1)))
    np.testing.assert_allclose(once.axes, often.axes, atol=1e-9)


def test_features_of_position_are_found_out() -> None:
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-40, 40, (500, 3))
    positional = xyz @ rng.normal(size=(3, 3)) + rng.normal(size=(500, 3))
    assert position_r2(positional, xyz).min() > 0.95
    assert position_r2(rng.normal(size=(500, 3)), xyz).max() < 0.05
    flat = np.column_stack([np.ones(500), xyz[:, 0], rng.normal(size=500)])
    r2 = position_r2(flat, xyz)
    assert r2[0] == 0
    assert r2[1] == pytest.approx(1)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="one width"):
        fit_joint_pca(np.ones((4, 8)), np.ones((4, 9)))
    with pytest.raises(ValueError, match="rows on both sides"):
        fit_joint_pca(np.ones((0, 8)), np.ones((4, 8)))
    with pytest.raises(ValueError, match="3 channels"):
        fit_joint_pca(np.ones((4, 2)), np.ones((4, 2)))


def test_map_colours_follow_the_features_and_not_their_scale():
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, (6, 7))
    bev = np.moveaxis(np.eye(3)[kinds] + 0.01 * rng.normal(size=(6, 7, 3)), -1, 0)
    xy = np.stack(np.meshgrid(np.arange(7.0), np.arange(6.0)), axis=-1)
    occupied = np.ones((6, 7), bool)
    (colors,), r2, parity = map_colors([bev], occupied, xy)
    (scaled,), *_ = map_colors([bev * rng.uniform(1, 9, (6, 7))], occupied, xy)
    np.testing.assert_array_equal(colors, scaled)
    middles = np.stack([colors[kinds == kind].mean(axis=0) for kind in range(3)])
    apart = np.linalg.norm(middles[:, None] - middles[None], axis=2)[np.triu_indices(3, 1)].min()
    assert apart > 10 * max(colors[kinds == kind].std(axis=0).max() for kind in range(3)) / 3
    assert (r2 < 0.5).all()
    assert (parity < 0.5).all()
    assert len(map_colors([bev, -bev], occupied, xy).colors) == 2


def test_a_chessboard_is_told():
    rng = np.random.default_rng(0)
    row, column = np.indices((12, 14))
    bev = np.stack([(row + column) % 2, row % 2, rng.normal(size=(12, 14))]) + 0.01 * rng.normal(
        size=(3, 12, 14)
    )
    xy = np.stack([column, row], axis=-1).astype(float)
    found = map_colors([bev], np.ones((12, 14), bool), xy)
    assert found.parity_r2[:2].max() > 0.5
    assert (found.position_r2 < 0.2).all()


def test_maps_that_do_not_fit():
    xy, occupied = np.zeros((4, 4, 2)), np.ones((4, 4), bool)
    with pytest.raises(ValueError, match="one or two maps of one shape"):
        map_colors([np.zeros((3, 4, 4)), np.zeros((4, 4, 4))], occupied, xy)
    with pytest.raises(ValueError, match="expected rows on both sides"):
        map_colors([np.zeros((3, 4, 4))], ~occupied, xy)
