"""Triangle meshes, and grids of points made into them.

A mesh is a triangle soup: shading is two-sided, so the winding of a triangle does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Mesh:
    """Triangles with everything that shading needs.

    Attributes:
        corners: (F, 3, 3) float32 metres.
        normals: (F, 3, 3) float32 unit shading normal of each corner.
        uv: (F, 3, 2) float32 texture coordinates in metres along the surface.
        material: (F,) int32 row of the material book.
    """

    corners: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    material: np.ndarray

    @property
    def num_faces(self) -> int:
        return len(self.material)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest corner, (3,) each."""
        return self._bounds

    @cached_property
    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        x, y, z = self.corners.reshape(-1, 3).T.copy()
        return np.array([x.min(), y.min(), z.min()]), np.array([x.max(), y.max(), z.max()])

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> Mesh:
        """Turned by `yaw` radians about z, then shifted."""
        return self.transformed(rotation_z(yaw), (x, y, z))

    def transformed(self, linear: np.ndarray, shift: ArrayLike = (0.0, 0.0, 0.0)) -> Mesh:
        """Points become `linear @ p + shift`; `linear` may scale, (3, 3)."""
        corners, normals = np.empty_like(self.corners), np.empty_like(self.normals)
        _transform(
            self.corners, self.normals, np.asarray(linear, dtype=np.float64), np.linalg.inv(linear),
            np.asarray(shift, dtype=np.float64), corners, normals,
        )  # fmt: skip
        return Mesh(corners, normals, self.uv, self.material)


@njit(cache=True, nogil=True)
def _transform(
    corners: np.ndarray,
    normals: np.ndarray,
    linear: np.ndarray,
    inverse: np.ndarray,
    shift: np.ndarray,
    new_corners: np.ndarray,
    new_normals: np.ndarray,
) -> None:
    """Writes moved corners, and normals turned by the inverse transpose and made unit again."""
    for i in range(len(corners)):
        for c in range(3):
            x, y, z = corners[i, c, 0], corners[i, c, 1], corners[i, c, 2]
            nx, ny, nz = normals[i, c, 0], normals[i, c, 1], normals[i, c, 2]
            total = 1e-24
            for k in range(3):
                new_corners[i, c, k] = linear[k, 0] * x + linear[k, 1] * y + linear[k, 2] * z + shift[k]
                turned = nx * inverse[0, k] + ny * inverse[1, k] + nz * inverse[2, k]
                new_normals[i, c, k] = turned
                total += turned * turned
            for k in range(3):
                new_normals[i, c, k] /= np.sqrt(total)


def join(meshes: Sequence[Mesh]) -> Mesh:
    """All triangles of several meshes as one mesh."""
    return Mesh(
        np.concatenate([m.corners for m in meshes]),
        np.concatenate([m.normals for m in meshes]),
        np.concatenate([m.uv for m in meshes]),
        np.concatenate([m.material for m in meshes]),
    )


_NOTHING = np.empty(0, dtype=np.int64)
_NO_UV = np.empty((0, 0, 2))


def rotation_z(yaw: float) -> np.ndarray:
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def rotation_y(pitch: float) -> np.ndarray:
    c, s = np.cos(pitch), np.sin(pitch)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def rotation_x(roll: float) -> np.ndarray:
    c, s = np.cos(roll), np.sin(roll)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


@njit(cache=True, nogil=True)
def _corner_normals(
    corners: np.ndarray,
    least_cosine: float,
    key: np.ndarray,
    order: np.ndarray,
    normals: np.ndarray,
    keep: np.ndarray,
) -> None:
    """Writes unit corner normals (F, 3, 3), averaged by area over neighbours bent by less than the crease.

    Corners of one place have the same `key`, (3 F,) int64, and `order` sorts it; both are empty where all
    faces stay flat. `keep` (F,) bool is False for triangles without area, whose normals mean nothing.
    """
    faces = len(corners)
    flat = np.empty((faces, 3))
    size = np.empty(faces)
    for i in range(faces):
        ax, ay, az = (
            corners[i, 1, 0] - corners[i, 0, 0],
            corners[i, 1, 1] - corners[i, 0, 1],
            corners[i, 1, 2] - corners[i, 0, 2],
        )
        bx, by, bz = (
            corners[i, 2, 0] - corners[i, 0, 0],
            corners[i, 2, 1] - corners[i, 0, 1],
            corners[i, 2, 2] - corners[i, 0, 2],
        )
        x, y, z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        length = np.sqrt(x * x + y * y + z * z)
        keep[i] = length > 1e-9
        size[i] = length
        length = max(length, 1e-20)
        flat[i, 0], flat[i, 1], flat[i, 2] = x / length, y / length, z / length
        for c in range(3):
            for k in range(3):
                normals[i, c, k] = flat[i, k]
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and key[order[end]] == key[order[start]]:
            end += 1
        for m in range(start, end):
            i, c = order[m] // 3, order[m] % 3
            x, y, z = 0.0, 0.0, 0.0
            for n in range(start, end):
                j = order[n] // 3
                dot = flat[i, 0] * flat[j, 0] + flat[i, 1] * flat[j, 1] + flat[i, 2] * flat[j, 2]
                if dot > least_cosine:
                    x += size[j] * flat[j, 0]
                    y += size[j] * flat[j, 1]
                    z += size[j] * flat[j, 2]
            length = np.sqrt(x * x + y * y + z * z)
            if length > 1e-12:
                normals[i, c, 0], normals[i, c, 1], normals[i, c, 2] = x / length, y / length, z / length
        start = end


