"""The kernel that turns hits into light. One call shades one camera; everything is float32, linear RGB."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from lidardistill.synthetic.matter.materials import BUMP, GLASS, GLOSS, LEAF, MACRO, SHARP, VARY, A, B, C
from lidardistill.synthetic.matter.pattern import LEVELS, SIZE
from lidardistill.synthetic.render.face_table import (
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
)  # fmt: skip
from lidardistill.synthetic.render.sky import Light


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _hash(a: int, b: int, c: int) -> float:
    """A number in 0..1 from three integers."""
    h = (a * 374761393 + b * 668265263 + c * 2147483647) & 0x7FFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0x7FFFFFFF
    h = ((h ^ (h >> 16)) * 748983) & 0x7FFFFFFF
    return (h & 0xFFFF) / 65535.0


@njit(cache=True, nogil=True, error_model="numpy")
def _sky(dome: np.ndarray, x: float, y: float, z: float) -> tuple[float, float, float]:
    """The sky's light in one direction."""
    rows, columns = dome.shape[0], dome.shape[1]
    r = np.sqrt(max(z, 0.0)) * (rows - 1)
    a = np.arctan2(y, x) / (2 * np.pi)
    if a < 0:
        a += 1.0
    c = a * columns
    r0 = min(int(r), rows - 2)
    c0 = min(int(c), columns - 1)
    c1 = c0 + 1 if c0 + 1 < columns else 0
    fr, fc = r - r0, c - c0
    p, q = (1 - fr) * (1 - fc), (1 - fr) * fc
    s, t = fr * (1 - fc), fr * fc
    return (
        p * dome[r0, c0, 0] + q * dome[r0, c1, 0] + s * dome[r0 + 1, c0, 0] + t * dome[r0 + 1, c1, 0],
        p * dome[r0, c0, 1] + q * dome[r0, c1, 1] + s * dome[r0 + 1, c0, 1] + t * dome[r0 + 1, c1, 1],
        p * dome[r0, c0, 2] + q * dome[r0, c1, 2] + s * dome[r0 + 1, c0, 2] + t * dome[r0 + 1, c1, 2],
    )


class Rays(NamedTuple):
    """Rays of one camera, world frame, metres.

    Attributes:
        directions: (N, 3) float32 unit vectors.
        step: (2, 3) float32 change of the unnormalised ray to the next column and row, for texture filtering.
        origin: (3,) float32 camera centre.
    """

    directions: np.ndarray
    step: np.ndarray
    origin: np.ndarray


class Seen(NamedTuple):
    """What each ray meets.

    Attributes:
        distance: (N,) float32 metres along the ray.
        face: (N,) int32 row of `Surfaces.table`; -1 is sky.
        bary_u, bary_v: (N,) float32 place on the face.
        lit: (N,) float32 0..1 share of the sun that arrives.
        openness: (N,) float32 0..1 share of the sky that nothing nearby hides.
    """

    distance: np.ndarray
    face: np.ndarray
    bary_u: np.ndarray
    bary_v: np.ndarray
    lit: np.ndarray
    openness: np.ndarray


class Surfaces(NamedTuple):
    """The faces of the world.

    Attributes:
        table: (F, columns) float32, see `face_table`.
        material: (F,) row of `Paint.values`.
        pose: (F,) row of `rotation`; 0 is the world's own frame.
        rotation: (K + 1, 3, 3) frame of the face's owner to world.
    """

    table: np.ndarray
    material: np.ndarray
    pose: np.ndarray
    rotation: np.ndarray


class Paint(NamedTuple):
    """Materials and textures.

    Attributes:
        values: (M, columns) float32, see `materials`.
        texture_of: (M,) texture of each material.
        atlas: (T, TEXELS, 5) uint8.
        first_texel: (LEVELS,) first texel of each mip level.
        stains: (S, S) float32 broad stains about zero, tiling; S is a power of two.
    """

    values: np.ndarray
    texture_of: np.ndarray
    atlas: np.ndarray
    first_texel: np.ndarray
    stains: np.ndarray


