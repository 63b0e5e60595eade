"""Ray queries through embree: a fixed part, and moving parts that are hit in their own frames.

Rebuilding embree's tree for every sensor time would cost more than the rays, so each moving object keeps
its tree and the few rays that touch its bounding sphere are carried into its frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh
from numba import njit

FAR_M = 400.0
"""Nothing farther than this is hit."""
MOVER_SHADOW_M = 20.0
"""Moving objects block no ray farther than this from its start."""


class Hits(NamedTuple):
    """First hit of each ray.

    Attributes:
        distance: (N,) float32 metres; `FAR_M` where nothing was hit.
        face: (N,) int32 row in the world's face table, -1 where nothing was hit.
        u, v: (N,) float32 weights of the triangle's second and third corner.
    """

    distance: np.ndarray
    face: np.ndarray
    u: np.ndarray
    v: np.ndarray


class Tree:
    """Embree's tree over one fixed set of triangles, (F, 3, 3) float32 metres."""

    def __init__(self, corners: np.ndarray) -> None:
        self._corners = np.ascontiguousarray(corners, dtype=np.float32)
        self._scene = rtcore_scene.EmbreeScene()
        self._mesh = TriangleMesh(self._scene, self._corners)

    def intersect(self, origins: np.ndarray, directions: np.ndarray, far: np.ndarray | None = None) -> Hits:
        """First hits nearer than `far`."""
        if far is None:
            far = np.full(len(origins), FAR_M, dtype=np.float32)
        out = self._scene.run(origins, directions, far, query="INTERSECT", output=True)
        face = out["primID"]
        return Hits(np.where(face >= 0, out["tfar"], far), face, out["u"], out["v"])

    def occluded(self, origins: np.ndarray, directions: np.ndarray, far: float | np.ndarray) -> np.ndarray:
        """(N,) bool: is anything nearer than `far`?"""
        limit = np.broadcast_to(np.asarray(far, dtype=np.float32), len(origins)).copy()
        return self._scene.run(origins, directions, limit, query="OCCLUDED") >= 0


class Mover(NamedTuple):
    """One moving object.

    Attributes:
        tree: its triangles in its own frame.
        first_face: row of its first triangle in the face table.
        centre: (3,) of its bounding sphere, own frame, metres.
        radius: of that sphere.
    """

    tree: Tree
    first_face: int
    centre: np.ndarray
    radius: float


class Placement(NamedTuple):
    """Where the moving objects are at one time.

    Attributes:
        rotation: (K + 1, 3, 3) float32, own frame to world; row 0 is the fixed world, mover k is row k + 1.
        shift: (K + 1, 3) float32 metres.
    """

    rotation: np.ndarray
    shift: np.ndarray


class Tracer:
    """The whole world at any time."""

    def __init__(self, fixed: Tree, movers: Sequence[Mover]) -> None:
        self.fixed = fixed
        self.movers = tuple(movers)
        self._centres = np.array([m.centre for m in movers], dtype=np.float32).reshape(-1, 3)
        self._radii = np.array([m.radius for m in movers], dtype=np.float64)

    def intersect(self, origins: np.ndarray, directions: np.ndarray, at: Placement) -> Hits:
        """First hits among fixed and moving triangles; unit directions, float32, contiguous."""
        hits = self.fixed.intersect(origins, directions)
        for mover, rotation, shift, rows in self._near(origins, directions, hits.distance, at):
            local = mover.tree.intersect(
                _carry(origins, rows, rotation, shift), _turn(directions, rows, rotation), hits.distance[rows]
            )
            won = local.face >= 0
            rows = rows[won]
            hits.distance[rows] = local.distance[won]
            hits.face[rows] = local.face[won] + mover.first_face
            hits.u[rows] = local.u[won]
            hits.v[rows] = local.v[won]
        return hits

    def occluded(self, origins: np.ndarray, directions: np.ndarray, far: float, at: Placement) -> np.ndarray:
        """(N,) bool: is anything in the way before `far` metres?"""
        blocked = self.fixed.occluded(origins, directions, far)
        # What moves is low, so that its shadow is short.
        reach = np.where(blocked, np.float32(-1.0), np.float32(min(far, MOVER_SHADOW_M)))
        for mover, rotation, shift, rows in self._near(origins, directions, reach, at):
            blocked[rows] |= mover.tree.occluded(
                _carry(origins, rows, rotation, shift), _turn(directions, rows, rotation), far
            )
        return blocked

    def _near(
        self, origins: np.ndarray, directions: np.ndarray, reach: np.ndarray, at: Placement
    ) -> Iterator[tuple[Mover, np.ndarray, np.ndarray, np.ndarray]]:
        """Each mover with its placement and the rays that come close to it."""
        if not self.movers or not (reach >= 0).any():
            return
        centre = np.einsum("kij,kj->ki", at.rotation[1:], self._centres) + at.shift[1:]
        ray, which = _touching(
            origins, directions, reach, centre.astype(np.float32), self._radii.astype(np.float32)
        )
        order = np.argsort(which, kind="stable")
        ends = np.searchsorted(which[order], np.arange(len(self.movers) + 1))
        for k, mover in enumerate(self.movers):
            rows = ray[order[ends[k] : ends[k + 1]]]
            if len(rows):
                yield mover, at.rotation[k + 1], at.shift[k + 1], rows


