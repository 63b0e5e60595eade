"""Triangle meshes and the few shapes that everything in the embedded world is made of.

A mesh is a triangle soup: shading is two-sided, so the winding of a triangle does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

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
_BOX_POINTS = 0.5 * np.array(
    [[-1, -1, -1], [1, -1, -1], [1, 1, -1], [-1, 1, -1], [-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]]
)
_BOX_QUADS = np.array([[0, 1, 5, 4], [2, 3, 7, 6], [1, 2, 6, 5], [3, 0, 4, 7], [4, 5, 6, 7], [0, 1, 2, 3]])
_QUAD_SPLIT = np.array([[0, 1, 2], [0, 2, 3]])
_QUAD_UV = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


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


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`np.cross` of (..., 3) without its overhead, which counts for thousands of small meshes."""
    return np.stack(
        [
            a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1],
            a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2],
            a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0],
        ],
        axis=-1,
    )


def polygon(points: ArrayLike, material: int) -> Mesh:
    """A flat convex polygon as a fan around its centre, (P, 3) metres; u runs along its first side."""
    points = np.asarray(points, dtype=np.float64)
    centre = points.sum(axis=0) / len(points)
    spoke = points - centre
    following = np.concatenate([spoke[1:], spoke[:1]])
    normal = _cross(spoke, following).sum(axis=0)
    axes = np.stack([following[0] - spoke[0], np.zeros(3)])
    axes[0] /= np.sqrt(axes[0] @ axes[0]) + 1e-12
    axes[1] = _cross(normal / (np.sqrt(normal @ normal) + 1e-12), axes[0])
    corners = np.empty((len(points), 3, 3))
    corners[:, 0], corners[:, 1], corners[:, 2] = spoke, following, 0.0
    return triangles(corners + centre, (corners - spoke[0]) @ axes.T, material)


def quad(points: ArrayLike, material: int, size: tuple[float, float] | None = None) -> Mesh:
    """Four corners, counter-clockwise from (u, v) = (0, 0); `size` replaces the lengths of its sides."""
    p = np.asarray(points, dtype=np.float64)
    if size is None:
        size = (float(np.linalg.norm(p[1] - p[0])), float(np.linalg.norm(p[3] - p[0])))
    uv = _QUAD_UV * size
    return triangles(p[_QUAD_SPLIT], uv[_QUAD_SPLIT], material)


def box(
    size: ArrayLike,
    centre: ArrayLike,
    material: int,
    *,
    top: int | None = None,
    ends: int | None = None,
    yaw: float = 0.0,
    taper: float = 1.0,
) -> Mesh:
    """A box; `top` and `ends` (the two faces across x) may be of another material.

    `taper` scales the top face.
    """
    corners, uv = np.empty((12, 3, 3)), np.empty((12, 3, 2))
    place = np.asarray(centre, dtype=np.float64)
    _box_triangles(np.asarray(size, dtype=np.float64), place, np.cos(yaw), np.sin(yaw), taper, corners, uv)
    rows = np.full(12, material, dtype=np.int32)
    if ends is not None:
        rows[4:8] = ends
    if top is not None:
        rows[8:10] = top
    return triangles(corners, uv, rows)


@njit(cache=True, nogil=True)
def _box_triangles(
    size: np.ndarray,
    centre: np.ndarray,
    cosine: float,
    sine: float,
    taper: float,
    corners: np.ndarray,
    uv: np.ndarray,
) -> None:
    """Writes the 12 triangles of a box: two flanks, two ends across x, top and bottom."""
    n = 0
    for q in range(6):
        wide = size[1] if q == 2 or q == 3 else size[0]
        high = size[1] if q >= 4 else size[2]
        for half in range(2):
            for c in range(3):
                corner = _QUAD_SPLIT[half, c]
                point = _BOX_QUADS[q, corner]
                scale = taper if point >= 4 else 1.0
                x = _BOX_POINTS[point, 0] * size[0] * scale
                y = _BOX_POINTS[point, 1] * size[1] * scale
                corners[n, c, 0] = cosine * x - sine * y + centre[0]
                corners[n, c, 1] = sine * x + cosine * y + centre[1]
                corners[n, c, 2] = _BOX_POINTS[point, 2] * size[2] + centre[2]
                uv[n, c, 0] = _QUAD_UV[corner, 0] * wide
                uv[n, c, 1] = _QUAD_UV[corner, 1] * high
            n += 1