@njit(cache=True, nogil=True, error_model="numpy")
def shade(rays: Rays, seen: Seen, surfaces: Surfaces, paint: Paint, light: Light, out: np.ndarray) -> None:
    """Write the light along each ray to `out` (N, 3) float32.

    Arrays are taken out of their tuples once. They are never passed on or sliced in the loop: numba counts
    references to them with atomic operations, which took most of the time.
    """
    directions, step, origin = rays
    distance, face, bary_u, bary_v, lit, openness = seen
    table, face_material, face_pose, rotation = surfaces
    values, texture_of, atlas, start, stains = paint
    sun, sun_rgb, haze_rgb, dome = light.sun, light.sun_rgb, light.haze_rgb, light.dome
    up_rgb, side_rgb, down_rgb = light.up_rgb, light.side_rgb, light.down_rgb
    haze_per_m = np.float64(light.haze_per_m)
    colour = np.zeros(3, dtype=np.float64)
    mirror = np.zeros(3, dtype=np.float64)
    for i in range(len(face)):
        wx, wy, wz = directions[i, 0], directions[i, 1], directions[i, 2]
        f = face[i]
        if f < 0:
            colour[0], colour[1], colour[2] = _sky(dome, wx, wy, wz)
            if wz < 0.03:
                mix = min(1.0, (0.03 - wz) / 0.03)
                for k in range(3):
                    colour[k] = colour[k] * (1 - mix) + haze_rgb[k] * mix
            for k in range(3):
                out[i, k] = colour[k]
            continue
        t = distance[i]
        p = face_pose[f]
        m = face_material[f]
        # Everything up to the texture happens in the frame of the face's owner.
        dx, dy, dz = wx, wy, wz
        if p > 0:
            dx = rotation[p, 0, 0] * wx + rotation[p, 1, 0] * wy + rotation[p, 2, 0] * wz
            dy = rotation[p, 0, 1] * wx + rotation[p, 1, 1] * wy + rotation[p, 2, 1] * wz
            dz = rotation[p, 0, 2] * wx + rotation[p, 1, 2] * wy + rotation[p, 2, 2] * wz
        gx, gy, gz = table[f, NORMAL], table[f, NORMAL + 1], table[f, NORMAL + 2]
        bu, bv = bary_u[i], bary_v[i]
        bw = 1.0 - bu - bv
        uu = table[f, U0] + bu * table[f, U1] + bv * table[f, U2]
        vv = table[f, V0] + bu * table[f, V1] + bv * table[f, V2]
        nx = bw * table[f, SMOOTH] + bu * table[f, SMOOTH + 3] + bv * table[f, SMOOTH + 6]
        ny = bw * table[f, SMOOTH + 1] + bu * table[f, SMOOTH + 4] + bv * table[f, SMOOTH + 7]
        nz = bw * table[f, SMOOTH + 2] + bu * table[f, SMOOTH + 5] + bv * table[f, SMOOTH + 8]
        facing = gx * dx + gy * dy + gz * dz
        if facing > 0:
            gx, gy, gz, nx, ny, nz = -gx, -gy, -gz, -nx, -ny, -nz
            facing = -facing
        gux, guy, guz = table[f, GRADIENT_U], table[f, GRADIENT_U + 1], table[f, GRADIENT_U + 2]
        gvx, gvy, gvz = table[f, GRADIENT_V], table[f, GRADIENT_V + 1], table[f, GRADIENT_V + 2]
        # Footprint of a pixel on the texture: where the neighbouring rays meet this plane.
        steep = 1.0 / min(facing, -0.02)
        longest, shortest = 0.0, 1e18
        au, av = 0.0, 0.0
        for axis in range(2):
            sx, sy, sz = step[axis, 0], step[axis, 1], step[axis, 2]
            if p > 0:
                sx = (
                    rotation[p, 0, 0] * step[axis, 0]
                    + rotation[p, 1, 0] * step[axis, 1]
                    + rotation[p, 2, 0] * step[axis, 2]
                )
                sy = (
                    rotation[p, 0, 1] * step[axis, 0]
                    + rotation[p, 1, 1] * step[axis, 1]
                    + rotation[p, 2, 1] * step[axis, 2]
                )
                sz = (
                    rotation[p, 0, 2] * step[axis, 0]
                    + rotation[p, 1, 2] * step[axis, 1]
                    + rotation[p, 2, 2] * step[axis, 2]
                )
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
        texture = texture_of[m]
        size = SIZE >> level
        mask = size - 1
        base = start[level]
        bright, mask_b, mask_c, tilt_u, tilt_v = 0.0, 0.0, 0.0, 0.0, 0.0
        for k in range(taps):
            shift = (k + 0.5) / taps - 0.5
            x, y = (uu + shift * au) * size - 0.5, (vv + shift * av) * size - 0.5
            x0, y0 = int(np.floor(x)), int(np.floor(y))
            fx, fy = x - x0, y - y0
            row0, row1 = base + (y0 & mask) * size, base + ((y0 + 1) & mask) * size
            a00, a01 = row0 + (x0 & mask), row0 + ((x0 + 1) & mask)
            a10, a11 = row1 + (x0 & mask), row1 + ((x0 + 1) & mask)
            w00, w01, w10, w11 = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
            bright += (
                w00 * atlas[texture, a00, 0]
                + w01 * atlas[texture, a01, 0]
                + w10 * atlas[texture, a10, 0]
                + w11 * atlas[texture, a11, 0]
            )
            mask_b += (
                w00 * atlas[texture, a00, 1]
                + w01 * atlas[texture, a01, 1]
                + w10 * atlas[texture, a10, 1]
                + w11 * atlas[texture, a11, 1]
            )
            mask_c += (
                w00 * atlas[texture, a00, 2]
                + w01 * atlas[texture, a01, 2]
                + w10 * atlas[texture, a10, 2]
                + w11 * atlas[texture, a11, 2]
            )
            tilt_u += (
                w00 * atlas[texture, a00, 3]
                + w01 * atlas[texture, a01, 3]
                + w10 * atlas[texture, a10, 3]
                + w11 * atlas[texture, a11, 3]
            )
            tilt_v += (
                w00 * atlas[texture, a00, 4]
                + w01 * atlas[texture, a01, 4]
                + w10 * atlas[texture, a10, 4]
                + w11 * atlas[texture, a11, 4]
            )
        bright /= 128.0 * taps
        mask_b /= 255.0 * taps
        mask_c /= 255.0 * taps
        bump = values[m, BUMP]
        if bump > 0:
            lu = (tilt_u / taps - 128.0) / 127.0 * bump * table[f, LENGTH_U]
            lv = (tilt_v / taps - 128.0) / 127.0 * bump * table[f, LENGTH_V]
            nx += lu * gux + lv * gvx
            ny += lu * guy + lv * gvy
            nz += lu * guz + lv * gvz
        if p > 0:
            nx, ny, nz = (
                rotation[p, 0, 0] * nx + rotation[p, 0, 1] * ny + rotation[p, 0, 2] * nz,
                rotation[p, 1, 0] * nx + rotation[p, 1, 1] * ny + rotation[p, 1, 2] * nz,
                rotation[p, 2, 0] * nx + rotation[p, 2, 1] * ny + rotation[p, 2, 2] * nz,
            )
        n = 1.0 / np.sqrt(max(nx * nx + ny * ny + nz * nz, 1e-12))
        nx, ny, nz = nx * n, ny * n, nz * n

        if values[m, MACRO] > 0:
            mx = (origin[0] + t * wx) / 23.0
            my = (origin[1] + t * wy) / 23.0 + (origin[2] + t * wz) / 9.0
            x, y = mx * len(stains) - 0.5, my * len(stains) - 0.5
            x0, y0 = int(np.floor(x)), int(np.floor(y))
            fx, fy = x - x0, y - y0
            mask = len(stains) - 1
            low = stains[y0 & mask, x0 & mask] * (1 - fx) + stains[y0 & mask, (x0 + 1) & mask] * fx
            high = (
                stains[(y0 + 1) & mask, x0 & mask] * (1 - fx) + stains[(y0 + 1) & mask, (x0 + 1) & mask] * fx
            )
            bright *= 1.0 + values[m, MACRO] * (low * (1 - fy) + high * fy)
        pane = 1.0
        if values[m, VARY] > 0:
            pane = 1.0 + values[m, VARY] * (1.9 * _hash(int(np.floor(uu)), int(np.floor(vv)), m) - 0.7)
        for k in range(3):
            base_rgb = values[m, A + k] * (1 - mask_b) + values[m, B + k] * mask_b
            colour[k] = (base_rgb * (1 - mask_c) + values[m, C + k] * pane * mask_c) * bright

        # Light that is scattered.
        towards = nx * sun[0] + ny * sun[1] + nz * sun[2]
        open_sky = openness[i]
        if values[m, LEAF] > 0:
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
        gloss = values[m, GLOSS] * (1 - mask_c) + values[m, GLASS] * mask_c
        if gloss > 0:
            cosine = min(max(-(nx * wx + ny * wy + nz * wz), 0.0), 1.0)
            share = gloss + (1.0 - gloss) * (1.0 - cosine) ** 5 * min(1.0, gloss * 12.0) * 0.8
            mx, my, mz = wx + 2 * cosine * nx, wy + 2 * cosine * ny, wz + 2 * cosine * nz
            if mz > 0:
                mirror[0], mirror[1], mirror[2] = _sky(dome, mx, my, mz)
            # Blocks of houses of different heights, seen from wherever the mirror is.
            sector = int(np.floor(np.arctan2(my, mx) * 9.0 + 0.37 * np.floor((origin[0] + t * wx) / 7.0)))
            skyline = 0.05 + 0.16 * _hash(sector, 5, 3)
            above = min(max((mz - skyline) / 0.03 + 0.5, 0.0), 1.0)
            below = min(max(-mz / 0.08 + 0.5, 0.0), 1.0)
            for k in range(3):
                town = 0.22 * side_rgb[k]
                ground = down_rgb[k] * 0.9
                rest = town * (1 - below) + ground * below
                shown = min(mirror[k], 1.6) * above + rest * (1 - above) if mz > 0 else rest
                colour[k] = colour[k] * (1 - share) + shown * share * (0.35 + 0.65 * open_sky)
            if lit[i] > 0:
                spot = max(mx * sun[0] + my * sun[1] + mz * sun[2], 0.0) ** values[m, SHARP]
                for k in range(3):
                    colour[k] += spot * share * sun_rgb[k] * lit[i] * 2.2

        keep = np.exp(-t * haze_per_m)
        for k in range(3):
            out[i, k] = colour[k] * keep + haze_rgb[k] * (1 - keep)
