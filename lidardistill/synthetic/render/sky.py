"""The light of a scene: sun, sky with clouds, haze."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lidardistill.synthetic.matter.pattern import noise

DOME_ROWS, DOME_COLUMNS = 192, 1024


class Light(NamedTuple):
    """All light of one scene; colours are linear RGB, float32.

    Attributes:
        name: kind of weather.
        sun: (3,) unit vector towards the sun.
        sun_rgb: (3,) zero where the sun is behind clouds.
        up_rgb, side_rgb, down_rgb: (3,) light from the zenith, the horizon and the ground.
        haze_rgb: (3,) colour of distant things.
        haze_per_m: share of light lost to haze a metre.
        dome: (DOME_ROWS, DOME_COLUMNS, 3) sky by sqrt(z) upwards and azimuth.
        exposure: brightness of the pictures.
    """

    name: str
    sun: np.ndarray
    sun_rgb: np.ndarray
    up_rgb: np.ndarray
    side_rgb: np.ndarray
    down_rgb: np.ndarray
    haze_rgb: np.ndarray
    haze_per_m: float
    dome: np.ndarray
    exposure: float


# name: (share of scenes, sun elevation deg, sun strength, sun colour, zenith, horizon, cloud cover, haze a
# metre)
_WEATHER: dict[str, tuple] = {
    "clear": (
        0.30,
        (35, 65),
        2.9,
        (1.0, 0.95, 0.86),
        (0.14, 0.30, 0.68),
        (0.56, 0.70, 0.86),
        (-0.2, 0.5),
        0.0012,
    ),
    "cloudy": (
        0.35,
        (30, 60),
        2.4,
        (1.0, 0.95, 0.88),
        (0.18, 0.33, 0.64),
        (0.62, 0.71, 0.80),
        (0.6, 1.3),
        0.0018,
    ),
    "low sun": (
        0.20,
        (14, 26),
        2.7,
        (1.0, 0.80, 0.56),
        (0.19, 0.30, 0.56),
        (0.86, 0.74, 0.60),
        (0.1, 0.9),
        0.0022,
    ),
    "overcast": (
        0.15,
        (40, 60),
        0.0,
        (1.0, 1.0, 1.0),
        (0.50, 0.54, 0.58),
        (0.72, 0.75, 0.78),
        (2.5, 3.0),
        0.0035,
    ),
}


def make_light(rng: np.random.Generator) -> Light:
    """Weather, time of day and clouds of one scene."""
    names = list(_WEATHER)
    name = names[int(rng.choice(len(names), p=[_WEATHER[n][0] for n in names]))]
    _, elevation, strength, colour, zenith, horizon, cover, haze = _WEATHER[name]
    height = np.radians(rng.uniform(*elevation))
    azimuth = rng.uniform(0.0, 2 * np.pi)
    sun = np.array([np.cos(height) * np.cos(azimuth), np.cos(height) * np.sin(azimuth), np.sin(height)])
    zenith_rgb, horizon_rgb = np.array(zenith), np.array(horizon)
    sun_rgb = strength * np.array(colour)
    dome, mean = _dome(rng, sun, sun_rgb, zenith_rgb, horizon_rgb, rng.uniform(*cover))
    overcast = strength == 0.0
    up = (1.25 if overcast else 0.62) * (0.35 * zenith_rgb + 0.65 * mean)
    side = (1.0 if overcast else 0.55) * (0.6 * horizon_rgb + 0.4 * mean)
    down = 0.22 * np.array([1.0, 0.95, 0.88]) * (np.mean(up) + 0.55 * strength * np.sin(height))
    return Light(
        name,
        sun.astype(np.float32),
        sun_rgb.astype(np.float32),
        up.astype(np.float32),
        side.astype(np.float32),
        down.astype(np.float32),
        (0.92 * horizon_rgb).astype(np.float32),
        haze * rng.uniform(0.7, 1.5),
        dome,
        (1.15 if overcast else 1.0) * rng.uniform(0.88, 1.12),
    )


def _dome(
    rng: np.random.Generator,
    sun: np.ndarray,
    sun_rgb: np.ndarray,
    zenith: np.ndarray,
    horizon: np.ndarray,
    cover: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The sky seen from below, float32, and its mean colour."""
    z = (np.arange(DOME_ROWS) / (DOME_ROWS - 1.0))[:, None] ** 2
    azimuth = (np.arange(DOME_COLUMNS) / DOME_COLUMNS * 2 * np.pi)[None, :]
    flat = np.sqrt(np.maximum(1 - z * z, 0))
    direction = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), z + 0 * azimuth], axis=-1)
    fade = np.exp(-3.2 * z)[..., None]
    sky = zenith * (1 - fade) + horizon * fade
    toward = np.clip(direction @ sun, 0, 1)
    strength = sun_rgb.max()
    if strength > 0:
        glow = (
            0.10 * toward[..., None] ** 6
            + 0.35 * toward[..., None] ** 40
            + 6.0 * (toward[..., None] > 0.9998)
        )
        sky = sky + glow * sun_rgb
    field = noise(rng, 1.75, 2, size=512) + 0.35 * noise(rng, 1.1, 12, size=512)
    plane = direction[..., :2] / (direction[..., 2:] + 0.16) * 62.0
    density = _look_up(field, plane)
    beyond = _look_up(field, plane + 5.0 * sun[:2] / (sun[2] + 0.3))
    veil = np.clip((density - 1.05 + cover) * 0.9, 0, 1)
    veil = veil * veil * (3 - 2 * veil) * np.clip(z * 9, 0, 1) ** 0.7
    lit = np.clip(0.85 + 0.22 * (density - beyond) - 0.12 * np.maximum(density - 0.6, 0), 0.45, 1.15)[
        ..., None
    ]
    base = np.array([0.86, 0.87, 0.89]) if strength == 0 else 0.62 * horizon + 0.30 * sun_rgb
    cloud = base * (lit if strength > 0 else 0.75 + 0.25 * (lit - 0.45) / 0.7)
    cloud = cloud + 0.25 * sun_rgb * toward[..., None] ** 12
    sky = sky * (1 - 0.94 * veil[..., None]) + cloud * 0.94 * veil[..., None]
    weight = np.sqrt(np.maximum(z, 0))
    mean = (sky * weight[..., None]).mean(axis=(0, 1)) / weight.mean()
    return sky.astype(np.float32), np.minimum(mean, 1.2)


def _look_up(field: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Bilinear values of a tiling field at (..., 2) coordinates."""
    size = len(field)
    low = np.floor(at).astype(np.int64)
    f = at - low
    x0, y0 = low[..., 0] % size, low[..., 1] % size
    x1, y1 = (x0 + 1) % size, (y0 + 1) % size
    a = field[y0, x0] * (1 - f[..., 0]) + field[y0, x1] * f[..., 0]
    b = field[y1, x0] * (1 - f[..., 0]) + field[y1, x1] * f[..., 0]
    return a * (1 - f[..., 1]) + b * f[..., 1]
