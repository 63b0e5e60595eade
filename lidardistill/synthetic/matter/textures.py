"""Procedural textures: tiling patterns without colour, packed with their mip levels into one array.

A texture says how bright a texel is, which of a material's three colours it shows and how the surface
is tilted there; the colours come from the material. So the same brick wall can be red or, in the
palette whose classes share their colours, green.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from lidardistill.synthetic.matter.pattern import (
    CHANNELS,
    LEVELS,
    SIZE,
    Pattern,
    _inside,
    _rows,
    _step,
    _uv,
    _zero,
    cells,
    noise,
    plain,
)

_LEVEL_START = np.concatenate([[0], np.cumsum([(SIZE >> k) ** 2 for k in range(LEVELS)])])
TEXELS = int(_LEVEL_START[-1])
LEVEL_START: np.ndarray = _LEVEL_START[:-1].astype(np.int64)


def cloth(rng: np.random.Generator) -> Pattern:
    n = noise(rng, 1.6, 2)
    return Pattern(1 + 0.14 * n, _zero(), _zero(), 2.0 * n)


def asphalt(rng: np.random.Generator) -> Pattern:
    fine, broad = noise(rng, 0.35, 12), noise(rng, 1.7)
    _, edge, _ = cells(rng, 9)
    wobble = noise(rng, 1.5, 3)
    crack = _step(-(edge + 5 * np.abs(wobble) * (noise(rng, 1.8) > 0.1)), -2.2, -0.4)
    stone = _step(noise(rng, 0.2, 30), 1.3, 2.0)
    return Pattern(
        1 + 0.10 * fine + 0.07 * broad - 0.35 * crack,
        0.6 * stone,
        _step(broad, 1.2, 2.4) * 0.5,
        0.6 * fine - 2 * crack,
    )


def concrete(rng: np.random.Generator) -> Pattern:
    _, v = _uv()
    fine, broad = noise(rng, 0.6, 6), noise(rng, 1.9)
    streak = np.repeat(noise(rng, 1.3, 2)[:1], SIZE, axis=0) * _step(v, 0.0, 1.0)
    return Pattern(
        1 + 0.05 * fine + 0.06 * broad + 0.05 * streak, _step(broad, 0.8, 2.5) * 0.5, _zero(), 0.4 * fine
    )


def plaster(rng: np.random.Generator) -> Pattern:
    fine, broad = noise(rng, 0.8, 8), noise(rng, 2.0)
    return Pattern(
        1 + 0.03 * fine + 0.05 * broad, _step(noise(rng, 1.8, 2), 1.2, 2.5) * 0.5, _zero(), 0.7 * fine
    )


def pavers(rng: np.random.Generator) -> Pattern:
    face, tone = _rows(rng, 8, 16, 0.007, 0.5)
    n = noise(rng, 0.7, 4)
    return Pattern(
        (0.55 + 0.45 * face) * (0.88 + 0.24 * tone) * (1 + 0.06 * n),
        _step(tone, 0.72, 0.78),
        _zero(),
        5 * face + 0.6 * n,
    )


def slabs(rng: np.random.Generator) -> Pattern:
    face, tone = _rows(rng, 4, 4, 0.010, 0.0)
    n, broad = noise(rng, 0.7, 4), noise(rng, 1.9)
    stain = _step(broad, 0.9, 2.2)
    return Pattern(
        (0.55 + 0.45 * face) * (0.92 + 0.16 * tone) * (1 + 0.05 * n) - 0.12 * stain,
        0.35 * tone,
        _zero(),
        7 * face + 0.5 * n,
    )


def cobble(rng: np.random.Generator) -> Pattern:
    near, edge, index = cells(rng, 170)
    face = _step(edge, 0.8, 3.2)
    tone = rng.random(170)[index]
    return Pattern(
        (0.45 + 0.6 * face) * (0.8 + 0.4 * tone), _step(tone, 0.6, 0.7), _zero(), 9 * face - 0.25 * near
    )


def grass(rng: np.random.Generator) -> Pattern:
    blades = noise(rng, 0.25, 20)
    clump, broad = noise(rng, 1.2, 5), noise(rng, 1.9)
    soil = _step(clump + 0.9 * broad, 1.5, 2.6)
    flower = _step(noise(rng, 0.2, 40), 2.9, 3.3)
    return Pattern(
        1 + 0.24 * blades + 0.12 * clump,
        np.clip(0.5 + 0.3 * broad + 0.2 * clump, 0, 1),
        np.maximum(soil, 0.6 * flower),
        2.5 * blades,
    )


def soil(rng: np.random.Generator) -> Pattern:
    fine, broad = noise(rng, 0.8, 3), noise(rng, 1.8)
    stone = _step(noise(rng, 0.6, 14), 1.7, 2.2)
    return Pattern(1 + 0.16 * fine + 0.12 * broad, stone, _step(broad, 0.4, 1.6), 3 * fine + 4 * stone)


def gravel(rng: np.random.Generator) -> Pattern:
    near, edge, index = cells(rng, 420)
    tone = rng.random(420)[index]
    return Pattern(
        (0.65 + 0.4 * _step(edge, 0.2, 2.5)) * (0.75 + 0.5 * tone),
        _step(tone, 0.7, 0.8),
        _zero(),
        -1.5 * near,
    )


def brick(rng: np.random.Generator) -> Pattern:
    face, tone = _rows(rng, 8, 24, 0.006, 0.5)
    n, broad = noise(rng, 0.6, 6), noise(rng, 1.8)
    return Pattern(
        (0.82 + 0.36 * tone) * (1 + 0.07 * n + 0.05 * broad),
        1 - face,
        _step(tone, 0.85, 0.9) * face,
        4 * face + 0.7 * n,
    )


def stone_wall(rng: np.random.Generator) -> Pattern:
    _, edge, index = cells(rng, 46, stretch=1.7)
    tone = rng.random(46)[index]
    face = _step(edge, 1.5, 5.0)
    n = noise(rng, 0.9, 4)
    return Pattern(
        (0.78 + 0.4 * tone) * (1 + 0.1 * n), 1 - face, _step(tone, 0.7, 0.75) * face * 0.7, 9 * face + 1.5 * n
    )


def wood(rng: np.random.Generator) -> Pattern:
    u, _ = _uv()
    board = np.floor(u * 8).astype(int)
    tone = rng.random(8)[board]
    edge = np.minimum((u * 8) % 1, 1 - (u * 8) % 1) / 8
    grain = np.repeat(noise(rng, 0.9, 4)[:1], SIZE, axis=0) * 0.7 + 0.5 * noise(rng, 1.3, 3)
    gap = _step(-edge, -0.010, -0.004)
    return Pattern(
        (0.8 + 0.35 * tone) * (1 + 0.09 * grain) * (1 - 0.75 * gap), _zero(), _zero(), -6 * gap + 0.5 * grain
    )


def corrugated(rng: np.random.Generator) -> Pattern:
    u, _ = _uv()
    wave = 0.5 + 0.5 * np.cos(2 * np.pi * 16 * u)
    dirt = noise(rng, 1.7)
    streak = np.repeat(noise(rng, 1.0, 3)[:1], SIZE, axis=0)
    return Pattern(
        0.93 + 0.10 * wave + 0.05 * streak + 0.03 * dirt, _step(dirt + streak, 2.2, 3.5), _zero(), 7 * wave
    )


def container(rng: np.random.Generator) -> Pattern:
    u, _ = _uv()
    phase = (u * 8) % 1.0
    rib = _step(phase, 0.05, 0.18) * _step(-phase, -0.68, -0.55)
    dirt = noise(rng, 1.8)
    return Pattern(0.86 + 0.18 * rib + 0.05 * dirt, _step(dirt, 1.5, 2.6) * 0.8, _zero(), 12 * rib)


def curtain_side(rng: np.random.Generator) -> Pattern:
    u, v = _uv()
    fold = np.repeat(noise(rng, 1.5, 4)[:1], SIZE, axis=0)
    strap = ((u * 6) % 1.0 < 0.06).astype(float)
    band = _inside(u, v, -1, 2, 0.38, 0.66)
    return Pattern(
        1 + 0.05 * fold + 0.03 * noise(rng, 1.5, 2), band * (1 - strap), strap, 5 * fold + 3 * strap
    )


def panels(rng: np.random.Generator) -> Pattern:
    face, tone = _rows(rng, 2, 2, 0.006, 0.0)
    n = noise(rng, 1.7)
    return Pattern((0.6 + 0.4 * face) * (0.96 + 0.08 * tone) * (1 + 0.03 * n), _zero(), _zero(), 6 * face)


def leaves(rng: np.random.Generator) -> Pattern:
    near, edge, index = cells(rng, 230)
    tone = rng.random(230)[index]
    gap = _step(-edge, -1.8, -0.3)
    return Pattern(
        (0.7 + 0.6 * tone) * (1 - 0.45 * gap) * (1.1 - 0.02 * near), tone * 0.9, 0.8 * gap, 5 * tone - 5 * gap
    )


def bark(rng: np.random.Generator) -> Pattern:
    n = noise(rng, 1.1, 3)
    ridge = np.repeat(noise(rng, 0.7, 6)[:1], SIZE, axis=0) + 0.9 * n
    return Pattern(1 + 0.24 * ridge, _step(ridge, 0.8, 2.0) * 0.6, _zero(), 6 * ridge)


def tread(rng: np.random.Generator) -> Pattern:
    u, _ = _uv()
    rib = (((u * 16) % 1.0) < 0.5).astype(float)
    return Pattern(0.7 + 0.5 * rib, _zero(), _zero(), 8 * rib)


def stripes(rng: np.random.Generator) -> Pattern:
    """Diagonal hazard stripes of colours A and B."""
    u, v = _uv()
    band = _step(np.abs(((u + v) * 2) % 1.0 - 0.5), 0.24, 0.26)
    return Pattern(1 + 0.04 * noise(rng, 1.5), band, _zero(), _zero())


def bands(rng: np.random.Generator) -> Pattern:
    """Broad blocks of A and B along u, as kerbs and plastic barriers have."""
    u, _ = _uv()
    band = _step(np.abs((u + 0.25) % 1.0 - 0.5), 0.245, 0.255)
    n = noise(rng, 1.0, 3)
    return Pattern(1 + 0.07 * n + 0.05 * noise(rng, 1.9), band, _zero(), 0.8 * n)


def worn_paint(rng: np.random.Generator) -> Pattern:
    n, broad = noise(rng, 0.7, 6), noise(rng, 1.6, 2)
    return Pattern(1 + 0.05 * n, 0.85 * _step(n + 0.8 * broad, 1.2, 2.2), _zero(), 0.4 * n)


def roof_tiles(rng: np.random.Generator) -> Pattern:
    _, v = _uv()
    face, tone = _rows(rng, 10, 12, 0.010, 0.5)
    slope = (v * 12) % 1.0
    return Pattern(
        (0.75 + 0.25 * tone) * (1.1 - 0.45 * slope) * (0.7 + 0.3 * face),
        _step(tone, 0.8, 0.9),
        _zero(),
        6 * (1 - slope),
    )


def mesh_fence(rng: np.random.Generator) -> Pattern:
    u, v = _uv()
    bar = (((u * 12) % 1.0) < 0.18) | (((v * 12) % 1.0) < 0.18)
    return Pattern(1 + 0.03 * noise(rng, 1.4), 1 - bar.astype(float), _zero(), _zero())


PATTERNS: dict[str, Callable[[np.random.Generator], Pattern]] = {
    f.__name__: f
    for f in (
        plain, cloth, asphalt, concrete, plaster, pavers, slabs, cobble, grass, soil, gravel, brick,
        stone_wall,
        wood, corrugated, container, curtain_side, panels, leaves, bark, tread, stripes, bands, worn_paint,
        roof_tiles, mesh_fence,
    )
}  # fmt: skip


def pack(pattern: Pattern) -> np.ndarray:
    """(TEXELS, CHANNELS) uint8: every mip level of a pattern, row by row."""
    h = pattern.height
    tilt_u = np.roll(h, -1, axis=1) - np.roll(h, 1, axis=1)
    tilt_v = np.roll(h, -1, axis=0) - np.roll(h, 1, axis=0)
    image = np.stack(
        [pattern.light * 128, pattern.b * 255, pattern.c * 255, 128 - 12 * tilt_u, 128 - 12 * tilt_v], axis=-1
    )
    image = np.clip(image, 0, 255)
    levels = []
    for _ in range(LEVELS):
        levels.append(np.round(image).astype(np.uint8).reshape(-1, CHANNELS))
        if image.shape[0] > 1:
            image = 0.25 * (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2])
    return np.concatenate(levels)


@lru_cache(maxsize=1)
def atlas() -> tuple[tuple[str, ...], np.ndarray]:
    """Names and (T, TEXELS, CHANNELS) uint8 texels of every texture; the same in every world."""
    from lidardistill.synthetic.matter.facades import FACADES

    library = {**PATTERNS, **FACADES}
    names = tuple(library)
    packed = [
        pack(library[name](np.random.Generator(np.random.PCG64(np.random.SeedSequence([7, k])))))
        for k, name in enumerate(names)
    ]
    return names, np.stack(packed)