def revolve(profile: ArrayLike, material: int, segments: int = 12, crease_deg: float = 40.0) -> Mesh:
    """A surface of revolution about z from (radius, z) pairs."""
    radius, z = np.asarray(profile, dtype=np.float64).T
    points = np.empty((len(z), segments, 3))
    points[..., :2] = radius[:, None, None] * _circle(segments)
    points[..., 2] = z[:, None]
    return grid(points, material, close=True, crease_deg=crease_deg)


def cylinder(radius: float, height: float, material: int, *, segments: int = 12) -> Mesh:
    """Upright, standing on z = 0, with both ends closed."""
    rings = np.zeros((2, segments, 3))
    rings[..., :2] = radius * _circle(segments)
    rings[1, :, 2] = height
    return _capped(rings, material, 35.0)


@lru_cache(maxsize=64)
def _circle(segments: int) -> np.ndarray:
    """(segments, 2) points of the unit circle; not to be written to."""
    angle = np.linspace(0.0, 2 * np.pi, segments, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def tube(path: ArrayLike, radius: ArrayLike, material: int, segments: int = 7) -> Mesh:
    """A round rod along (K, 3) points, with closed ends."""
    points = np.asarray(path, dtype=np.float64)
    radii = np.empty(len(points))
    radii[:] = radius
    rings = np.empty((len(points), segments, 3))
    _tube_rings(points, radii, _circle(segments), rings)
    return _capped(rings, material, 75.0)


@njit(cache=True, nogil=True)
def _tube_rings(points: np.ndarray, radii: np.ndarray, circle: np.ndarray, rings: np.ndarray) -> None:
    """Writes rings across a path, all turned towards the axis along which the path extends least."""
    last = len(points) - 1
    least = 0
    for k in range(1, 3):
        if (
            abs(points[last, k] - points[0, k]) + 1e-3 * k
            < abs(points[last, least] - points[0, least]) + 1e-3 * least
        ):
            least = k
    helper, tangent = np.zeros(3), np.empty(3)
    helper[least] = 1.0
    for i in range(last + 1):
        before, after = max(i - 1, 0), min(i + 1, last)
        for k in range(3):
            tangent[k] = points[after, k] - points[before, k]
        tangent /= np.sqrt((tangent * tangent).sum()) + 1e-12
        side = np.cross(tangent, helper)
        side /= np.sqrt((side * side).sum()) + 1e-12
        up = np.cross(side, tangent)
        for j in range(len(circle)):
            for k in range(3):
                rings[i, j, k] = points[i, k] + radii[i] * (circle[j, 0] * side[k] + circle[j, 1] * up[k])


def _capped(rings: np.ndarray, material: int, crease_deg: float) -> Mesh:
    """A closed surface through rings (S, P, 3), with fans at both ends."""
    closed = np.empty((len(rings) + 2, *rings.shape[1:]))
    closed[1:-1] = rings
    closed[0] = rings[0].sum(axis=0) / rings.shape[1]
    closed[-1] = rings[-1].sum(axis=0) / rings.shape[1]
    return grid(closed, material, close=True, crease_deg=crease_deg)


def ellipsoid(radii: ArrayLike, centre: ArrayLike, material: int, segments: int = 10, rings: int = 6) -> Mesh:
    """A smooth ball with three radii."""
    angle = np.linspace(-0.5 * np.pi, 0.5 * np.pi, rings + 1)
    profile = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    ball = revolve(profile, material, segments, crease_deg=80)
    return ball.transformed(np.diag(np.asarray(radii, dtype=np.float64)), centre)


def torus(radius: float, thickness: float, material: int, segments: int = 18, ring: int = 6) -> Mesh:
    """A tyre-like ring that stands upright in the x-z plane."""
    a = np.linspace(0.0, 2 * np.pi, segments + 1)
    b = np.linspace(0.0, 2 * np.pi, ring, endpoint=False)
    r = radius + thickness * np.cos(b)[None]
    points = np.stack(
        [
            r * np.cos(a)[:, None],
            np.broadcast_to(thickness * np.sin(b)[None], (segments + 1, ring)),
            r * np.sin(a)[:, None],
        ],
        axis=2,
    )
    return grid(points, material, close=True, crease_deg=80)


def extrude(outline: ArrayLike, y0: float, y1: float, material: int, crease_deg: float = 25.0) -> Mesh:
    """An outline in the x-z plane, star-shaped about its centre, pulled along y from y0 to y1."""
    flat = np.asarray(outline, dtype=np.float64)
    ring = np.stack([flat[:, 0], np.full(len(flat), y0), flat[:, 1]], axis=1)
    other = ring + np.array([0.0, y1 - y0, 0.0])
    return _capped(np.stack([ring, other]), material, crease_deg)
