"""Triangle meshes and the few shapes that everything in the embedded world is made of.

A mesh is a triangle soup: shading is two-sided, so the winding of a triangle does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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
        points = self.corners.reshape(-1, 3)
        return points.min(axis=0), points.max(axis=0)

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> Mesh:
        """Turned by `yaw` radians about z, then shifted."""
        return self.transformed(rotation_z(yaw), (x, y, z))

    def transformed(self, linear: np.ndarray, shift: Sequence[float] = (0.0, 0.0, 0.0)) -> Mesh:
        """Points become `linear @ p + shift`; `linear` may scale, (3, 3)."""
        corners = self.corners @ linear.T + np.asarray(shift)
        normals = self.normals @ np.linalg.inv(linear)
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-12
        return Mesh(corners.astype(np.float32), normals.astype(np.float32), self.uv, self.material)


def join(meshes: Sequence[Mesh]) -> Mesh:
    """All triangles of several meshes as one mesh."""
    return Mesh(
        np.concatenate([m.corners for m in meshes]),
        np.concatenate([m.normals for m in meshes]),
        np.concatenate([m.uv for m in meshes]),
        np.concatenate([m.material for m in meshes]),
    )


def rotation_z(yaw: float) -> np.ndarray:
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def rotation_y(pitch: float) -> np.ndarray:
    c, s = np.cos(pitch), np.sin(pitch)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def rotation_x(roll: float) -> np.ndarray:
    c, s = np.cos(roll), np.sin(roll)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def face_normals(corners: np.ndarray) -> np.ndarray:
    """(F, 3) normals, as long as twice the triangle's area."""
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def crease_normals(corners: np.ndarray, crease_deg: float) -> np.ndarray:
    """Corner normals, averaged over neighbours that are bent by less than `crease_deg`.

    Args:
        corners: (F, 3, 3) metres.
        crease_deg: edges sharper than this stay sharp; 0 keeps every face flat.

    Returns:
        (F, 3, 3) float64 unit normals.
    """
    normals = face_normals(corners)
    unit = normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-20)
    flat = np.repeat(unit[:, None], 3, axis=1)
    if crease_deg <= 0:
        return flat
    keys = np.round(corners.reshape(-1, 3) * 1e4).astype(np.int64)
    key = (keys[:, 0] * 73856093) ^ (keys[:, 1] * 19349663) ^ (keys[:, 2] * 83492791)
    _, vertex = np.unique(key, return_inverse=True)
    order = np.argsort(vertex, kind="stable")
    count = np.bincount(vertex)
    slot = np.empty(len(vertex), dtype=np.int64)
    slot[order] = np.arange(len(vertex)) - np.repeat(np.cumsum(count) - count, count)
    face = np.arange(len(vertex)) // 3
    area = np.zeros((len(count), count.max(), 3))
    area[vertex, slot] = normals[face]
    direction = np.zeros_like(area)
    direction[vertex, slot] = unit[face]
    near = np.einsum("nk,nsk->ns", unit[face], direction[vertex]) > np.cos(np.radians(crease_deg))
    summed = np.einsum("ns,nsk->nk", near, area[vertex])
    length = np.linalg.norm(summed, axis=1, keepdims=True)
    smooth = np.where(length > 1e-12, summed / (length + 1e-20), unit[face])
    return smooth.reshape(-1, 3, 3)


