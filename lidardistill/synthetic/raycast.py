"""Ray queries through embree: a fixed part, and moving parts that are hit in their own frames.

Rebuilding embree's tree for every sensor time would cost more than the rays, so each moving object keeps
its tree and the few rays that touch its bounding sphere are carried into its frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh
from numba import njit

FAR_M = 400.0
"""Nothing farther than this is hit."""


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

    def intersect(self, origins: np.ndarray, directions: np.ndarray, at: Placement) -> Hits:
        """First hits among fixed and moving triangles; unit directions, float32, contiguous."""
        hits = self.fixed.intersect(origins, directions)
        for k, mover in enumerate(self.movers):
            rotation, shift = at.rotation[k + 1], at.shift[k + 1]
            near = _touching(
                origins, directions, hits.distance, rotation @ mover.centre + shift, mover.radius
            )
            if len(near) == 0:
                continue
            local = mover.tree.intersect(
                _carry(origins, near, rotation, shift), _turn(directions, near, rotation), hits.distance[near]
            )
            won = local.face >= 0
            rows = near[won]
            hits.distance[rows] = local.distance[won]
            hits.face[rows] = local.face[won] + mover.first_face
            hits.u[rows] = local.u[won]
            hits.v[rows] = local.v[won]
        return hits

    def occluded(self, origins: np.ndarray, directions: np.ndarray, far: float, at: Placement) -> np.ndarray:
        """(N,) bool: is anything in the way before `far` metres?"""
        blocked = self.fixed.occluded(origins, directions, far)
        reach = np.where(blocked, np.float32(0.0), np.float32(far))
        for k, mover in enumerate(self.movers):
            rotation, shift = at.rotation[k + 1], at.shift[k + 1]
            near = _touching(origins, directions, reach, rotation @ mover.centre + shift, mover.radius)
            if len(near):
                hit = mover.tree.occluded(
                    _carry(origins, near, rotation, shift), _turn(directions, near, rotation), far
                )
                blocked[near] |= hit
        return blocked


def _carry(points: np.ndarray, rows: np.ndarray, rotation: np.ndarray, shift: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray((points[rows] - shift) @ rotation)


def _turn(directions: np.ndarray, rows: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(directions[rows] @ rotation)


@njit(cache=True, nogil=True)
def _touching(
    origins: np.ndarray, directions: np.ndarray, reach: np.ndarray, centre: np.ndarray, radius: float
) -> np.ndarray:
    """Rows of the rays that come within `radius` of `centre` before their reach ends."""
    out = np.empty(len(origins), dtype=np.int64)
    count = 0
    limit = radius * radius
    for i in range(len(origins)):
        x, y, z = centre[0] - origins[i, 0], centre[1] - origins[i, 1], centre[2] - origins[i, 2]
        along = x * directions[i, 0] + y * directions[i, 1] + z * directions[i, 2]
        square = x * x + y * y + z * z
        if square > limit:
            if along <= 0.0 or square - along * along > limit or along - radius > reach[i]:
                continue
        elif reach[i] <= 0.0:
            continue
        out[count] = i
        count += 1
    return out[:count].copy()
