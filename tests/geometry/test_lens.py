import numpy as np
import pytest

from lidardistill.geometry.lens import distort, injective_radius, lens_coefficients

BARREL = [-0.3728, 0.2037, 0.0022, 0.0014, -0.0723]  # a KITTI raw colour camera
PINCUSHION = [0.2, 0.05, -0.001, 0.002, 0.01]
RATIONAL = [0.6, 0.1, 0.001, -0.0005, 0.002, 0.95, 0.25, 0.01]
FOLDING = [-0.5, 0.0, 0.0, 0.0, 0.0]


def distorted(xy, k):
    return np.stack(distort(xy[:, 0], xy[:, 1], k), axis=1)


@pytest.mark.parametrize("coefficients", [BARREL[:4], BARREL, PINCUSHION, RATIONAL])
def test_distort_agrees_with_opencv(rng, coefficients):
    cv2 = pytest.importorskip("cv2")
    xy = rng.uniform(-0.9, 0.9, size=(200, 2))
    rays = np.column_stack([xy, np.ones(200)])
    expected, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), np.eye(3), np.array(coefficients))
    (k,) = lens_coefficients(coefficients, 1)
    np.testing.assert_allclose(distorted(xy, k), expected[:, 0], atol=1e-12)


@pytest.mark.parametrize("coefficients", [BARREL, PINCUSHION, RATIONAL, FOLDING, [-0.2, 0, 0.05, -0.03]])
def test_inside_the_radius_the_map_is_one_to_one(rng, coefficients):
    (k,) = lens_coefficients(coefficients, 1)
    radius = min(injective_radius(k), 3.0) * (1 - 1e-6)
    angle = rng.uniform(0, 2 * np.pi, 5000)
    xy = (radius * np.sqrt(rng.uniform(0, 1, 5000)) * [np.cos(angle), np.sin(angle)]).T
    step = 1e-6
    dx, dy = step * np.eye(2)
    d_dx = (distorted(xy + dx, k) - distorted(xy - dx, k)) / (2 * step)
    d_dy = (distorted(xy + dy, k) - distorted(xy - dy, k)) / (2 * step)
    np.testing.assert_allclose(d_dx[:, 1], d_dy[:, 0], atol=1e-6)  # symmetric, as the bound supposes
    assert np.linalg.eigvalsh(np.stack([d_dx, d_dy], axis=1)).min() > -1e-6


def test_the_radius_is_where_the_fold_begins():
    (k,) = lens_coefficients(FOLDING, 1)
    radius = injective_radius(k)
    assert radius == pytest.approx(np.sqrt(1 / 1.5))  # d(r - 0.5 r^3)/dr = 0
    r = np.array([0.98, 1.0, 1.02]) * radius
    x, _ = distort(r, 0 * r, k)
    assert x[1] > x[0]
    assert x[1] > x[2]


def test_tangential_terms_shrink_the_radius():
    (k,) = lens_coefficients([0, 0, 0.03, 0.04], 1)
    radius = injective_radius(k)
    assert radius == pytest.approx(1 / (6 * 0.05))
    # The worst direction is opposite to (p2, p1), where the bound is exact.
    direction = -np.array([0.04, 0.03]) / 0.05
    along = np.outer(np.array([0.99, 1.0, 1.01]) * radius, direction)
    moved = distorted(along, k) @ direction
    assert moved[1] > max(moved[0], moved[2]) - 1e-12


def test_a_pincushion_folds_across_before_it_folds_along_the_ray():
    (k,) = lens_coefficients([0.01, 0, 0.03, 0.04], 1)
    # Across, 1 + 0.01 r^2 = 6 * 0.05 r; along, 1 + 0.03 r^2 = 0.3 r has no solution.
    assert injective_radius(k) == pytest.approx((0.3 - np.sqrt(0.05)) / 0.02)


def test_no_distortion_never_folds():
    assert injective_radius(np.zeros(8)) == 600.0


@pytest.mark.parametrize("bad", [[0.1], [0.1] * 6, np.zeros((3, 5)), [np.nan, 0, 0, 0], np.zeros((1, 1, 5))])
def test_bad_coefficients(bad):
    with pytest.raises(ValueError, match="distortion"):
        lens_coefficients(bad, 2)


def test_one_lens_for_all_views():
    np.testing.assert_array_equal(lens_coefficients(BARREL, 3), [[*BARREL, 0, 0, 0]] * 3)
