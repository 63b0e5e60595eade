"""What each pixel shows, and whether the sun reaches it, with rays only where neighbours disagree.

A quarter of the pixels is traced. The others are filled in two passes: a pixel between four neighbours that
show one flat surface shows that surface too, if its own ray meets it; all others are traced. What is thinner
than two pixels and hits no traced pixel can be lost; `exact` traces everything.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lidardistill.synthetic.place.world import World
from lidardistill.synthetic.render.raycast import FAR_M, Hits, Placement

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
            level, size[0], size[1], hits.face, wanted, faces.corners, faces.table, faces.material,
            faces.thing,
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


@njit(cache=True, nogil=True, error_model="numpy")
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
    """Fill the pixels of a level from their neighbours; write the others to `rows`; return their number."""
    left = 0
    for i in range(height):
        for j in range(1 if level == 0 else 1 - (i & 1), width, 2):
            at = i * width + j
            if level == 0 and (i & 1) == 0:
                break
            done = False
            if 0 < i < height - 1 and 0 < j < width - 1:
                n0, n1, n2, n3 = at - width, at + width, at - 1, at + 1
                if level == 0:
                    n0, n1, n2, n3 = at - width - 1, at - width + 1, at + width - 1, at + width + 1
                f0, f1, f2, f3 = face[n0], face[n1], face[n2], face[n3]
                alike = f0 == f1 and f0 == f2 and f0 == f3
                tries = 1
                if not alike:
                    alike = (
                        _same_surface(f0, f1, corners, table, material, thing)
                        and _same_surface(f0, f2, corners, table, material, thing)
                        and _same_surface(f0, f3, corners, table, material, thing)
                    )
                    tries = 4
                if alike and f0 < 0:
                    done = True
                elif alike:
                    p = pose[f0]
                    ox, oy, oz = origin[0], origin[1], origin[2]
                    dx, dy, dz = directions[at, 0], directions[at, 1], directions[at, 2]
                    if p > 0:
                        x, y, z = ox - shift[p, 0], oy - shift[p, 1], oz - shift[p, 2]
                        ox = rotation[p, 0, 0] * x + rotation[p, 1, 0] * y + rotation[p, 2, 0] * z
                        oy = rotation[p, 0, 1] * x + rotation[p, 1, 1] * y + rotation[p, 2, 1] * z
                        oz = rotation[p, 0, 2] * x + rotation[p, 1, 2] * y + rotation[p, 2, 2] * z
                        x, y, z = dx, dy, dz
                        dx = rotation[p, 0, 0] * x + rotation[p, 1, 0] * y + rotation[p, 2, 0] * z
                        dy = rotation[p, 0, 1] * x + rotation[p, 1, 1] * y + rotation[p, 2, 1] * z
                        dz = rotation[p, 0, 2] * x + rotation[p, 1, 2] * y + rotation[p, 2, 2] * z
                    for k in range(tries):
                        f = f0 if k == 0 else f1 if k == 1 else f2 if k == 2 else f3
                        # Where the ray meets the triangle's plane (Möller and Trumbore, 1997).
                        ax, ay, az = corners[f, 0, 0], corners[f, 0, 1], corners[f, 0, 2]
                        ex, ey, ez = corners[f, 1, 0] - ax, corners[f, 1, 1] - ay, corners[f, 1, 2] - az
                        fx, fy, fz = corners[f, 2, 0] - ax, corners[f, 2, 1] - ay, corners[f, 2, 2] - az
                        px, py, pz = dy * fz - dz * fy, dz * fx - dx * fz, dx * fy - dy * fx
                        inverse = 1.0 / (ex * px + ey * py + ez * pz)
                        tx, ty, tz = ox - ax, oy - ay, oz - az
                        u = (tx * px + ty * py + tz * pz) * inverse
                        qx, qy, qz = ty * ez - tz * ey, tz * ex - tx * ez, tx * ey - ty * ex
                        v = (dx * qx + dy * qy + dz * qz) * inverse
                        t = (fx * qx + fy * qy + fz * qz) * inverse
                        if t > 0 and u >= 0 and v >= 0 and u + v <= 1:
                            distance[at] = t
                            face[at] = f
                            bary_u[at] = u
                            bary_v[at] = v
                            done = True
                            break
            if not done:
                rows[left] = at
                left += 1
    return left


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
    """As `_inherit_hits`, for sunlight: neighbours agree if they lie on the pixel's surface and are lit
    alike.
    """
    left = 0
    for i in range(height):
        for j in range(1 if level == 0 else 1 - (i & 1), width, 2):
            at = i * width + j
            if level == 0 and (i & 1) == 0:
                break
            if not wanted[at]:
                continue
            done = False
            if 0 < i < height - 1 and 0 < j < width - 1:
                n0, n1, n2, n3 = at - width, at + width, at - 1, at + 1
                if level == 0:
                    n0, n1, n2, n3 = at - width - 1, at - width + 1, at + width - 1, at + width + 1
                light = lit[n0]
                if (
                    wanted[n0]
                    and wanted[n1]
                    and wanted[n2]
                    and wanted[n3]
                    and light == lit[n1]
                    and light == lit[n2]
                    and light == lit[n3]
                ):
                    f, f0, f1, f2, f3 = face[at], face[n0], face[n1], face[n2], face[n3]
                    done = f == f0 and f == f1 and f == f2 and f == f3
                    if not done:
                        done = (
                            _same_surface(f, f0, corners, table, material, thing)
                            and _same_surface(f, f1, corners, table, material, thing)
                            and _same_surface(f, f2, corners, table, material, thing)
                            and _same_surface(f, f3, corners, table, material, thing)
                        )
                    if done:
                        lit[at] = light
            if not done:
                rows[left] = at
                left += 1
    return left
