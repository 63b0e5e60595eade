"""OpenCV's lens model, and the disc within which it can be trusted.

A distortion polynomial is fitted inside the image. Far outside, it turns round and throws points that no lens
could see back into the picture. Every projection here stops at the radius where that begins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

NUM_COEFFICIENTS = 8
_LENGTHS = (4, 5, 8)
# 89.9 degrees off the axis: beyond, X / Z means nothing, and a fisheye model would be needed.
_MAX_RADIUS = 600.0


def lens_coefficients(distortion: ArrayLike, num_views: int) -> np.ndarray:
    """Distortion coefficients in one form.

    Args:
        distortion: (V, D) or, for all views alike, (D,), in OpenCV's order k1 k2 p1 p2 [k3 [k4 k5 k6]].
        num_views: V.

    Returns:
        (V, 8) float64, absent coefficients zero.

    Raises:
        ValueError: D is not 4, 5 or 8, not V rows, or a coefficient is not finite.
    """
    given = np.asarray(distortion, dtype=np.float64)
    if given.ndim == 1:
        given = np.broadcast_to(given, (num_views, given.size))
    if given.ndim != 2 or given.shape[0] != num_views or given.shape[1] not in _LENGTHS:
        raise ValueError(
            f"distortion: expected ({num_views}, D) with D in {_LENGTHS} as k1 k2 p1 p2 [k3 [k4 k5 k6]], "
            f"got shape {np.shape(distortion)}"
        )
    if not np.all(np.isfinite(given)):
        raise ValueError(f"distortion: expected finite coefficients, got {given.tolist()}")
    coefficients = np.zeros((num_views, NUM_COEFFICIENTS))
    coefficients[:, : given.shape[1]] = given
    return coefficients


def distort(x, y, k):  # type: ignore[no-untyped-def]
    """Distort a ray. Both implementations use this formula: numpy on arrays, numba on numbers.

    Args:
        x: X / Z of the ray in the camera frame.
        y: Y / Z of the ray.
        k: (8,) k1 k2 p1 p2 k3 k4 k5 k6.

    Returns:
        The distorted x and y, still without unit.

    Source: OpenCV's documentation of `calib3d`, rational and tangential terms.
    """
    s = x * x + y * y
    radial = (1.0 + s * (k[0] + s * (k[1] + s * k[4]))) / (1.0 + s * (k[5] + s * (k[6] + s * k[7])))
    distorted_x = x * radial + (2.0 * k[2] * x * y + k[3] * (s + 2.0 * x * x))
    distorted_y = y * radial + (k[2] * (s + 2.0 * y * y) + 2.0 * k[3] * x * y)
    return distorted_x, distorted_y


def injective_radius(k: np.ndarray) -> float:
    """The largest radius sqrt(x^2 + y^2) below which no two rays share a pixel.

    The Jacobian of `distort` is symmetric. With the radial factor g(r), its eigenvalues are at least
    min(g, (r g)') - 6 |p| r, where |p| is the length of (p1, p2) and the last term is exact in the worst
    direction. A map of a disc whose Jacobian is symmetric and positive definite is one-to-one, so the radius
    is the first at which one of these two bounds, or the denominator of g, reaches zero.

    Args:
        k: (8,) k1 k2 p1 p2 k3 k4 k5 k6.

    Returns:
        The radius, at most 600 (89.9 degrees off the axis), where X / Z stops to mean anything.
    """
    numerator = _even(1.0, k[0], k[1], k[4])
    denominator = _even(1.0, k[5], k[6], k[7])
    r = np.poly1d([1.0, 0.0])
    tangential = 6.0 * float(np.hypot(k[2], k[3])) * r
    slope = (r * numerator).deriv() * denominator - r * numerator * denominator.deriv()
    return min(
        _MAX_RADIUS,
        _first_positive_root(denominator),
        _first_positive_root(numerator - tangential * denominator),
        _first_positive_root(slope - tangential * denominator * denominator),
    )


def _even(c0: float, c2: float, c4: float, c6: float) -> np.poly1d:
    return np.poly1d([c6, 0.0, c4, 0.0, c2, 0.0, c0])


def _first_positive_root(polynomial: np.poly1d) -> float:
    roots = polynomial.roots
    # Where a polynomial only touches zero, rounding splits the root into a pair with small imaginary parts.
    real = roots.real[np.abs(roots.imag) <= 1e-6 * np.abs(roots)]
    return float(real[real > 0].min(initial=np.inf))
