"""Fog and snow: what particles between the sensor and an object do to its echo."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lidardistill.corruptions.scan import CorruptedScan, check_points, ranges

LIGHT_M_S = 299_792_458.0
MAX_INTENSITY = 255.0
"""nuScenes stores intensities as 0..255."""

FOG_PULSE_S = 20e-9  # half-power width of the pulse; Hahner 2021, table 1
HARD_REFLECTIVITY = 1e-6 / np.pi  # differential reflectivity of a hard target, beta_0; Hahner 2021
CROSSOVER_M = (0.9, 1.0)
"""The receiver begins to see the beam at the first of these ranges, and sees all of it from the second;
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
    """Each beam keeps the stronger of two echoes: the object's, dimmed both ways, and the fog's own.

    The object's echo loses exp(-2 alpha R). The fog's is largest a few metres before the sensor, whatever
    stands behind; relative to a hard target its strength grows with the square of that one's range, so far
    and dark objects vanish first. Its range scatters by 10 m times a Beta(2, 20) variable, and never lies
    behind the object.

    Args:
        points: (N, 4 or more) float32 x, y, z, intensity 0..255, LiDAR frame, metres.
        generator: draws the scatter.
        attenuation_per_m: alpha, 1/m; visibility (the meteorological optical range) is ln(20) / alpha: 0.01
            is 300 m, 0.06 is 50 m.
        backscatter: beta, what a cubic metre of fog sends back, 1 / (m sr); None takes 0.046 / visibility,
            which real fog has. Robo3D's three severities are 9 to 200 times that.

    Returns:
        The scan with as many points; echoes of the fog are injected.

    Raises:
        ValueError: wrong shape, or an attenuation or a backscatter below 0.

    Source: Hahner et al., Fog simulation on real LiDAR point clouds (ICCV 2021), sections 3.2 and 3.3; the
        scatter is that of the released code.
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
    """The strongest echo of homogeneous fog before a hard target.

    The received power of range R is the pulse, a squared sine over two half-power widths, weighed by what the
    fog
    scatters back from the ranges it covers: exp(-2 alpha r) / r^2 times the share of the beam that the
        receiver sees.

    Args:
        attenuation_per_m: alpha, 1/m.

    Returns:
        (K,) float64 range of the echo in metres and (K,) float64 its strength in seconds / m^2, for hard
        targets at 0, 0.1, 0.2, ... m; the last entry stands for all behind it.

    Source: Hahner et al. (ICCV 2021), equations 7 to 12.
    """
    grid_m = np.arange(0.0, _GRID_END_M, _GRID_M)
    # 3 mm: the crossover is a ramp of 10 cm.
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
    """Flakes cover a part of each beam: the object's echo loses that part, and a near flake may outshine it.

    Flakes are discs in the plane of the beam, their number and sizes after Gunn and Marshall. A flake of
    diameter D at range r covers min(1, D / (r * divergence)) of the beam, and its own echo is 0.9 * 255 of
    that part over r^2. Where the strongest flake is stronger than what is left of the object, the point lies
    at the flake. Of the others, those that were at the sensor's limit before (the smallest intensities at
    their range) and lost more than 1 - `noise_floor` of their light are gone.

    Args:
        points: (N, 4 or more) float32 x, y, z, intensity 0..255, LiDAR frame, metres.
        generator: draws the flakes.
        snowfall_mm_h: water of the snow that falls, mm/h.
        terminal_velocity_m_s: of the flakes.
        noise_floor: share of the smallest intensity at a range that the sensor still sees.

    Returns:
        The scan without the lost points; echoes of flakes are injected.

    Raises:
        ValueError: wrong shape, or a rate or velocity that is not above 0.

    Source: Hahner et al., LiDAR snowfall simulation (CVPR 2022), section 3; rates and velocities as Robo3D
        (ICCV 2023).
    Differs from the paper in: flakes are drawn for each beam for itself, with their centre inside it, and do
        not shade each other; the sensor's limit is the smallest intensity in 10 m of range, not a fit to
        labelled ground.
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
    order = np.argsort(echo, kind="stable")  # the strongest of a beam is written last
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
    """Snowflakes in a plane of the air: how many to the square metre, and their mean diameter in metres.

    The share of the plane that they cover is snowfall / (density * velocity). Diameters are exponential with
    the rate 2.55 R^-0.48 to the millimetre (Gunn and Marshall 1958), R being the rainfall that the snowfall
    corresponds to.

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
    """(N,) the first percentile of the intensities within the same 10 m of range."""
    band = (distance / 10.0).astype(np.int64)
    limit = np.zeros(len(intensity))
    for number in np.unique(band):
        inside = band == number
        limit[inside] = np.percentile(intensity[inside], 1)
    return limit
