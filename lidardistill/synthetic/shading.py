"""The kernels that turn hits into light. One call shades one camera; everything is float32, linear RGB."""

from __future__ import annotations

import numpy as np
from numba import njit

from lidardistill.synthetic import materials as mt
from lidardistill.synthetic.textures import LEVEL_START as _LEVEL_START
from lidardistill.synthetic.textures import LEVELS, SIZE

A, B, C = mt.A, mt.B, mt.C
TILE_U, TILE_V, GLOSS, SHARP, GLASS = mt.TILE_U, mt.TILE_V, mt.GLOSS, mt.SHARP, mt.GLASS
VARY, BUMP, MACRO, LEAF = mt.VARY, mt.BUMP, mt.MACRO, mt.LEAF
REFL_A, REFL_B, REFL_C = mt.REFL_A, mt.REFL_B, mt.REFL_C


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _texel(
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


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _hash(a: int, b: int, c: int) -> float:
    """A number in 0..1 from three integers."""
    h = (a * 374761393 + b * 668265263 + c * 2147483647) & 0x7FFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0x7FFFFFFF
    h = ((h ^ (h >> 16)) * 748983) & 0x7FFFFFFF
    return (h & 0xFFFF) / 65535.0


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _sky(dome: np.ndarray, x: float, y: float, z: float, out: np.ndarray) -> None:
    rows, columns = dome.shape[0], dome.shape[1]
    r = np.sqrt(max(z, 0.0)) * (rows - 1)
    a = np.arctan2(y, x) / (2 * np.pi)
    if a < 0:
        a += 1.0
    c = a * columns
    r0 = min(int(r), rows - 2)
    c0 = int(c) % columns
    c1 = (c0 + 1) % columns
    fr, fc = r - r0, c - np.floor(c)
    for k in range(3):
        low = dome[r0, c0, k] * (1 - fc) + dome[r0, c1, k] * fc
        high = dome[r0 + 1, c0, k] * (1 - fc) + dome[r0 + 1, c1, k] * fc
        out[k] = low * (1 - fr) + high * fr


@njit(cache=True, nogil=True, error_model="numpy")
def surface_points(
    origin: np.ndarray,
    directions: np.ndarray,
    distance: np.ndarray,
    face: np.ndarray,
    corners: np.ndarray,
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
        corners: (F, 3, 3) float32 in the frame of each face's owner.
        face_pose: (F,) int32 row of the owner's placement.
        rotation: (K + 1, 3, 3) float32 owner frame to world.
        points, normals: (N, 3) float32, written.
    """
    for i in range(len(face)):
        f = face[i]
        if f < 0:
            continue
        t = corners[f]
        ax, ay, az = t[1, 0] - t[0, 0], t[1, 1] - t[0, 1], t[1, 2] - t[0, 2]
        bx, by, bz = t[2, 0] - t[0, 0], t[2, 1] - t[0, 1], t[2, 2] - t[0, 2]
        x, y, z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        p = face_pose[f]
        if p > 0:
            r = rotation[p]
            x, y, z = (
                r[0, 0] * x + r[0, 1] * y + r[0, 2] * z,
                r[1, 0] * x + r[1, 1] * y + r[1, 2] * z,
                r[2, 0] * x + r[2, 1] * y + r[2, 2] * z,
            )
        scale = 1.0 / np.sqrt(x * x + y * y + z * z)
        if x * directions[i, 0] + y * directions[i, 1] + z * directions[i, 2] > 0:
            scale = -scale
        x, y, z = x * scale, y * scale, z * scale
        normals[i, 0], normals[i, 1], normals[i, 2] = x, y, z
        lift = 0.002 + 3e-5 * distance[i]
        points[i, 0] = origin[0] + distance[i] * directions[i, 0] + lift * x
        points[i, 1] = origin[1] + distance[i] * directions[i, 1] + lift * y
        points[i, 2] = origin[2] + distance[i] * directions[i, 2] + lift * z


@njit(cache=True, nogil=True, error_model="numpy")
def shade(
    directions: np.ndarray,
    step_x: np.ndarray,
    step_y: np.ndarray,
    origin: np.ndarray,
    distance: np.ndarray,
    face: np.ndarray,
    bary_u: np.ndarray,
    bary_v: np.ndarray,
    lit: np.ndarray,
    openness: np.ndarray,
    corners: np.ndarray,
    corner_normals: np.ndarray,
    corner_uv: np.ndarray,
    face_material: np.ndarray,
    face_pose: np.ndarray,
    rotation: np.ndarray,
    values: np.ndarray,
    texture_of: np.ndarray,
    atlas: np.ndarray,
    macro_texture: int,
    sun: np.ndarray,
    sun_rgb: np.ndarray,
    up_rgb: np.ndarray,
    side_rgb: np.ndarray,
    down_rgb: np.ndarray,
    haze_rgb: np.ndarray,
    haze_per_m: float,
    dome: np.ndarray,
    start: np.ndarray,
    out: np.ndarray,
) -> None:
    """Light along each ray, written to `out` (N, 3).

    Args:
        directions: (N, 3) unit rays, world.
        step_x, step_y: (3,) change of the unnormalised ray to the next pixel, for texture filtering.
        origin: (3,) camera centre, world.
        distance, face, bary_u, bary_v: (N,) hits; face -1 is sky.
        lit: (N,) 0..1 share of the sun that arrives.
        openness: (N,) 0..1 share of the sky that is not hidden nearby.
        corners, corner_normals, corner_uv, face_material, face_pose: the face table.
        rotation: (K + 1, 3, 3) owner frame to world.
        values, texture_of: the material table.
        atlas: (T, TEXELS, 5) uint8.
        macro_texture: texture whose brightness makes broad stains.
        sun ... dome: the scene's light.
        start: first texel of each mip level.
        out: (N, 3) float32, written.
    """
    texel = np.zeros(5, dtype=np.float64)
    colour = np.zeros(3, dtype=np.float64)
    mirror = np.zeros(3, dtype=np.float64)
    for i in range(len(face)):
        wx, wy, wz = directions[i, 0], directions[i, 1], directions[i, 2]
        f = face[i]
        if f < 0:
            _sky(dome, wx, wy, wz, colour)
            if wz < 0.03:
                mix = min(1.0, (0.03 - wz) / 0.03)
                for k in range(3):
                    colour[k] = colour[k] * (1 - mix) + haze_rgb[k] * mix
            for k in range(3):
                out[i, k] = colour[k]
            continue
        t = distance[i]
        p = face_pose[f]
        r = rotation[p]
        # The ray and its neighbours in the frame of the face's owner.
        dx = r[0, 0] * wx + r[1, 0] * wy + r[2, 0] * wz
        dy = r[0, 1] * wx + r[1, 1] * wy + r[2, 1] * wz
        dz = r[0, 2] * wx + r[1, 2] * wy + r[2, 2] * wz
        e1x, e1y, e1z = (
            corners[f, 1, 0] - corners[f, 0, 0],
            corners[f, 1, 1] - corners[f, 0, 1],
            corners[f, 1, 2] - corners[f, 0, 2],
        )
        e2x, e2y, e2z = (
            corners[f, 2, 0] - corners[f, 0, 0],
            corners[f, 2, 1] - corners[f, 0, 1],
            corners[f, 2, 2] - corners[f, 0, 2],
        )
        gx, gy, gz = e1y * e2z - e1z * e2y, e1z * e2x - e1x * e2z, e1x * e2y - e1y * e2x
        g = 1.0 / np.sqrt(gx * gx + gy * gy + gz * gz)
        gx, gy, gz = gx * g, gy * g, gz * g
        bu, bv = bary_u[i], bary_v[i]
        bw = 1.0 - bu - bv
        u = bw * corner_uv[f, 0, 0] + bu * corner_uv[f, 1, 0] + bv * corner_uv[f, 2, 0]
        v = bw * corner_uv[f, 0, 1] + bu * corner_uv[f, 1, 1] + bv * corner_uv[f, 2, 1]
        nx = bw * corner_normals[f, 0, 0] + bu * corner_normals[f, 1, 0] + bv * corner_normals[f, 2, 0]
        ny = bw * corner_normals[f, 0, 1] + bu * corner_normals[f, 1, 1] + bv * corner_normals[f, 2, 1]
        nz = bw * corner_normals[f, 0, 2] + bu * corner_normals[f, 1, 2] + bv * corner_normals[f, 2, 2]
        if nx * gx + ny * gy + nz * gz < 0:
            nx, ny, nz = -nx, -ny, -nz
        facing = gx * dx + gy * dy + gz * dz
        if facing > 0:
            gx, gy, gz, nx, ny, nz = -gx, -gy, -gz, -nx, -ny, -nz
            facing = -facing

        row = values[face_material[f]]
        tu, tv = row[TILE_U], row[TILE_V]
        # Gradients of u and v along the surface.
        d11 = e1x * e1x + e1y * e1y + e1z * e1z
        d12 = e1x * e2x + e1y * e2y + e1z * e2z
        d22 = e2x * e2x + e2y * e2y + e2z * e2z
        inv = 1.0 / max(d11 * d22 - d12 * d12, 1e-20)
        c1x, c1y, c1z = (
            (d22 * e1x - d12 * e2x) * inv,
            (d22 * e1y - d12 * e2y) * inv,
            (d22 * e1z - d12 * e2z) * inv,
        )
        c2x, c2y, c2z = (
            (d11 * e2x - d12 * e1x) * inv,
            (d11 * e2y - d12 * e1y) * inv,
            (d11 * e2z - d12 * e1z) * inv,
        )
        u1, u2 = corner_uv[f, 1, 0] - corner_uv[f, 0, 0], corner_uv[f, 2, 0] - corner_uv[f, 0, 0]
        v1, v2 = corner_uv[f, 1, 1] - corner_uv[f, 0, 1], corner_uv[f, 2, 1] - corner_uv[f, 0, 1]
        gux, guy, guz = u1 * c1x + u2 * c2x, u1 * c1y + u2 * c2y, u1 * c1z + u2 * c2z
        gvx, gvy, gvz = v1 * c1x + v2 * c2x, v1 * c1y + v2 * c2y, v1 * c1z + v2 * c2z
        # Footprint of a pixel on the texture: where the neighbouring rays meet this plane.
        longest, shortest = 0.0, 1e9
        au, av = 0.0, 0.0
        for axis in range(2):
            s = step_x if axis == 0 else step_y
            sx = r[0, 0] * s[0] + r[1, 0] * s[1] + r[2, 0] * s[2]
            sy = r[0, 1] * s[0] + r[1, 1] * s[1] + r[2, 1] * s[2]
            sz = r[0, 2] * s[0] + r[1, 2] * s[1] + r[2, 2] * s[2]
            along = (gx * sx + gy * sy + gz * sz) / min(facing, -0.02)
            px, py, pz = t * (sx - along * dx), t * (sy - along * dy), t * (sz - along * dz)
            du = (gux * px + guy * py + guz * pz) * tu
            dv = (gvx * px + gvy * py + gvz * pz) * tv
            size = np.sqrt(du * du + dv * dv) * SIZE
            if size > longest:
                longest = size
                au, av = du, dv
            shortest = min(shortest, size)
        taps = 1
        if longest > 1.5 * shortest and longest > 1.0:
            taps = min(5, int(longest / max(shortest, 1.0) + 0.5))
        footprint = max(longest / taps, shortest, 1e-3)
        level_f = np.log2(footprint) + 0.6 * (_hash(i, 17, f & 7) - 0.5)
        level = min(max(int(np.floor(level_f + 0.5)), 0), LEVELS - 1)
        texture = texture_of[face_material[f]]
        texel[:] = 0.0
        uu, vv = u * tu, v * tv
        for k in range(taps):
            shift = (k + 0.5) / taps - 0.5
            _texel(atlas, texture, level, uu + shift * au, vv + shift * av, start, texel)
        scale = 1.0 / taps
        bright = texel[0] * scale / 128.0
        mask_b = texel[1] * scale / 255.0
        mask_c = texel[2] * scale / 255.0
        bump = row[BUMP]
        if bump > 0:
            tilt_u = (texel[3] * scale - 128.0) / 127.0 * bump
            tilt_v = (texel[4] * scale - 128.0) / 127.0 * bump
            lu = 1.0 / np.sqrt(max(gux * gux + guy * guy + guz * guz, 1e-20))
            lv = 1.0 / np.sqrt(max(gvx * gvx + gvy * gvy + gvz * gvz, 1e-20))
            nx += tilt_u * gux * lu + tilt_v * gvx * lv
            ny += tilt_u * guy * lu + tilt_v * gvy * lv
            nz += tilt_u * guz * lu + tilt_v * gvz * lv
        if p > 0:
            nx, ny, nz = (
                r[0, 0] * nx + r[0, 1] * ny + r[0, 2] * nz,
                r[1, 0] * nx + r[1, 1] * ny + r[1, 2] * nz,
                r[2, 0] * nx + r[2, 1] * ny + r[2, 2] * nz,
            )
        n = 1.0 / np.sqrt(max(nx * nx + ny * ny + nz * nz, 1e-12))
        nx, ny, nz = nx * n, ny * n, nz * n

        if row[MACRO] > 0:
            mx = (origin[0] + t * wx) / 23.0
            my = (origin[1] + t * wy) / 23.0 + (origin[2] + t * wz) / 9.0
            texel[:] = 0.0
            _texel(atlas, macro_texture, 2, mx, my, start, texel)
            bright *= 1.0 + row[MACRO] * 8.0 * (texel[0] / 128.0 - 1.0)
        pane = 1.0
        if row[VARY] > 0:
            pane = 1.0 + row[VARY] * (
                1.9 * _hash(int(np.floor(uu)), int(np.floor(vv)), face_material[f]) - 0.7
            )
        for k in range(3):
            base = row[A + k] * (1 - mask_b) + row[B + k] * mask_b
            colour[k] = (base * (1 - mask_c) + row[C + k] * pane * mask_c) * bright

        # Light that is scattered.
        towards = nx * sun[0] + ny * sun[1] + nz * sun[2]
        open_sky = openness[i]
        if row[LEAF] > 0:
            direct = (0.30 + 0.70 * abs(towards)) * (0.35 + 0.65 * lit[i])
            direct *= 0.45 + 0.55 * lit[i]
        else:
            direct = max(towards, 0.0) * lit[i]
        high = max(nz, 0.0)
        low = max(-nz, 0.0)
        side = 1.0 - high - low
        for k in range(3):
            around = (
                high * up_rgb[k] + side * (0.70 * side_rgb[k] + 0.30 * down_rgb[k]) + low * down_rgb[k]
            ) * open_sky
            colour[k] *= sun_rgb[k] * direct + around

        # Light that is mirrored: sky above a dark skyline, ground below.
        gloss = row[GLOSS] * (1 - mask_c) + row[GLASS] * mask_c
        if gloss > 0:
            cosine = min(max(-(nx * wx + ny * wy + nz * wz), 0.0), 1.0)
            share = gloss + (1.0 - gloss) * (1.0 - cosine) ** 5 * min(1.0, gloss * 12.0) * 0.8
            mx, my, mz = wx + 2 * cosine * nx, wy + 2 * cosine * ny, wz + 2 * cosine * nz
            if mz > 0:
                _sky(dome, mx, my, mz, mirror)
            # Blocks of houses of different heights, seen from wherever the mirror is.
            sector = int(np.floor(np.arctan2(my, mx) * 9.0 + 0.37 * np.floor((origin[0] + t * wx) / 7.0)))
            skyline = 0.05 + 0.16 * _hash(sector, 5, 3)
            above = min(max((mz - skyline) / 0.03 + 0.5, 0.0), 1.0)
            below = min(max(-mz / 0.08 + 0.5, 0.0), 1.0)
            for k in range(3):
                town = 0.22 * side_rgb[k]
                ground = down_rgb[k] * 0.9
                rest = town * (1 - below) + ground * below
                seen = min(mirror[k], 1.6) * above + rest * (1 - above) if mz > 0 else rest
                colour[k] = colour[k] * (1 - share) + seen * share * (0.35 + 0.65 * open_sky)
            if lit[i] > 0:
                spot = max(mx * sun[0] + my * sun[1] + mz * sun[2], 0.0) ** row[SHARP]
                for k in range(3):
                    colour[k] += spot * share * sun_rgb[k] * lit[i] * 2.2

        keep = np.exp(-t * haze_per_m)
        for k in range(3):
            out[i, k] = colour[k] * keep + haze_rgb[k] * (1 - keep)


@njit(cache=True, nogil=True, error_model="numpy")
def reflectivity(
    face: np.ndarray,
    bary_u: np.ndarray,
    bary_v: np.ndarray,
    corner_uv: np.ndarray,
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
        bu, bv = bary_u[i], bary_v[i]
        bw = 1.0 - bu - bv
        row = values[face_material[f]]
        u = (bw * corner_uv[f, 0, 0] + bu * corner_uv[f, 1, 0] + bv * corner_uv[f, 2, 0]) * row[TILE_U]
        v = (bw * corner_uv[f, 0, 1] + bu * corner_uv[f, 1, 1] + bv * corner_uv[f, 2, 1]) * row[TILE_V]
        texel[:] = 0.0
        _texel(atlas, texture_of[face_material[f]], 1, u, v, start, texel)
        mask_b, mask_c = texel[1] / 255.0, texel[2] / 255.0
        base = row[REFL_A] * (1 - mask_b) + row[REFL_B] * mask_b
        out[i] = (base * (1 - mask_c) + row[REFL_C] * mask_c) * (0.5 + 0.5 * texel[0] / 128.0)
        glass[i] = max(row[GLASS] * mask_c, row[GLOSS] if row[GLOSS] >= 0.08 else 0.0)


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
        key: (h, w) int32 number of the material, -1 for sky.
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


def level_start() -> np.ndarray:
    """First texel of each mip level, int64."""
    return _LEVEL_START


def film_table(size: int = 4096) -> np.ndarray:
    """(size,) uint8: a film-like curve, then sRGB, for `develop`."""
    x = (np.arange(size) / (size - 1.0)) ** 2 * 8.0
    y = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)
    y = np.clip(y, 0.0, 1.0)
    srgb = np.where(y <= 0.0031308, 12.92 * y, 1.055 * np.maximum(y, 1e-9) ** (1 / 2.4) - 0.055)
    return np.round(np.clip(srgb, 0, 1) * 255).astype(np.uint8)
