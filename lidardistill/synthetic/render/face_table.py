"""One row of floats per triangle, so that shading a hit reads two cache lines."""

from __future__ import annotations

import numpy as np
from numba import njit

from lidardistill.synthetic.matter.materials import GLASS, GLOSS, REFL_A, REFL_B, REFL_C, TILE_U, TILE_V
from lidardistill.synthetic.matter.pattern import SIZE

# Unit normal; gradients of u and v in tiles a metre; metres a tile along them; u, v of the first corner in
# tiles and the steps to the other two; shading normals of the three corners.
NORMAL, GRADIENT_U, GRADIENT_V, LENGTH_U, LENGTH_V = 0, 3, 6, 9, 10
U0, V0, U1, V1, U2, V2 = range(11, 17)
SMOOTH = 17
COLUMNS = 26


@njit(cache=True, nogil=True, error_model="numpy")
def pack_faces(
    corners: np.ndarray,
    normals: np.ndarray,
    uv: np.ndarray,
    material: np.ndarray,
    values: np.ndarray,
    table: np.ndarray,
) -> None:
    """Writes the face table.

    Args:
        corners, normals: (F, 3, 3) float32, frame of each face's owner.
        uv: (F, 3, 2) float32 metres.
        material: (F,) int32 rows of `values`.
        values: (M, ...) float32 material table.
        table: (F, COLUMNS) float32, written.
    """
    for f in range(len(corners)):
        e1, e2 = np.empty(3), np.empty(3)
        for k in range(3):
            e1[k] = corners[f, 1, k] - corners[f, 0, k]
            e2[k] = corners[f, 2, k] - corners[f, 0, k]
        x, y, z = e1[1] * e2[2] - e1[2] * e2[1], e1[2] * e2[0] - e1[0] * e2[2], e1[0] * e2[1] - e1[1] * e2[0]
        length = max(np.sqrt(x * x + y * y + z * z), 1e-20)
        table[f, 0], table[f, 1], table[f, 2] = x / length, y / length, z / length
        tile_u, tile_v = values[material[f], TILE_U], values[material[f], TILE_V]
        table[f, U0], table[f, V0] = uv[f, 0, 0] * tile_u, uv[f, 0, 1] * tile_v
        u1, v1 = (uv[f, 1, 0] - uv[f, 0, 0]) * tile_u, (uv[f, 1, 1] - uv[f, 0, 1]) * tile_v
        u2, v2 = (uv[f, 2, 0] - uv[f, 0, 0]) * tile_u, (uv[f, 2, 1] - uv[f, 0, 1]) * tile_v
        table[f, U1], table[f, V1], table[f, U2], table[f, V2] = u1, v1, u2, v2
        d11, d12, d22 = (e1 * e1).sum(), (e1 * e2).sum(), (e2 * e2).sum()
        inv = 1.0 / max(d11 * d22 - d12 * d12, 1e-20)
        square_u, square_v = 0.0, 0.0
        for k in range(3):
            along1, along2 = (d22 * e1[k] - d12 * e2[k]) * inv, (d11 * e2[k] - d12 * e1[k]) * inv
            gu, gv = u1 * along1 + u2 * along2, v1 * along1 + v2 * along2
            table[f, GRADIENT_U + k], table[f, GRADIENT_V + k] = gu, gv
            square_u += gu * gu
            square_v += gv * gv
        table[f, LENGTH_U] = 1.0 / np.sqrt(max(square_u, 1e-12))
        table[f, LENGTH_V] = 1.0 / np.sqrt(max(square_v, 1e-12))
        for c in range(3):
            dot = normals[f, c, 0] * x + normals[f, c, 1] * y + normals[f, c, 2] * z
            sign = -1.0 if dot < 0 else 1.0
            for k in range(3):
                table[f, SMOOTH + 3 * c + k] = sign * normals[f, c, k]


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def add_texel(
    atlas: np.ndarray, texture: int, level: int, u: float, v: float, start: np.ndarray, out: np.ndarray
) -> None:
    """Adds one bilinear sample of a mip level to `out` (5,); u, v in tiles."""
    size = SIZE >> level
    x = u * size - 0.5
    y = v * size - 0.5
    x0f, y0f = np.floor(x), np.floor(y)
    fx, fy = x - x0f, y - y0f
    mask = size - 1
    x0, y0 = int(x0f) & mask, int(y0f) & mask
    x1, y1 = (x0 + 1) & mask, (y0 + 1) & mask
    base = start[level]
    a, b = base + y0 * size + x0, base + y0 * size + x1
    c, d = base + y1 * size + x0, base + y1 * size + x1
    wa, wb, wc, wd = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    for k in range(5):
        out[k] += (
            wa * atlas[texture, a, k]
            + wb * atlas[texture, b, k]
            + wc * atlas[texture, c, k]
            + wd * atlas[texture, d, k]
        )


