"""The kernels that turn hits into light. One call shades one camera; everything is float32, linear RGB."""

from __future__ import annotations

import numpy as np
from numba import njit

from lidardistill.synthetic.face_table import (
    GRADIENT_U,
    GRADIENT_V,
    LENGTH_U,
    LENGTH_V,
    NORMAL,
    SMOOTH,
    U0,
    U1,
    U2,
    V0,
    V1,
    V2,
    add_texel,
)  # fmt: skip
from lidardistill.synthetic.materials import BUMP, GLASS, GLOSS, LEAF, MACRO, SHARP, VARY, A, B, C
from lidardistill.synthetic.textures import LEVELS, SIZE


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
    table: np.ndarray,
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
        table, face_material, face_pose: the faces.
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
        row = table[f]
        look = values[face_material[f]]
        # Everything up to the texture happens in the frame of the face's owner.
        dx, dy, dz = wx, wy, wz
        if p > 0:
            dx = r[0, 0] * wx + r[1, 0] * wy + r[2, 0] * wz
            dy = r[0, 1] * wx + r[1, 1] * wy + r[2, 1] * wz
            dz = r[0, 2] * wx + r[1, 2] * wy + r[2, 2] * wz
        gx, gy, gz = row[NORMAL], row[NORMAL + 1], row[NORMAL + 2]
        bu, bv = bary_u[i], bary_v[i]
        bw = 1.0 - bu - bv
        uu = row[U0] + bu * row[U1] + bv * row[U2]
        vv = row[V0] + bu * row[V1] + bv * row[V2]
        nx = bw * row[SMOOTH] + bu * row[SMOOTH + 3] + bv * row[SMOOTH + 6]
        ny = bw * row[SMOOTH + 1] + bu * row[SMOOTH + 4] + bv * row[SMOOTH + 7]
        nz = bw * row[SMOOTH + 2] + bu * row[SMOOTH + 5] + bv * row[SMOOTH + 8]
        facing = gx * dx + gy * dy + gz * dz
        if facing > 0:
            gx, gy, gz, nx, ny, nz = -gx, -gy, -gz, -nx, -ny, -nz
            facing = -facing
        gux, guy, guz = row[GRADIENT_U], row[GRADIENT_U + 1], row[GRADIENT_U + 2]
        gvx, gvy, gvz = row[GRADIENT_V], row[GRADIENT_V + 1], row[GRADIENT_V + 2]
        # Footprint of a pixel on the texture: where the neighbouring rays meet this plane.
        steep = 1.0 / min(facing, -0.02)
        longest, shortest = 0.0, 1e18
        au, av = 0.0, 0.0
        for axis in range(2):
            s = step_x if axis == 0 else step_y
            sx, sy, sz = s[0], s[1], s[2]
            if p > 0:
                sx = r[0, 0] * s[0] + r[1, 0] * s[1] + r[2, 0] * s[2]
                sy = r[0, 1] * s[0] + r[1, 1] * s[1] + r[2, 1] * s[2]
                sz = r[0, 2] * s[0] + r[1, 2] * s[1] + r[2, 2] * s[2]
            along = (gx * sx + gy * sy + gz * sz) * steep
            px, py, pz = t * (sx - along * dx), t * (sy - along * dy), t * (sz - along * dz)
            du = gux * px + guy * py + guz * pz
            dv = gvx * px + gvy * py + gvz * pz
            size = (du * du + dv * dv) * (SIZE * SIZE)
            if size > longest:
                longest = size
                au, av = du, dv
            shortest = min(shortest, size)
        longest, shortest = np.sqrt(longest), np.sqrt(shortest)
        taps = 1
        if longest > 1.5 * shortest and longest > 1.0:
            taps = min(4, int(longest / max(shortest, 1.0) + 0.5))
        footprint = max(longest / taps, shortest, 1e-3)
        level_f = np.log2(footprint) + 0.6 * (_hash(i, 17, f & 7) - 0.5)
        level = min(max(int(np.floor(level_f + 0.5)), 0), LEVELS - 1)
        texture = texture_of[face_material[f]]
        texel[:] = 0.0
        for k in range(taps):
            shift = (k + 0.5) / taps - 0.5
            add_texel(atlas, texture, level, uu + shift * au, vv + shift * av, start, texel)
        scale = 1.0 / taps
        bright = texel[0] * scale / 128.0
        mask_b = texel[1] * scale / 255.0
        mask_c = texel[2] * scale / 255.0
        bump = look[BUMP]
        if bump > 0:
            tilt_u = (texel[3] * scale - 128.0) / 127.0 * bump
            tilt_v = (texel[4] * scale - 128.0) / 127.0 * bump
            lu, lv = tilt_u * row[LENGTH_U], tilt_v * row[LENGTH_V]
            nx += lu * gux + lv * gvx
            ny += lu * guy + lv * gvy
            nz += lu * guz + lv * gvz
        if p > 0:
            nx, ny, nz = (
                r[0, 0] * nx + r[0, 1] * ny + r[0, 2] * nz,
                r[1, 0] * nx + r[1, 1] * ny + r[1, 2] * nz,
                r[2, 0] * nx + r[2, 1] * ny + r[2, 2] * nz,
            )
        n = 1.0 / np.sqrt(max(nx * nx + ny * ny + nz * nz, 1e-12))
        nx, ny, nz = nx * n, ny * n, nz * n

        if look[MACRO] > 0:
            mx = (origin[0] + t * wx) / 23.0
            my = (origin[1] + t * wy) / 23.0 + (origin[2] + t * wz) / 9.0
            texel[:] = 0.0
            add_texel(atlas, macro_texture, 2, mx, my, start, texel)
            bright *= 1.0 + look[MACRO] * 8.0 * (texel[0] / 128.0 - 1.0)
        pane = 1.0
        if look[VARY] > 0:
            pane = 1.0 + look[VARY] * (
                1.9 * _hash(int(np.floor(uu)), int(np.floor(vv)), face_material[f]) - 0.7
            )
        for k in range(3):
            base = look[A + k] * (1 - mask_b) + look[B + k] * mask_b
            colour[k] = (base * (1 - mask_c) + look[C + k] * pane * mask_c) * bright

        # Light that is scattered.
        towards = nx * sun[0] + ny * sun[1] + nz * sun[2]
        open_sky = openness[i]
        if look[LEAF] > 0:
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
        gloss = look[GLOSS] * (1 - mask_c) + look[GLASS] * mask_c
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
                spot = max(mx * sun[0] + my * sun[1] + mz * sun[2], 0.0) ** look[SHARP]
                for k in range(3):
                    colour[k] += spot * share * sun_rgb[k] * lit[i] * 2.2

        keep = np.exp(-t * haze_per_m)
        for k in range(3):
            out[i, k] = colour[k] * keep + haze_rgb[k] * (1 - keep)
