"""Facade textures: one bay of a storey, with its window, a tile. Colour C is what glass reflects in.

A tile is one window axis wide and one storey high; the shading kernel varies the glass from tile to tile.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lidardistill.synthetic.matter.pattern import SIZE, Pattern, _inside, _rows, _step, _uv, noise


def _window(
    u0: float, u1: float, v0: float, v1: float, bars_u: int, bars_v: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Glass share, frame share and a shadow factor that makes the glass look set back."""
    u, v = _uv()
    opening = _inside(u, v, u0, u1, v0, v1)
    inner = _inside(u, v, u0 + 0.02, u1 - 0.02, v0 + 0.016, v1 - 0.016)
    for k in range(1, bars_u):
        at = u0 + (u1 - u0) * k / bars_u
        inner = inner * (1 - _inside(u, v, at - 0.010, at + 0.010, v0, v1))
    for k in range(1, bars_v):
        at = v0 + (v1 - v0) * k / bars_v
        inner = inner * (1 - _inside(u, v, u0, u1, at - 0.009, at + 0.009))
    top = _inside(u, v, u0, u1, v1 - 0.07, v1, 0.015)
    side = _inside(u, v, u0, u0 + 0.04, v0, v1, 0.012)
    return inner, opening * (1 - inner), 1 - 0.55 * np.maximum(top, 0.7 * side) * opening


def _compose(
    wall: np.ndarray, glass: np.ndarray, frame: np.ndarray, shade: np.ndarray, height: np.ndarray
) -> Pattern:
    solid = np.clip(glass + frame, 0, 1)
    return Pattern(
        (wall * (1 - solid) + solid) * shade, np.clip(frame, 0, 1), glass, height * (1 - solid) - 5 * solid
    )


def punched(rng: np.random.Generator) -> Pattern:
    """Brick wall, one framed window with a stone sill and lintel."""
    u, v = _uv()
    face, tone = _rows(rng, 12, 36, 0.005, 0.5)
    wall = (0.80 + 0.35 * tone) * (0.8 + 0.2 * face) * (1 + 0.05 * noise(rng, 1.5))
    glass, frame, shade = _window(0.29, 0.71, 0.27, 0.80, 2, 2)
    sill = _inside(u, v, 0.25, 0.75, 0.225, 0.265) + _inside(u, v, 0.26, 0.74, 0.805, 0.86)
    under = _inside(u, v, 0.25, 0.75, 0.19, 0.22, 0.012)
    return _compose(wall, glass, np.clip(frame + sill, 0, 1), shade * (1 - 0.3 * under), 3 * face + 6 * sill)


def shuttered(rng: np.random.Generator) -> Pattern:
    """Plaster wall, window between louvred shutters."""
    u, v = _uv()
    wall = 1 + 0.05 * noise(rng, 1.9) + 0.03 * noise(rng, 0.8, 8)
    glass, frame, shade = _window(0.36, 0.64, 0.24, 0.82, 2, 3)
    shutter = _inside(u, v, 0.20, 0.35, 0.23, 0.83) + _inside(u, v, 0.65, 0.80, 0.23, 0.83)
    louvre = 0.72 + 0.28 * (((v * 40) % 1.0) > 0.35)
    sill = _inside(u, v, 0.18, 0.82, 0.19, 0.225)
    pattern = _compose(wall, glass, np.clip(frame + shutter + sill, 0, 1), shade, 4 * sill)
    return pattern._replace(light=pattern.light * np.where(shutter > 0.5, louvre, 1.0))


def ribbon(rng: np.random.Generator) -> Pattern:
    """Concrete band below a ribbon of windows."""
    face, _ = _rows(rng, 2, 2, 0.005, 0.0)
    wall = (0.85 + 0.15 * face) * (1 + 0.05 * noise(rng, 1.8))
    glass, frame, shade = _window(0.0, 1.0, 0.34, 0.84, 4, 1)
    return _compose(wall, glass, frame, shade, 3 * face)


def glazed(rng: np.random.Generator) -> Pattern:
    """Curtain wall: glass from floor to floor, thin mullions, an opaque band at the slab."""
    u, v = _uv()
    glass, frame, _ = _window(-0.02, 1.02, -0.01, 1.01, 2, 3)
    slab = _inside(u, v, -1, 2, 0.0, 0.13)
    return _compose(
        np.ones((SIZE, SIZE)), glass * (1 - slab), np.clip(frame * (1 - slab), 0, 1), 1 - 0.15 * slab, 0 * u
    )


