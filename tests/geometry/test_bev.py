"""What a rigid motion does to the ground plane."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidardistill.geometry import invert_rigid, planar_motion, transform_points

ANGLES = st.floats(-3.1, 3.1)
METRES = st.floats(-80, 80)


def level(yaw_rad, x, y, z=0.0):
    motion = np.eye(4)
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    motion[:2, :2] = ((c, -s), (s, c))
    motion[:3, 3] = x, y, z
    return motion


def tilted(axis, angle_rad):
    motion = np.eye(4)
    a, b = {"x": (1, 2), "y": (0, 2)}[axis]
    motion[a, a] = motion[b, b] = np.cos(angle_rad)
    motion[a, b] = -np.sin(angle_rad)
    motion[b, a] = np.sin(angle_rad)
    return motion


@given(ANGLES, METRES, METRES, METRES)
def test_a_level_motion_moves_points_alike(yaw, x, y, z):
    motion = level(yaw, x, y, z)
    points = np.random.default_rng(0).uniform(-50, 50, (20, 3))
    planar = planar_motion(motion)
    moved = np.c_[points[:, :2], np.ones(20)] @ planar.T
    np.testing.assert_allclose(moved[:, :2], transform_points(motion, points)[:, :2], atol=1e-9)
    np.testing.assert_array_equal(moved[:, 2], 1.0)


def test_chains_and_ways_back_of_a_stack():
    there = np.stack([level(0.3, 5, -2, 1), level(-2.0, 0, 9)])
    back = planar_motion(invert_rigid(there))
    np.testing.assert_allclose(back @ planar_motion(there), np.tile(np.eye(3), (2, 1, 1)), atol=1e-12)


@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_tilt_leaves_the_nearest_turn(axis):
    motion = level(0.7, 3, 4) @ tilted(axis, 0.1)
    block = motion[:2, :2]

    def distance(yaw):
        return np.linalg.norm(level(yaw, 0, 0)[:2, :2] - block)

    turn = planar_motion(motion)
    np.testing.assert_allclose(turn[:2, :2] @ turn[:2, :2].T, np.eye(2), atol=1e-12)
    found = np.arctan2(turn[1, 0], turn[0, 0])
    assert all(distance(found) <= distance(yaw) for yaw in np.linspace(0.5, 0.9, 401))
    np.testing.assert_array_equal(turn[:2, 2], motion[:2, 3])


def test_what_has_no_view_from_above_is_refused():
    with pytest.raises(ValueError, match="z axes of the two frames are 40 degrees apart"):
        planar_motion(np.stack([np.eye(4), tilted("x", np.radians(40))]))
    with pytest.raises(ValueError, match=r"shape \(\.\.\., 4, 4\), got \(3, 3\)"):
        planar_motion(np.eye(3))