@njit(cache=True, nogil=True, error_model="numpy")
def surface_points(
    origin: np.ndarray,
    directions: np.ndarray,
    distance: np.ndarray,
    face: np.ndarray,
    table: np.ndarray,
    face_pose: np.ndarray,
    rotation: np.ndarray,
    points: np.ndarray,
    normals: np.ndarray,
) -> None:
    """Writes each hit's position, lifted off its surface, and its flat normal towards the viewer.

    Args:
        origin: (3,) float32.
        directions: (N, 3) float32.
        distance, face: hits.
        table: (F, COLUMNS) float32 of `pack_faces`.
        face_pose: (F,) int32 row of the owner's placement.
        rotation: (K + 1, 3, 3) float32 owner frame to world.
        points, normals: (N, 3) float32, written.
    """
    for i in range(len(face)):
        f = face[i]
        if f < 0:
            continue
        x, y, z = table[f, NORMAL], table[f, NORMAL + 1], table[f, NORMAL + 2]
        p = face_pose[f]
        if p > 0:
            x, y, z = (
                rotation[p, 0, 0] * x + rotation[p, 0, 1] * y + rotation[p, 0, 2] * z,
                rotation[p, 1, 0] * x + rotation[p, 1, 1] * y + rotation[p, 1, 2] * z,
                rotation[p, 2, 0] * x + rotation[p, 2, 1] * y + rotation[p, 2, 2] * z,
            )
        if x * directions[i, 0] + y * directions[i, 1] + z * directions[i, 2] > 0:
            x, y, z = -x, -y, -z
        normals[i, 0], normals[i, 1], normals[i, 2] = x, y, z
        lift = 0.002 + 3e-5 * distance[i]
        points[i, 0] = origin[0] + distance[i] * directions[i, 0] + lift * x
        points[i, 1] = origin[1] + distance[i] * directions[i, 1] + lift * y
        points[i, 2] = origin[2] + distance[i] * directions[i, 2] + lift * z


@njit(cache=True, nogil=True, error_model="numpy")
def reflectivity(
    face: np.ndarray,
    bary_u: np.ndarray,
    bary_v: np.ndarray,
    table: np.ndarray,
    face_material: np.ndarray,
    values: np.ndarray,
    texture_of: np.ndarray,
    atlas: np.ndarray,
    start: np.ndarray,
    out: np.ndarray,
    glass: np.ndarray,
) -> None:
    """What the LiDAR gets back head-on, and the share of mirroring glass, both (N,) float32, written."""
    texel = np.zeros(5, dtype=np.float64)
    for i in range(len(face)):
        f = face[i]
        if f < 0:
            continue
        row = values[face_material[f]]
        bu, bv = bary_u[i], bary_v[i]
        u = table[f, U0] + bu * table[f, U1] + bv * table[f, U2]
        v = table[f, V0] + bu * table[f, V1] + bv * table[f, V2]
        texel[:] = 0.0
        add_texel(atlas, texture_of[face_material[f]], 1, u, v, start, texel)
        mask_b, mask_c = texel[1] / 255.0, texel[2] / 255.0
        base = row[REFL_A] * (1 - mask_b) + row[REFL_B] * mask_b
        out[i] = (base * (1 - mask_c) + row[REFL_C] * mask_c) * (0.5 + 0.5 * texel[0] / 128.0)
        glass[i] = max(row[GLASS] * mask_c, row[GLOSS] if row[GLOSS] >= 0.08 else 0.0)
