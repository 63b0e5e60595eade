import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lidardistill.geometry.rigid import (
    check_rigid,
    invert_rigid,
    quaternion_to_rotation,
    rigid,
    rotation_to_quaternion,
    transform_points,
)


def random_quaternions(rng, count):
    quaternion = rng.normal(size=(count, 4))
    return quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True)


def test_quaternions_agree_with_scipy(rng):
    wxyz = random_quaternions(rng, 50)
    expected = Rotation.from_quat(wxyz[:, [1, 2, 3, 0]]).as_matrix()
    np.testing.assert_allclose(quaternion_to_rotation(wxyz), expected, atol=1e-14)


def test_a_quarter_turn_about_z_takes_x_to_y():
    rotation = quaternion_to_rotation([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
    np.testing.assert_allclose(rotation @ [1, 0, 0], [0, 1, 0], atol=1e-15)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=4, max_size=4).filter(any))
def test_rotation_to_quaternion_is_the_inverse(components):
    # Small integers reach the half turns, where one of the four branches divides by zero if it is chosen
    # wrongly.
    wxyz = np.array(components) / np.linalg.norm(components)
    back = rotation_to_quaternion(quaternion_to_rotation(wxyz))
    assert back[0] >= 0
    assert abs(back @ wxyz) == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(quaternion_to_rotation(back), quaternion_to_rotation(wxyz), atol=1e-12)


def test_rigid_rotates_first():
    sensor2ego = rigid([np.sqrt(0.5), 0, 0, np.sqrt(0.5)], [10, 0, 0])
    np.testing.assert_allclose(
        transform_points(sensor2ego, np.array([[1.0, 0, 0]])), [[10, 1, 0]], atol=1e-12
    )


def test_batches_equal_their_members(rng):
    wxyz, translation = random_quaternions(rng, 6).reshape(2, 3, 4), rng.normal(size=(2, 3, 3))
    batch = rigid(wxyz, translation)
    assert batch.shape == (2, 3, 4, 4)
    np.testing.assert_array_equal(batch[1, 2], rigid(wxyz[1, 2], translation[1, 2]))
    np.testing.assert_array_equal(invert_rigid(batch)[1, 2], invert_rigid(batch[1, 2]))


def test_inverse(rng):
    transform = rigid(random_quaternions(rng, 5), 1000 * rng.normal(size=(5, 3)))
    np.testing.assert_allclose(
        transform @ invert_rigid(transform), np.broadcast_to(np.eye(4), (5, 4, 4)), atol=1e-11
    )


def test_what_is_rigid_passes(rng):
    transform = rigid(random_quaternions(rng, 5), 1000 * rng.normal(size=(5, 3)))
    check_rigid(transform, "pose")
    check_rigid(transform.astype(np.float32), "pose stored as float32")
    check_rigid(np.zeros((0, 4, 4)), "no pose")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda t: 1.01 * t[:3, :3], "differs from the identity by 0.02"),
        (lambda t: t[:3, :3] @ np.diag([1, 1, -1]), "mirrors"),
        (lambda t: t[:3, :3] + [[0, 0.01, 0], [0, 0, 0], [0, 0, 0]], "differs from the identity"),
        (lambda t: np.full((3, 3), np.nan), "NaN"),
    ],
)
def test_what_is_not_rigid_is_named(rng, spoil, words):
    transform = rigid(random_quaternions(rng, 1)[0], [1, 2, 3])
    transform[:3, :3] = spoil(transform)
    with pytest.raises(ValueError, match=f"lidar2cam of CAM_BACK.*{words}"):
        check_rigid(np.stack([np.eye(4), transform]), "lidar2cam of CAM_BACK")


def test_a_transposed_transform_is_named():
    with pytest.raises(ValueError, match="is it transposed"):
        check_rigid(rigid([1, 0, 0, 0], [1, 2, 3]).T, "pose")
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        check_rigid(np.eye(4)[:3], "pose")


@pytest.mark.parametrize("wxyz", [[0, 0, 0, 0], [2, 0, 0, 0], [np.nan, 0, 0, 1], [1, 0, 0]])
def test_bad_quaternions(wxyz):
    with pytest.raises(ValueError, match="quaternion"):
        quaternion_to_rotation(wxyz)


def test_wrong_shapes():
    with pytest.raises(ValueError, match="translation"):
        rigid([1, 0, 0, 0], [1, 2])
    with pytest.raises(ValueError, match=r"\(N, 3\)"):
        transform_points(np.eye(4), np.zeros((5, 4)))
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        rotation_to_quaternion(np.eye(4))