def triangles(
    corners: np.ndarray, uv: np.ndarray, material: int | np.ndarray, crease_deg: float = 0.0
) -> Mesh:
    """A mesh from (F, 3, 3) corners; triangles without area are left out."""
    corners = np.ascontiguousarray(corners, dtype=np.float64)
    rows = np.empty(len(corners), dtype=np.int32)
    rows[:] = material
    normals = np.empty_like(corners)
    keep = np.empty(len(corners), dtype=np.bool_)
    key = order = _NOTHING
    if crease_deg > 0:
        place = np.round(corners.reshape(-1, 3) * 1e4).astype(np.int64)
        key = (place[:, 0] * 73856093) ^ (place[:, 1] * 19349663) ^ (place[:, 2] * 83492791)
        order = np.argsort(key, kind="stable")
    _corner_normals(corners, np.cos(np.radians(crease_deg)), key, order, normals, keep)
    if not keep.all():
        corners, normals, uv, rows = corners[keep], normals[keep], uv[keep], rows[keep]
    return Mesh(corners.astype(np.float32), normals.astype(np.float32), uv.astype(np.float32), rows)


def grid(
    points: np.ndarray,
    material: int | np.ndarray,
    *,
    uv: np.ndarray | None = None,
    crease_deg: float = 35.0,
    close: bool = False,
) -> Mesh:
    """Quads between neighbours of a grid of points.

    Args:
        points: (S, P, 3) metres.
        material: one number, or (S - 1, Q) one a quad.
        uv: (S, P, or P + 1 where closed, 2) metres; arc lengths where absent.
        crease_deg: see `crease_normals`.
        close: join the last column to the first.
    """
    points = np.ascontiguousarray(points, dtype=np.float64)
    rows, columns = points.shape[0] - 1, points.shape[1] - (0 if close else 1)
    given = np.ascontiguousarray(_NO_UV if uv is None else uv, dtype=np.float64)
    corners, spread = np.empty((2 * rows * columns, 3, 3)), np.empty((2 * rows * columns, 3, 2))
    _grid_triangles(points, given, columns, corners, spread)
    per_quad = np.empty((rows, columns), dtype=np.int32)
    per_quad[:] = material
    return triangles(corners, spread, np.repeat(per_quad.reshape(-1), 2), crease_deg)


@njit(cache=True, nogil=True)
def _grid_triangles(
    points: np.ndarray, uv: np.ndarray, columns: int, corners: np.ndarray, spread: np.ndarray
) -> None:
    """Writes two triangles for each quad of a grid; `uv` without rows stands for arc lengths."""
    count = points.shape[1]
    if uv.shape[0] == 0:
        uv = np.empty((points.shape[0], columns + 1, 2))
        along = 0.0
        for i in range(points.shape[0]):
            if i > 0:
                mean = 0.0
                for j in range(count):
                    mean += np.sqrt(((points[i, j] - points[i - 1, j]) ** 2).sum())
                along += mean / count
            around = 0.0
            for j in range(columns + 1):
                if j > 0:
                    around += np.sqrt(((points[i, j % count] - points[i, j - 1]) ** 2).sum())
                uv[i, j, 0], uv[i, j, 1] = around, along
    n = 0
    for i in range(points.shape[0] - 1):
        for j in range(columns):
            a, b = j, (j + 1) % count
            for k in range(3):
                corners[n, 0, k] = corners[n + 1, 0, k] = points[i, a, k]
                corners[n, 1, k] = points[i, b, k]
                corners[n, 2, k] = corners[n + 1, 1, k] = points[i + 1, b, k]
                corners[n + 1, 2, k] = points[i + 1, a, k]
            for k in range(2):
                spread[n, 0, k] = spread[n + 1, 0, k] = uv[i, j, k]
                spread[n, 1, k] = uv[i, j + 1, k]
                spread[n, 2, k] = spread[n + 1, 1, k] = uv[i + 1, j + 1, k]
                spread[n + 1, 2, k] = uv[i + 1, j, k]
            n += 2