def _carry(points: np.ndarray, rows: np.ndarray, rotation: np.ndarray, shift: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray((points[rows] - shift) @ rotation)


def _turn(directions: np.ndarray, rows: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(directions[rows] @ rotation)


_BUNDLE = 64
"""Rays that are tested together first; neighbours in the picture make narrow bundles."""


@njit(cache=True, nogil=True, error_model="numpy")
def _touching(
    origins: np.ndarray, directions: np.ndarray, reach: np.ndarray, centre: np.ndarray, radius: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (ray, sphere) in which the ray comes within the radius before its reach ends.

    Rays of negative reach take no part.
    """
    size = 1024
    ray, which = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int32)
    spheres = np.empty(len(centre), dtype=np.int64)
    count = 0
    for start in range(0, len(origins), _BUNDLE):
        end = min(start + _BUNDLE, len(origins))
        # A ball around the origins and a cone around the directions of the bundle.
        lx, ly, lz, hx, hy, hz = 1e30, 1e30, 1e30, -1e30, -1e30, -1e30
        ax, ay, az, longest = 0.0, 0.0, 0.0, -1.0
        for i in range(start, end):
            if reach[i] < 0:
                continue
            longest = max(longest, reach[i])
            lx, hx = min(lx, origins[i, 0]), max(hx, origins[i, 0])
            ly, hy = min(ly, origins[i, 1]), max(hy, origins[i, 1])
            lz, hz = min(lz, origins[i, 2]), max(hz, origins[i, 2])
            ax += directions[i, 0]
            ay += directions[i, 1]
            az += directions[i, 2]
        if longest < 0:
            continue
        norm = 1.0 / (np.sqrt(ax * ax + ay * ay + az * az) + 1e-12)
        ax, ay, az = ax * norm, ay * norm, az * norm
        cosine = 1.0
        for i in range(start, end):
            if reach[i] >= 0:
                cosine = min(cosine, directions[i, 0] * ax + directions[i, 1] * ay + directions[i, 2] * az)
        opening = np.arccos(max(cosine, -1.0)) + 1e-3
        half = 0.5 * np.sqrt((hx - lx) ** 2 + (hy - ly) ** 2 + (hz - lz) ** 2)
        near = 0
        for k in range(len(centre)):
            x = centre[k, 0] - 0.5 * (lx + hx)
            y = centre[k, 1] - 0.5 * (ly + hy)
            z = centre[k, 2] - 0.5 * (lz + hz)
            away = np.sqrt(x * x + y * y + z * z)
            ball = radius[k] + half
            if away > ball + longest:
                continue
            if away > ball:
                turn = np.arccos(min(max((x * ax + y * ay + z * az) / away, -1.0), 1.0))
                if turn > opening + np.arcsin(ball / away):
                    continue
            spheres[near] = k
            near += 1
        for i in range(start, end if near > 0 else start):
            if reach[i] < 0:
                continue
            for n in range(near):
                k = spheres[n]
                x, y, z = (
                    centre[k, 0] - origins[i, 0],
                    centre[k, 1] - origins[i, 1],
                    centre[k, 2] - origins[i, 2],
                )
                limit = radius[k] * radius[k]
                square = x * x + y * y + z * z
                along = x * directions[i, 0] + y * directions[i, 1] + z * directions[i, 2]
                if square > limit and (
                    along <= 0.0 or square - along * along > limit or along - radius[k] > reach[i]
                ):
                    continue
                if count == size:
                    more_ray = np.empty(2 * size, dtype=np.int64)
                    more_which = np.empty(2 * size, dtype=np.int32)
                    more_ray[:size] = ray
                    more_which[:size] = which
                    ray, which, size = more_ray, more_which, 2 * size
                ray[count] = i
                which[count] = k
                count += 1
    return ray[:count], which[:count]
