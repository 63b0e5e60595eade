"""Fog and snow: particles between the sensor and an object weaken or replace its echo."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lidardistill.corruptions.scan import CorruptedScan, check_points, ranges

LIGHT_M_S = 299_792_458.0
MAX_INTENSITY = 255.0
"""Largest intensity: nuScenes stores 0..255."""

FOG_PULSE_S = 20e-9  # half-power width of the pulse; Hahner 2021, table 1
HARD_REFLECTIVITY = 1e-6 / np.pi  # differential reflectivity of a hard target, beta_0; Hahner 2021
CROSSOVER_M = (0.9, 1.0)
"""Crossover ranges: the receiver sees none of the beam before the first and all of it from the second;
Hahner 2021.
"""
_GRID_M = 0.1
_GRID_END_M = 40.0
_CLUTTER_SPREAD_M, _CLUTTER_SHAPE = 10.0, (2.0, 20.0)


def fog(
    points: np.ndarray,
    generator: np.random.Generator,
    *,
    attenuation_per_m: float,
    backscatter: float | None = None,
) -> CorruptedScan:
    """Fog: each beam keeps the stronger of two echoes, the object's attenuated echo or the echo of the fog.

    The factor exp(-2 alpha R) attenuates the object's echo at range R. The echo of the fog is strongest a few
    metres before the sensor and does not depend on the object. Relative to a hard target, its strength grows
    with the square of the target's range, so far and dark objects vanish first. The range of the fog echo has
    a random scatter of 10 m times a Beta(2, 20) variable, and is never larger than the object's range.

    Args:
        points: (N, 4 or more) float32 x, y, z, intensity 0..255, LiDAR frame, metres.
        generator: draws the scatter.
        attenuation_per_m: alpha, 1/m; visibility (the meteorological optical range) is ln(20) / alpha: 0.01
            is 300 m, 0.06 is 50 m.
        backscatter: beta, backscattering coefficient of the fog, 1 / (m sr); None takes 0.046 / visibility,
            the value of real fog. Robo3D's three severities are 9 to 200 times larger.

    Returns:
        The scan with the same number of points; echoes of the fog count as injected.

    Raises:
        ValueError: the shape is wrong, or the attenuation or the backscatter is below 0.

    Source: Hahner et al., Fog simulation on real LiDAR point clouds (ICCV 2021), sections 3.2 and 3.3; the
        scatter follows the released code.
    Differs from the paper in: intensities are not rounded.
    """
    check_points(points, "fog")
    beta = 0.046 * attenuation_per_m / np.log(20) if backscatter is None else backscatter
    if attenuation_per_m < 0 or beta < 0:
        raise ValueError(
            f"fog: attenuation_per_m and backscatter must be 0 or more, got {attenuation_per_m}, "
            f"{backscatter}"
        )
    out = points.copy()
    distance = ranges(points)
    intensity = points[:, 3].astype(np.float64)
    hard = intensity * np.exp(-2 * attenuation_per_m * distance)
    clutter_m, strength = fog_echo(attenuation_per_m)
    cell = np.minimum((distance / _GRID_M).astype(np.int64), len(strength) - 1)
    soft = intensity * distance**2 * (beta / HARD_REFLECTIVITY) * strength[cell]
    soft = np.minimum(soft, MAX_INTENSITY)
    scatter = _CLUTTER_SPREAD_M * generator.beta(*_CLUTTER_SHAPE, size=len(points))
    injected = soft > hard
    place = np.minimum(clutter_m[cell] + scatter, distance)
    out[:, :3] = np.where(injected, place / np.maximum(distance, 1e-6), 1.0)[:, None] * points[:, :3]
    out[:, 3] = np.where(injected, soft, hard)
    return CorruptedScan(out, np.arange(len(points)), injected)


@lru_cache(maxsize=16)
def fog_echo(attenuation_per_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Strongest echo of homogeneous fog before a hard target.

    The received power at range R is an integral over the ranges r inside the pulse. The pulse is a squared
    sine, two half-power widths long. Its weight at r is exp(-2 alpha r) / r^2 times the share of the beam
    inside the receiver's view.

    Args:
        attenuation_per_m: alpha, 1/m.

    Returns:
        (K,) float64 range of the echo in metres and (K,) float64 strength in seconds / m^2, for hard targets
        at 0, 0.1, 0.2, ... m; the last entry is valid for all larger ranges.

    Source: Hahner et al. (ICCV 2021), equations 7 to 12.
    """
    grid_m = np.arange(0.0, _GRID_END_M, _GRID_M)
    # A step of 3 mm resolves the crossover, a ramp of 10 cm.
    time_s = np.linspace(0.0, 2 * FOG_PULSE_S, 2001)
    covered_m = grid_m[:, None] - 0.5 * LIGHT_M_S * time_s[None]
    seen = np.clip((covered_m - CROSSOVER_M[0]) / (CROSSOVER_M[1] - CROSSOVER_M[0]), 0.0, 1.0)
    square = np.maximum(covered_m, CROSSOVER_M[0]) ** 2
    pulse = np.sin(0.5 * np.pi * time_s / FOG_PULSE_S) ** 2
    power = pulse * np.exp(-2 * attenuation_per_m * covered_m) * seen / square
    received = 0.5 * (power[:, 1:] + power[:, :-1]).sum(axis=1) * (time_s[1] - time_s[0])
    best = np.maximum.accumulate(received)
    first = np.flatnonzero(np.concatenate([[True], best[1:] > best[:-1]]))
    place = first[np.searchsorted(first, np.arange(len(best)), side="right") - 1]
    return grid_m[place], best


