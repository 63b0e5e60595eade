"""Kernels over whole pictures: smoothing of traced openness, edges worth more rays, and the film."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def smooth_openness(
    raw: np.ndarray, depth: np.ndarray, normals: np.ndarray, reach: int, out: np.ndarray
) -> None:
    """Averages openness over 2 reach x 2 reach neighbours on the same surface, (h, w) and (h, w, 3) normals.

    With reach 2 the window holds each of the 4 x 4 directions of the fan once, so that no pattern stays.
    """
    rows, columns = raw.shape
    for i in range(rows):
        for j in range(columns):
            if depth[i, j] >= 399.0:
                out[i, j] = 1.0
                continue
            total, weight = 0.0, 0.0
            for a in range(max(0, i - reach), min(rows, i + reach)):
                for b in range(max(0, j - reach), min(columns, j + reach)):
                    if abs(depth[a, b] - depth[i, j]) > 0.06 * depth[i, j]:
                        continue
                    same = (
                        normals[a, b, 0] * normals[i, j, 0]
                        + normals[a, b, 1] * normals[i, j, 1]
                        + normals[a, b, 2] * normals[i, j, 2]
                    )
                    if same < 0.85:
                        continue
                    total += raw[a, b]
                    weight += 1.0
            out[i, j] = total / weight if weight > 0 else raw[i, j]


@njit(cache=True, nogil=True, error_model="numpy")
def find_edges(
    key: np.ndarray,
    distance: np.ndarray,
    lit: np.ndarray,
    normals: np.ndarray,
    linear: np.ndarray,
    least: float,
    out: np.ndarray,
) -> None:
    """Marks pixels whose right or lower neighbour shows another surface or shadow in another colour.

    Args:
        key: (h, w) int32 number of the material, -1 for sky, less for foliage, which has no edges of its own.
        distance, lit: (h, w) float32.
        normals: (h, w, 3) float32.
        linear: (h, w, 3) float32 light.
        least: smallest relative difference of light that counts.
        out: (h, w) bool, written.
    """
    rows, columns = key.shape
    for i in range(rows):
        for j in range(columns):
            for k in range(2):
                a, b = (i, j + 1) if k == 0 else (i + 1, j)
                if a >= rows or b >= columns:
                    continue
                differs = key[i, j] != key[a, b] or lit[i, j] != lit[a, b]
                if not differs and key[i, j] >= 0:
                    tilt = (
                        normals[i, j, 0] * normals[a, b, 0]
                        + normals[i, j, 1] * normals[a, b, 1]
                        + normals[i, j, 2] * normals[a, b, 2]
                    )
                    near = min(distance[i, j], distance[a, b])
                    jump = abs(distance[i, j] - distance[a, b]) > 0.08 * near
                    differs = tilt < 0.7 or (jump and (tilt < 0.97 or normals[i, j, 2] < 0.5))
                if differs:
                    total, change = 0.0, 0.0
                    for c in range(3):
                        p, q = min(linear[i, j, c], 1.0), min(linear[a, b, c], 1.0)
                        total += p + q
                        change += abs(p - q)
                    if change > least * (0.5 * total + 0.06):
                        out[i, j] = True
                        out[a, b] = True


@njit(cache=True, nogil=True, error_model="numpy")
def develop(linear: np.ndarray, exposure: float, table: np.ndarray, out: np.ndarray) -> None:
    """Linear light to sRGB bytes through a look-up table over the square root of light / 8."""
    last = len(table) - 1
    for i in range(len(linear)):
        for k in range(3):
            x = linear[i, k] * exposure * 0.125
            x = min(max(x, 0.0), 1.0)
            out[i, k] = table[int(np.sqrt(x) * last + 0.5)]


def film_table(size: int = 4096) -> np.ndarray:
    """(size,) uint8: a film-like curve, then sRGB, for `develop`."""
    x = (np.arange(size) / (size - 1.0)) ** 2 * 8.0
    y = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)
    y = np.clip(y, 0.0, 1.0)
    srgb = np.where(y <= 0.0031308, 12.92 * y, 1.055 * np.maximum(y, 1e-9) ** (1 / 2.4) - 0.055)
    return np.round(np.clip(srgb, 0, 1) * 255).astype(np.uint8)
