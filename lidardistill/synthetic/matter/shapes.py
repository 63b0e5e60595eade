"""The few shapes that everything in the embedded world is made of: boxes, tubes, balls, outlines.

All are metric; shapes with a direction of their own stand upright along z unless said otherwise.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from lidardistill.synthetic.matter.meshes import Mesh, grid, triangles

_BOX_POINTS = 0.5 * np.array(
    [[-1, -1, -1], [1, -1, -1], [1, 1, -1], [-1, 1, -1], [-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]]
)
_BOX_QUADS = np.array([[0, 1, 5, 4], [2, 3, 7, 6], [1, 2, 6, 5], [3, 0, 4, 7], [4, 5, 6, 7], [0, 1, 2, 3]])
_QUAD_SPLIT = np.array([[0, 1, 2], [0, 2, 3]])
_QUAD_UV = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


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