SNOW_DENSITY = 0.1  # g/cm^3; Hahner 2022, section 3
_FLAKE_M = 0.003  # diameter in the conversion from snowfall to rainfall, metres
SNOW_REFLECTIVITY = 0.9
BEAM_RAD = 0.003
"""Divergence of a beam; Hahner 2022."""


def snow(
    points: np.ndarray,
    generator: np.random.Generator,
    *,
    snowfall_mm_h: float,
    terminal_velocity_m_s: float,
    noise_floor: float = 0.7,
) -> CorruptedScan:
    """Snow: flakes cover a part of each beam and weaken the object's echo; a near flake can replace it.

    Flakes are discs in the plane of the beam; their number and sizes follow Gunn and Marshall. A flake of
    diameter D at range r covers the share c = min(1, D / (r * divergence)) of the beam. Its echo has the
    strength 0.9 * 255 * c / r^2. If the strongest flake is stronger than the weakened object, the point moves
    to the flake. The function removes other points if their intensity was at the sensor's limit (the smallest
    at their range) and they lost more than 1 - `noise_floor` of their light.

    Args:
        points: (N, 4 or more) float32 x, y, z, intensity 0..255, LiDAR frame, metres.
        generator: draws the flakes.
        snowfall_mm_h: snowfall rate as water, mm/h.
        terminal_velocity_m_s: terminal velocity of the flakes, m/s.
        noise_floor: detection limit, as a share of the smallest intensity at a range.

    Returns:
        The scan without the lost points; echoes of flakes count as injected.

    Raises:
        ValueError: the shape is wrong, or the rate or the velocity is not above 0.

    Source: Hahner et al., LiDAR snowfall simulation (CVPR 2022), section 3; rates and velocities of Robo3D
        (ICCV 2023).
    Differs from the paper in: flakes are drawn for each beam separately, with their centres inside the beam,
        and do not shade each other; the sensor's limit is the smallest intensity in 10 m of range, not a fit
        to labelled ground.
    """
    check_points(points, "snow")
    if not (snowfall_mm_h > 0 and terminal_velocity_m_s > 0):
        raise ValueError(
            f"snow: snowfall_mm_h and terminal_velocity_m_s must be above 0, got {snowfall_mm_h}, "
            f"{terminal_velocity_m_s}"
        )
    distance = ranges(points)
    intensity = points[:, 3].astype(np.float64)
    per_m2, mean_m = flakes(snowfall_mm_h, terminal_velocity_m_s)
    count = generator.poisson(per_m2 * 0.5 * BEAM_RAD * distance**2)
    beam = np.repeat(np.arange(len(points)), count)
    at_m = distance[beam] * np.sqrt(generator.random(len(beam)))  # uniform in the beam's triangle
    covered = np.minimum(generator.exponential(mean_m, len(beam)) / np.maximum(at_m * BEAM_RAD, 1e-9), 1.0)
    open_share = 1.0 - np.minimum(np.bincount(beam, covered, minlength=len(points)), 1.0)
    seen = np.clip((at_m - CROSSOVER_M[0]) / (CROSSOVER_M[1] - CROSSOVER_M[0]), 0.0, 1.0)
    echo = SNOW_REFLECTIVITY * MAX_INTENSITY * covered * seen / np.maximum(at_m, CROSSOVER_M[0]) ** 2

    hard = intensity * open_share
    order = np.argsort(echo, kind="stable")  # the strongest flake of a beam is written last
    flake, flake_m = np.zeros(len(points)), np.zeros(len(points))
    flake[beam[order]], flake_m[beam[order]] = echo[order], at_m[order]
    injected = flake > hard
    lost = ~injected & (hard < noise_floor * _smallest(intensity, distance))

    out = points.copy()
    out[:, :3] = np.where(injected, flake_m / np.maximum(distance, 1e-6), 1.0)[:, None] * points[:, :3]
    out[:, 3] = np.where(injected, np.minimum(flake, MAX_INTENSITY), hard)
    source = np.flatnonzero(~lost)
    return CorruptedScan(out[source], source, injected[source])


def flakes(snowfall_mm_h: float, terminal_velocity_m_s: float) -> tuple[float, float]:
    """Snowflakes in a plane of the air: number per square metre, and mean diameter in metres.

    The covered share of the plane is snowfall / (density * velocity). Diameters are exponential with the rate
    2.55 R^-0.48 per millimetre (Gunn and Marshall 1958); R is the rainfall equivalent of the snowfall.

    Source: Hahner et al. (CVPR 2022), section 3, and its released code for the conversion of snowfall to
        rainfall.
    """
    occupied = snowfall_mm_h / (3.6e6 * SNOW_DENSITY * terminal_velocity_m_s)
    rain_mm_h = (snowfall_mm_h / (487 * SNOW_DENSITY * _FLAKE_M * terminal_velocity_m_s)) ** 1.5
    mean_m = 1e-3 / (2.55 * rain_mm_h**-0.48)
    mean_area = (
        0.25 * np.pi * 2 * mean_m**2
    )  # the mean square of an exponential variable is twice its squared mean
    return occupied / mean_area, mean_m


def _smallest(intensity: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """(N,) first percentile of the intensities in the same 10 m of range."""
    band = (distance / 10.0).astype(np.int64)
    limit = np.zeros(len(intensity))
    for number in np.unique(band):
        inside = band == number
        limit[inside] = np.percentile(intensity[inside], 1)
    return limit
