"""Pattern of matter."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SIZE = 256


LEVELS = 9


CHANNELS = 5
"""Brightness (128 is 1.0), share of colour B, share of colour C, tilt along u, tilt along v (128 is 0)."""


class Pattern(NamedTuple):
    """(SIZE, SIZE) float arrays, row = v upwards: brightness about 1, share of B, share of C, height."""

    light: np.ndarray
    b: np.ndarray
    c: np.ndarray
    height: np.ndarray


def noise(rng: np.random.Generator, beta: float, low: int = 1, size: int = SIZE) -> np.ndarray:
    """Tiling noise of spectrum 1 / f**beta with zero mean and unit deviation; `low` cuts waves longer than
    that.
    """
    f = np.fft.fftfreq(size, 1.0 / size)
    radius = np.hypot(f[:, None], f[None, :])
    spectrum = np.where(radius >= low, 1.0 / np.maximum(radius, 1.0) ** beta, 0.0)
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) * spectrum).real
    return (field - field.mean()) / field.std()


def cells(
    rng: np.random.Generator, count: int, stretch: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tiling Voronoi cells: nearest distance, difference to the second nearest, number of the cell."""
    centre = rng.random((count, 2)) * SIZE
    axis = np.arange(SIZE)
    best = np.full((SIZE, SIZE), 1e9)
    second = np.full((SIZE, SIZE), 1e9)
    index = np.zeros((SIZE, SIZE), dtype=np.int64)
    for k, (cu, cv) in enumerate(centre):
        du = np.abs(axis - cu)
        dv = np.abs(axis - cv)
        du, dv = np.minimum(du, SIZE - du), np.minimum(dv, SIZE - dv) * stretch
        d = np.hypot(du[None, :], dv[:, None])
        nearer = d < best
        second = np.where(nearer, best, np.minimum(second, d))
        index = np.where(nearer, k, index)
        best = np.where(nearer, d, best)
    return best, second - best, index


def _uv() -> tuple[np.ndarray, np.ndarray]:
    axis = (np.arange(SIZE) + 0.5) / SIZE
    return np.broadcast_to(axis[None, :], (SIZE, SIZE)), np.broadcast_to(axis[:, None], (SIZE, SIZE))


def _step(x: np.ndarray, lo: float, hi: float) -> np.ndarray:
    """Smooth step from 0 at lo to 1 at hi."""
    t = np.clip((x - lo) / (hi - lo), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def _inside(
    u: np.ndarray, v: np.ndarray, u0: float, u1: float, v0: float, v1: float, soft: float = 0.006
) -> np.ndarray:
    """1 inside a rectangle, falling to 0 over `soft`."""
    return (
        _step(u, u0 - soft, u0 + soft)
        * _step(-u, -u1 - soft, -u1 + soft)
        * _step(v, v0 - soft, v0 + soft)
        * _step(-v, -v1 - soft, -v1 + soft)
    )


def _zero() -> np.ndarray:
    return np.zeros((SIZE, SIZE))


def _rows(
    rng: np.random.Generator, columns: int, rows: int, joint: float, shift: float
) -> tuple[np.ndarray, np.ndarray]:
    """A bond of blocks: (distance to the joint reaching 1 in a block, a random number per block)."""
    u, v = _uv()
    row = np.floor(v * rows).astype(int)
    uu = u * columns + shift * (row % 2)
    column = np.floor(uu).astype(int) % columns
    edge_u = np.minimum(uu % 1.0, 1 - uu % 1.0) / columns
    edge_v = np.minimum((v * rows) % 1.0, 1 - (v * rows) % 1.0) / rows
    face = _step(np.minimum(edge_u, edge_v), joint * 0.5, joint)
    return face, rng.random((rows, columns))[row, column]


def plain(rng: np.random.Generator) -> Pattern:
    n = noise(rng, 1.2)
    return Pattern(1 + 0.025 * n, _zero(), _zero(), 0.1 * n)
