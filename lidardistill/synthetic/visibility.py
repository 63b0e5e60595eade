"""What each pixel shows, and whether the sun reaches it, with rays only where neighbours disagree.

A quarter of the pixels is traced. The others are filled in two passes: a pixel between four neighbours that
show one flat surface shows that surface too, if its own ray meets it; all others are traced. What is thinner
than two pixels and hits no traced pixel can be lost; `exact` traces everything.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lidardistill.synthetic.raycast import FAR_M, Hits, Placement
from lidardistill.synthetic.world import World

SUN_FAR_M = 150.0
_LEVELS = 2


def first_hits(
    world: World,
    origin: np.ndarray,
    directions: np.ndarray,
    size: tuple[int, int],
    at: Placement,
    exact: bool,
) -> Hits:
    """First hits of one ray a pixel.

    Args:
        world: the world.
        origin: (3,) float32 camera centre.
        directions: (H * W, 3) float32 unit rays, row by row.
        size: height, width.
        at: where the moving objects are.
        exact: trace every ray.
    """
    count = len(directions)
    hits = Hits(
        np.full(count, FAR_M, dtype=np.float32),
        np.full(count, -1, dtype=np.int32),
        np.zeros(count, dtype=np.float32),
        np.zeros(count, dtype=np.float32),
    )

    def trace(rows: np.ndarray) -> None:
        found = world.tracer.intersect(np.tile(origin, (len(rows), 1)), directions[rows], at)
        for whole, part in zip(hits, found, strict=True):
            whole[rows] = part

    if exact:
        trace(np.arange(count))
        return hits
    trace(_coarse(size))
    rows = np.empty(count, dtype=np.int64)
    faces = world.faces
    for level in range(_LEVELS):
        left = _inherit_hits(
            level, size[0], size[1], directions, origin, hits.distance, hits.face, hits.u, hits.v,
            faces.corners, faces.table, faces.material, faces.thing, faces.pose, at.rotation, at.shift, rows,
        )  # fmt: skip
        trace(rows[:left].copy())
    return hits


def sunlight(
    world: World,
    hits: Hits,
    points: np.ndarray,
    wanted: np.ndarray,
    size: tuple[int, int],
    at: Placement,
    exact: bool,
) -> np.ndarray:
    """(H * W,) float32: 1 where the sun shines.

    Args:
        world: the world.
        hits: what each pixel shows.
        points: (H * W, 3) float32 positions, lifted off their surface.
        wanted: (H * W,) bool, False where the surface is turned away or there is none.
        size: height, width.
        at: where the moving objects are.
        exact: trace every ray.
    """
    lit = np.zeros(len(points), dtype=np.float32)

    def trace(rows: np.ndarray) -> None:
        lit[rows] = in_sun(world, points[rows], world.light.sun, at)

    if exact:
        trace(np.flatnonzero(wanted))
        return lit
    coarse = _coarse(size)
    trace(coarse[wanted[coarse]])
    rows = np.empty(len(points), dtype=np.int64)
    faces = world.faces
    for level in range(_LEVELS):
        left = _inherit_light(
            level, size[0], size[1], hits.face, wanted, faces.corners, faces.table, faces.material, faces.thing,
            lit, rows,
        )  # fmt: skip
        trace(rows[:left].copy())
    return lit


def in_sun(world: World, points: np.ndarray, towards: np.ndarray, at: Placement) -> np.ndarray:
    """(N,) bool: is the way to the sun free? `towards` is (3,) or (N, 3)."""
    direction = np.ascontiguousarray(np.broadcast_to(towards, points.shape), dtype=np.float32)
    return ~world.tracer.occluded(np.ascontiguousarray(points), direction, SUN_FAR_M, at)


def _coarse(size: tuple[int, int]) -> np.ndarray:
    """Every second pixel of every second row, as rows of the flat picture."""
    return np.arange(size[0] * size[1]).reshape(size)[::2, ::2].ravel()


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _same_surface(
    a: int, b: int, corners: np.ndarray, table: np.ndarray, material: np.ndarray, thing: np.ndarray
) -> bool:
    """Do two triangles belong to one flat piece of one object?"""
    if a == b:
        return True
    if a < 0 or b < 0 or thing[a] != thing[b] or material[a] != material[b]:
        return False
    if abs(table[a, 0] * table[b, 0] + table[a, 1] * table[b, 1] + table[a, 2] * table[b, 2]) < 0.99995:
        return False
    height = 0.0
    for k in range(3):
        height += table[a, k] * (corners[b, 0, k] - corners[a, 0, k])
    return abs(height) < 0.005


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _neighbours(level: int, i: int, j: int, width: int, near: np.ndarray) -> None:
    """Writes the flat rows of the four neighbours: diagonal ones on level 0, else those beside it."""
    at = i * width + j
    if level == 0:
        near[0], near[1], near[2], near[3] = at - width - 1, at - width + 1, at + width - 1, at + width + 1
    else:
        near[0], near[1], near[2], near[3] = at - width, at + width, at - 1, at + 1


@njit(cache=True, nogil=True, error_model="numpy")
def _inherit_hits(
    level: int,
    height: int,
    width: int,
    directions: np.ndarray,
    origin: np.ndarray,
    distance: np.ndarray,
    face: np.ndarray,
    bary_u: np.ndarray,
    bary_v: np.ndarray,
    corners: np.ndarray,
    table: np.ndarray,
    material: np.ndarray,
    thing: np.ndarray,
    pose: np.ndarray,
    rotation: np.ndarray,
    shift: np.ndarray,
    rows: np.ndarray,
) -> int:
    """Fills the pixels of a level from their neighbours; writes the others to `rows` and returns their number."""
    near = np.empty(4, dtype=np.int64)
    left = 0
    for i in range(height):
        for j in range(width):
            if (level == 0 and (i % 2 == 0 or j % 2 == 0)) or (level == 1 and (i + j) % 2 == 0):
                continue
            at = i * width + j
            done = False
            if 0 < i < height - 1 and 0 < j < width - 1:
                _neighbours(level, i, j, width, near)
                first = face[near[0]]
                alike = True
                for k in range(1, 4):
                    alike = alike and _same_surface(first, face[near[k]], corners, table, material, thing)
                if alike and first < 0:
                    done = True
                elif alike:
                    p = pose[first]
                    ox, oy, oz = origin[0], origin[1], origin[2]
                    dx, dy, dz = directions[at, 0], directions[at, 1], directions[at, 2]
                    if p > 0:
                        r = rotation[p]
                        x, y, z = ox - shift[p, 0], oy - shift[p, 1], oz - shift[p, 2]
                        ox = r[0, 0] * x + r[1, 0] * y + r[2, 0] * z
                        oy = r[0, 1] * x + r[1, 1] * y + r[2, 1] * z
                        oz = r[0, 2] * x + r[1, 2] * y + r[2, 2] * z
                        x, y, z = dx, dy, dz
                        dx = r[0, 0] * x + r[1, 0] * y + r[2, 0] * z
                        dy = r[0, 1] * x + r[1, 1] * y + r[2, 1] * z
                        dz = r[0, 2] * x + r[1, 2] * y + r[2, 2] * z
                    for k in range(4):
                        f = face[near[k]]
                        if k > 0 and f == first:
                            continue
                        t, u, v = _meet(corners[f], ox, oy, oz, dx, dy, dz)
                        if t > 0 and u >= 0 and v >= 0 and u + v <= 1:
                            distance[at], face[at], bary_u[at], bary_v[at] = t, f, u, v
                            done = True
                            break
            if not done:
                rows[left] = at
                left += 1
    return left


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _meet(
    triangle: np.ndarray, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float
) -> tuple[float, float, float]:
    """Distance and weights of the second and third corner where a ray meets a triangle's plane."""
    ax, ay, az = triangle[0, 0], triangle[0, 1], triangle[0, 2]
    ex, ey, ez = triangle[1, 0] - ax, triangle[1, 1] - ay, triangle[1, 2] - az
    fx, fy, fz = triangle[2, 0] - ax, triangle[2, 1] - ay, triangle[2, 2] - az
    px, py, pz = dy * fz - dz * fy, dz * fx - dx * fz, dx * fy - dy * fx
    inverse = 1.0 / (ex * px + ey * py + ez * pz)
    tx, ty, tz = ox - ax, oy - ay, oz - az
    u = (tx * px + ty * py + tz * pz) * inverse
    qx, qy, qz = ty * ez - tz * ey, tz * ex - tx * ez, tx * ey - ty * ex
    v = (dx * qx + dy * qy + dz * qz) * inverse
    return (fx * qx + fy * qy + fz * qz) * inverse, u, v


@njit(cache=True, nogil=True, error_model="numpy")
def _inherit_light(
    level: int,
    height: int,
    width: int,
    face: np.ndarray,
    wanted: np.ndarray,
    corners: np.ndarray,
    table: np.ndarray,
    material: np.ndarray,
    thing: np.ndarray,
    lit: np.ndarray,
    rows: np.ndarray,
) -> int:
    """As `_inherit_hits`, for sunlight: neighbours agree when they and the pixel are one surface, alike lit."""
    near = np.empty(4, dtype=np.int64)
    left = 0
    for i in range(height):
        for j in range(width):
            at = i * width + j
            if (
                not wanted[at]
                or (level == 0 and (i % 2 == 0 or j % 2 == 0))
                or (level == 1 and (i + j) % 2 == 0)
            ):
                continue
            done = False
            if 0 < i < height - 1 and 0 < j < width - 1:
                _neighbours(level, i, j, width, near)
                done = True
                for k in range(4):
                    other = near[k]
                    done = (
                        done
                        and wanted[other]
                        and lit[other] == lit[near[0]]
                        and _same_surface(face[at], face[other], corners, table, material, thing)
                    )
                if done:
                    lit[at] = lit[near[0]]
            if not done:
                rows[left] = at
                left += 1
    return left
