"""Numba kernel of `slic`: convert an image to smoothed Lab planes, in one pass over its rows."""

from __future__ import annotations

import numpy as np
from numba import njit

F = np.float32

# sRGB (IEC 61966-2-1) primaries to XYZ under D65 / 2 degrees, each row divided by the white point.
_TO_XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
) / np.array([[0.95047], [1.0], [1.08883]])
_XR, _XG, _XB, _YR, _YG, _YB, _ZR, _ZG, _ZB = (F(value) for value in _TO_XYZ.ravel())
# CIE Lab: below the first number a line replaces the cube root.
_KNEE, _SLOPE, _OFFSET = F(0.008856), F(7.787), F(16.0 / 116.0)

_CODES = np.arange(256) / 255.0
LINEAR = np.where(_CODES > 0.04045, ((_CODES + 0.055) / 1.055) ** 2.4, _CODES / 12.92).astype(F)
"""(256,) float32: the linear intensity of each 8-bit sRGB code."""

TAPS = 6  # pairs of rows or columns that one loop adds up


def gaussian_weights(sigma: float, truncate: float = 4.0) -> np.ndarray:
    """Return the centre and one side of a Gaussian that sums to 1.

    Args:
        sigma: standard deviation, pixels; 0 gives the centre alone.
        truncate: radius of the Gaussian in standard deviations (SciPy's default).

    Returns:
        (1 + n,) float32: the weights at distance 0, 1, ...; zeros at the end make n a multiple of `TAPS`.
    """
    radius = int(truncate * sigma + 0.5)
    side = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2) if radius else np.ones(1)
    side /= side[0] + 2 * side[1:].sum()
    padded = np.zeros(1 + -(-radius // TAPS) * TAPS, F)
    padded[: radius + 1] = side
    return padded


@njit(cache=True, nogil=True)
def smooth_lab(
    image: np.ndarray, linear: np.ndarray, weights: np.ndarray, scale: np.float32, planes: np.ndarray
) -> None:
    """Convert an image to Lab and smooth it.

    The Gaussian runs first down the columns, then along the rows; the borders are mirrored. A ring buffer
    keeps only the Lab rows under the Gaussian.

    Args:
        image: (H, W, 3) uint8, RGB.
        linear: `LINEAR`.
        weights: `gaussian_weights`.
        scale: factor that multiplies L, a and b.
        planes: (3, H, W) float32, filled.
    """
    height, width, _ = image.shape
    reach = weights.shape[0] - 1
    size = 2 * reach + 1
    ring = np.empty((size, 3 * width), F)
    column = np.empty(3 * width, F)
    padded = np.empty(width + 2 * reach, F)
    done = 0
    for row in range(height):
        while done < min(height, row + reach + 1):
            _lab_row(image[done], linear, scale, ring[done % size])
            done += 1
        centre = ring[row % size]
        for place in range(3 * width):
            column[place] = weights[0] * centre[place]
        for first in range(1, reach + 1, TAPS):
            _add_pairs(ring, row, first, height, weights, column)
        for channel in range(3):
            line = column[channel * width : (channel + 1) * width]
            for place in range(width):
                padded[reach + place] = line[place]
            for place in range(reach):
                padded[place] = line[mirrored(place - reach, width)]
                padded[reach + width + place] = line[mirrored(width + place, width)]
            _along(padded, weights, planes[channel, row])


@njit(cache=True, nogil=True)
def mirrored(place: int, size: int) -> int:
    """Return the place in 0..size - 1 of a place beyond a mirrored border that repeats the border pixel."""
    if 0 <= place < size:
        return place
    place %= 2 * size
    return place if place < size else 2 * size - 1 - place


@njit(cache=True, nogil=True, error_model="numpy")
def _cube_root(value: np.float32) -> np.float32:
    """Return the cube root of 0.0088..1.1 to 1e-7: a rational guess within 6.4 % and two Halley steps."""
    guess = (F(0.04552) + F(1.139154) * value) / (F(0.2437885) + value)
    for _ in range(2):
        cube = guess * guess * guess
        guess = guess * (cube + value + value) / (cube + cube + value)
    return guess


@njit(cache=True, nogil=True, error_model="numpy")
def _bend(value: np.float32) -> np.float32:
    root = _cube_root(
        value if value > _KNEE else _KNEE
    )  # computed for every value, so that the loop has no branch
    return root if value > _KNEE else _SLOPE * value + _OFFSET


@njit(cache=True, nogil=True, error_model="numpy")
def _lab_row(pixels: np.ndarray, linear: np.ndarray, scale: np.float32, lab: np.ndarray) -> None:
    """Convert (W, 3) uint8 to (3 * W,) float32: first all L, then all a, then all b."""
    width = pixels.shape[0]
    red, green, blue = lab[:width], lab[width : 2 * width], lab[2 * width :]
    for col in range(width):
        red[col] = linear[pixels[col, 0]]
        green[col] = linear[pixels[col, 1]]
        blue[col] = linear[pixels[col, 2]]
    for col in range(width):
        r, g, b = lab[col], lab[col + width], lab[col + 2 * width]
        x = _bend(_XR * r + _XG * g + _XB * b)
        y = _bend(_YR * r + _YG * g + _YB * b)
        z = _bend(_ZR * r + _ZG * g + _ZB * b)
        lab[col] = scale * (F(116.0) * y - F(16.0))
        lab[col + width] = scale * (F(500.0) * (x - y))
        lab[col + 2 * width] = scale * (F(200.0) * (y - z))


@njit(cache=True, nogil=True)
def _add_pairs(
    ring: np.ndarray, row: int, first: int, height: int, weights: np.ndarray, out: np.ndarray
) -> None:
    """Add the weighted `TAPS` rows above and below, from distance `first` on, to `out`."""
    a0, b0 = _pair(ring, row, first, height)
    a1, b1 = _pair(ring, row, first + 1, height)
    a2, b2 = _pair(ring, row, first + 2, height)
    a3, b3 = _pair(ring, row, first + 3, height)
    a4, b4 = _pair(ring, row, first + 4, height)
    a5, b5 = _pair(ring, row, first + 5, height)
    w0, w1, w2 = weights[first], weights[first + 1], weights[first + 2]
    w3, w4, w5 = weights[first + 3], weights[first + 4], weights[first + 5]
    for place in range(out.shape[0]):
        near = w0 * (a0[place] + b0[place]) + w1 * (a1[place] + b1[place]) + w2 * (a2[place] + b2[place])
        far = w3 * (a3[place] + b3[place]) + w4 * (a4[place] + b4[place]) + w5 * (a5[place] + b5[place])
        out[place] += near + far


@njit(cache=True, nogil=True)
def _pair(ring: np.ndarray, row: int, apart: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    size = ring.shape[0]
    return ring[mirrored(row - apart, height) % size], ring[mirrored(row + apart, height) % size]


@njit(cache=True, nogil=True)
def _along(padded: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Apply the Gaussian along a row; `padded` has one more place on either side for each side weight."""
    reach = weights.shape[0] - 1
    for place in range(out.shape[0]):
        out[place] = weights[0] * padded[place + reach]
    for first in range(1, reach + 1, TAPS):
        w0, w1, w2 = weights[first], weights[first + 1], weights[first + 2]
        w3, w4, w5 = weights[first + 3], weights[first + 4], weights[first + 5]
        left = padded[reach - first - 5 :]
        right = padded[reach + first :]
        for place in range(out.shape[0]):
            near = (
                w0 * (left[place + 5] + right[place])
                + w1 * (left[place + 4] + right[place + 1])
                + w2 * (left[place + 3] + right[place + 2])
            )
            far = (
                w3 * (left[place + 2] + right[place + 3])
                + w4 * (left[place + 1] + right[place + 4])
                + w5 * (left[place] + right[place + 5])
            )
            out[place] += near + far