def balcony(rng: np.random.Generator) -> Pattern:
    """Plaster wall with a tall glazed door; the railing is in front of it."""
    u, v = _uv()
    wall = 1 + 0.06 * noise(rng, 1.9)
    glass, frame, shade = _window(0.18, 0.82, 0.06, 0.80, 3, 1)
    rail = _inside(u, v, 0.08, 0.92, 0.34, 0.37) + _inside(u, v, 0.08, 0.92, 0.0, 0.05)
    bars = _inside(u, v, 0.09, 0.91, 0.03, 0.36) * (((u * 30) % 1.0) < 0.3)
    rail = np.clip(rail + bars, 0, 1)
    return _compose(wall, glass * (1 - rail), np.clip(frame + rail, 0, 1), shade, 3 * rail)


def shop(rng: np.random.Generator) -> Pattern:
    """Ground floor: plinth, display window, fascia board."""
    u, v = _uv()
    glass, frame, shade = _window(0.07, 0.93, 0.12, 0.70, 2, 1)
    fascia = _inside(u, v, 0.02, 0.98, 0.76, 0.95)
    text = fascia * _inside(u, v, 0.12, 0.88, 0.81, 0.90) * (noise(rng, 0.9, 10) > 0.1)
    wall = 1 + 0.05 * noise(rng, 1.8) - 0.15 * _inside(u, v, -1, 2, 0.0, 0.10)
    pattern = _compose(wall, glass, np.clip(frame + fascia - 0.85 * text, 0, 1), shade, 4 * fascia)
    return pattern._replace(light=pattern.light * (1 + 0.2 * text))


def entrance(rng: np.random.Generator) -> Pattern:
    """Ground floor with rusticated stone, a window and a door."""
    u, v = _uv()
    face, tone = _rows(rng, 4, 7, 0.012, 0.5)
    wall = (0.7 + 0.3 * face) * (0.9 + 0.2 * tone)
    glass, frame, shade = _window(0.10, 0.40, 0.28, 0.78, 2, 1)
    door_frame = _inside(u, v, 0.56, 0.90, 0.0, 0.80)
    door = _inside(u, v, 0.60, 0.86, 0.0, 0.76)
    light = _inside(u, v, 0.62, 0.84, 0.56, 0.73)
    pattern = _compose(
        wall, np.clip(glass + light, 0, 1), np.clip(frame + door_frame - light, 0, 1), shade, 5 * face
    )
    return pattern._replace(light=pattern.light * (1 - 0.5 * door * (1 - light)))


def loft(rng: np.random.Generator) -> Pattern:
    """Industrial brick with one large gridded steel window."""
    u, v = _uv()
    face, tone = _rows(rng, 14, 36, 0.005, 0.5)
    wall = (0.78 + 0.4 * tone) * (0.8 + 0.2 * face)
    glass, frame, shade = _window(0.12, 0.88, 0.16, 0.86, 5, 4)
    arch = _inside(u, v, 0.10, 0.90, 0.87, 0.92)
    return _compose(wall, glass, np.clip(frame + arch, 0, 1), shade, 3 * face)


def shed(rng: np.random.Generator) -> Pattern:
    """Metal cladding with a strip of windows high up."""
    u, _ = _uv()
    wave = 0.5 + 0.5 * np.cos(2 * np.pi * 12 * u)
    wall = 0.9 + 0.12 * wave + 0.04 * noise(rng, 1.7)
    glass, frame, shade = _window(0.06, 0.94, 0.66, 0.86, 4, 1)
    return _compose(wall, glass, frame, shade, 6 * wave)


def roller_door(rng: np.random.Generator) -> Pattern:
    """A slatted gate in a plain wall."""
    u, v = _uv()
    wall = 1 + 0.05 * noise(rng, 1.8)
    door = _inside(u, v, 0.10, 0.90, 0.0, 0.78)
    slat = 0.75 + 0.25 * _step((v * 26) % 1.0, 0.0, 0.4)
    lintel = _inside(u, v, 0.06, 0.94, 0.79, 0.83)
    return Pattern(
        np.where(door > 0.5, slat, wall) * (1 - 0.3 * lintel), door, np.zeros((SIZE, SIZE)), 4 * slat * door
    )


FACADES: dict[str, Callable[[np.random.Generator], Pattern]] = {
    f.__name__: f
    for f in (punched, shuttered, ribbon, glazed, balcony, shop, entrance, loft, shed, roller_door)
}