def triangles(
    corners: np.ndarray, uv: np.ndarray, material: int | np.ndarray, crease_deg: float = 0.0
) -> Mesh:
    """A mesh from (F, 3, 3) corners; triangles without area are left out."""
    material = np.broadcast_to(np.asarray(material, dtype=np.int32), len(corners))
    keep = np.linalg.norm(face_normals(corners), axis=1) > 1e-9
    corners = np.asarray(corners)[keep]
    normals = crease_normals(corners, crease_deg)
    return Mesh(
        corners.astype(np.float32), normals.astype(np.float32), uv[keep].astype(np.float32), material[keep]
    )


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
        uv: (S, P or P + 1, 2) metres; arc lengths where absent.
        crease_deg: see `crease_normals`.
        close: join the last column to the first.
    """
    points = np.asarray(points, dtype=np.float64)
    if close:
        points = np.concatenate([points, points[:, :1]], axis=1)
    if uv is None:
        along = np.linalg.norm(np.diff(points, axis=0), axis=2).mean(axis=1)
        around = np.linalg.norm(np.diff(points, axis=1), axis=2)
        v = np.concatenate([[0.0], np.cumsum(along)])
        u = np.concatenate([np.zeros((len(points), 1)), np.cumsum(around, axis=1)], axis=1)
        uv = np.stack([u, np.broadcast_to(v[:, None], u.shape)], axis=-1)

    def split(values: np.ndarray) -> np.ndarray:
        a, b, c, d = values[:-1, :-1], values[:-1, 1:], values[1:, 1:], values[1:, :-1]
        quads = np.stack([np.stack([a, b, c], axis=2), np.stack([a, c, d], axis=2)], axis=2)
        return quads.reshape(-1, 3, values.shape[-1])

    rows, columns = points.shape[0] - 1, points.shape[1] - 1
    per_quad = np.broadcast_to(np.asarray(material, dtype=np.int32), (rows, columns))
    return triangles(split(points), split(uv), np.repeat(per_quad.reshape(-1), 2), crease_deg)


def polygon(points: np.ndarray, material: int, uv: np.ndarray | None = None) -> Mesh:
    """A flat convex polygon as a fan around its centre, (P, 3) metres."""
    points = np.asarray(points, dtype=np.float64)
    if uv is None:
        axis = points[1] - points[0]
        axis /= np.linalg.norm(axis) + 1e-12
        normal = np.cross(points - points.mean(axis=0), np.roll(points, -1, axis=0) - points.mean(axis=0))
        normal = normal.sum(axis=0)
        other = np.cross(normal / (np.linalg.norm(normal) + 1e-12), axis)
        uv = np.stack([(points - points[0]) @ axis, (points - points[0]) @ other], axis=1)
    following = np.roll(points, -1, axis=0)
    centre = np.broadcast_to(points.mean(axis=0), points.shape)
    uv_centre = np.broadcast_to(uv.mean(axis=0), uv.shape)
    return triangles(
        np.stack([points, following, centre], axis=1),
        np.stack([uv, np.roll(uv, -1, axis=0), uv_centre], axis=1),
        material,
    )


def quad(points: Sequence[Sequence[float]], material: int, size: tuple[float, float] | None = None) -> Mesh:
    """Four corners, counter-clockwise from (u, v) = (0, 0); `size` replaces the lengths of its sides."""
    p = np.asarray(points, dtype=np.float64)
    if size is None:
        size = (float(np.linalg.norm(p[1] - p[0])), float(np.linalg.norm(p[3] - p[0])))
    uv = np.array([[0.0, 0.0], [size[0], 0.0], [size[0], size[1]], [0.0, size[1]]])
    return triangles(
        np.stack([p[[0, 1, 2]], p[[0, 2, 3]]]), np.stack([uv[[0, 1, 2]], uv[[0, 2, 3]]]), material
    )


def box(
    size: Sequence[float],
    centre: Sequence[float],
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
    hx, hy, hz = (0.5 * s for s in size)
    t = taper
    low = [[-hx, -hy, -hz], [hx, -hy, -hz], [hx, hy, -hz], [-hx, hy, -hz]]
    high = [[-hx * t, -hy * t, hz], [hx * t, -hy * t, hz], [hx * t, hy * t, hz], [-hx * t, hy * t, hz]]
    ends = material if ends is None else ends
    faces = [
        quad([low[0], low[1], high[1], high[0]], material),
        quad([low[2], low[3], high[3], high[2]], material),
        quad([low[1], low[2], high[2], high[1]], ends),
        quad([low[3], low[0], high[0], high[3]], ends),
        quad(high, material if top is None else top),
        quad(low, material),
    ]
    return join(faces).moved(*centre, yaw=yaw)


def revolve(
    profile: Sequence[Sequence[float]], material: int, segments: int = 12, crease_deg: float = 40.0
) -> Mesh:
    """A surface of revolution about z from (radius, z) pairs."""
    radius, z = np.asarray(profile, dtype=np.float64).T
    angle = np.linspace(0.0, 2 * np.pi, segments, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.concatenate(
        [radius[:, None, None] * ring[None], np.broadcast_to(z[:, None, None], (len(z), segments, 1))], axis=2
    )
    return grid(points, material, close=True, crease_deg=crease_deg)


def cylinder(
    radius: float, height: float, material: int, *, segments: int = 12, cap: int | None = None
) -> Mesh:
    """Upright, standing on z = 0, with both ends closed."""
    angle = np.linspace(0.0, 2 * np.pi, segments, endpoint=False)
    ring = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(segments)], axis=1)
    cap = material if cap is None else cap
    return join(
        [
            grid(np.stack([ring, ring + [0, 0, height]]), material, close=True),
            polygon(ring, cap),
            polygon(ring + [0, 0, height], cap),
        ]
    )


def tube(
    path: Sequence[Sequence[float]], radius: float | Sequence[float], material: int, segments: int = 7
) -> Mesh:
    """A round rod along (K, 3) points, with closed ends."""
    points = np.asarray(path, dtype=np.float64)
    radii = np.broadcast_to(np.asarray(radius, dtype=np.float64), len(points))
    tangent = np.gradient(points, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-12
    span = points[-1] - points[0]
    helper = np.eye(3)[np.argmin(np.abs(span) + 1e-3 * np.arange(3))]
    side = np.cross(tangent, helper)
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-12
    up = np.cross(side, tangent)
    angle = np.linspace(0.0, 2 * np.pi, segments, endpoint=False)
    rings = points[:, None] + radii[:, None, None] * (
        np.cos(angle)[None, :, None] * side[:, None] + np.sin(angle)[None, :, None] * up[:, None]
    )
    return join(
        [
            grid(rings, material, close=True, crease_deg=75),
            polygon(rings[0], material),
            polygon(rings[-1], material),
        ]
    )


def ellipsoid(
    radii: Sequence[float], centre: Sequence[float], material: int, segments: int = 10, rings: int = 6
) -> Mesh:
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
            np.broadcast_to(thickness * np.sin(b)[None], r.shape[:0] + (segments + 1, ring)),
            r * np.sin(a)[:, None],
        ],
        axis=2,
    )
    return grid(points, material, close=True, crease_deg=80)


def extrude(
    outline: Sequence[Sequence[float]], y0: float, y1: float, material: int, crease_deg: float = 25.0
) -> Mesh:
    """An outline in the x-z plane, star-shaped about its centre, pulled along y from y0 to y1."""
    flat = np.asarray(outline, dtype=np.float64)
    ring = np.stack([flat[:, 0], np.full(len(flat), y0), flat[:, 1]], axis=1)
    other = ring + [0.0, y1 - y0, 0.0]
    sides = grid(np.stack([ring, other]), material, close=True, crease_deg=crease_deg)
    return join([sides, polygon(ring, material), polygon(other, material)])
