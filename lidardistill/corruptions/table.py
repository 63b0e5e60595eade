"""Corruptions by name and severity. Every model gets the same corrupted scans.

Source: Robo3D (Kong et al., ICCV 2023) for the names, the three severities and their values on nuScenes,
except where a comment names another source; CALICO (Sun et al., ICLR 2024) for spoofing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lidardistill.corruptions.attack import spoofing
from lidardistill.corruptions.scan import CorruptedScan
from lidardistill.corruptions.sensor import (
    beam_missing,
    cross_sensor,
    crosstalk,
    incomplete_echo,
    motion_blur,
    rings_by_elevation,
)
from lidardistill.corruptions.weather import fog, snow

SEVERITIES: Mapping[str, tuple[dict[str, Any], ...]] = {
    # Backscatter as in Robo3D. Attenuation: Robo3D draws it for each scan from 0 to 0.06; here it grows with
    # the severity: visibility of 300, 100 and 50 m (Hahner et al., ICCV 2021).
    "fog": tuple(
        {"attenuation_per_m": a, "backscatter": b} for a, b in ((0.01, 0.008), (0.03, 0.05), (0.06, 0.2))
    ),
    "snow": tuple(
        {"snowfall_mm_h": rate, "terminal_velocity_m_s": v}
        for rate, v in ((0.5, 2.0), (1.0, 1.6), (2.5, 1.6))
    ),
    "beam-missing": tuple({"num_missing": n} for n in (8, 16, 24)),
    "crosstalk": tuple({"share": s} for s in (0.03, 0.07, 0.12)),
    "motion-blur": tuple({"jitter_m": m} for m in (0.20, 0.25, 0.30)),
    "incomplete-echo": tuple({"share": s} for s in (0.75, 0.85, 0.95)),
    "cross-sensor": tuple({"num_kept": n} for n in (24, 16, 8)),
    "spoofing": tuple({"num_points": n} for n in (60, 100, 200)),
}
"""Maps a name to the settings of severity 1 (light), 2 (moderate) and 3 (heavy)."""

ATTACKS = ("spoofing",)
"""Attacks: these corruptions are scored by a success rate and excluded from mCE and mRR."""

NEEDS_VEHICLES = ("incomplete-echo",)


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Check names of corruptions and drop duplicates; "all" means every corruption.

    Raises:
        ValueError: a name is unknown, or there are no names.
    """
    wanted = tuple(SEVERITIES) if tuple(names) == ("all",) else tuple(dict.fromkeys(names))
    unknown = [name for name in wanted if name not in SEVERITIES]
    if unknown or not wanted:
        raise ValueError(
            f"corruption: expected all, or some of {', '.join(SEVERITIES)}, got "
            f"{', '.join(unknown) or 'none'}"
        )
    return wanted


def scan_generator(seed: int, row: int, name: str, severity: int) -> np.random.Generator:
    """Random generator of one scan; it depends only on seed, row, name and severity."""
    return np.random.default_rng(np.random.SeedSequence([seed, row, severity, *name.encode()]))


def corrupt(
    points: np.ndarray,
    name: str,
    severity: int,
    generator: np.random.Generator,
    *,
    rings: np.ndarray | None = None,
    vehicle_mask: np.ndarray | None = None,
) -> CorruptedScan:
    """Corrupt one scan.

    Args:
        points: (N, 4 or more) float32 x, y, z, intensity 0..255 and further columns, which are kept; LiDAR
            frame, metres.
        name: key of `SEVERITIES`.
        severity: 1 light, 2 moderate, 3 heavy.
        generator: source of all random numbers.
        rings: (N,) int beam of each point; None computes it from the elevation.
        vehicle_mask: (N,) bool points on vehicles; only "incomplete-echo" needs it.

    Raises:
        ValueError: the name or severity is unknown, the shapes do not fit, or "incomplete-echo" has no
            `vehicle_mask`.
    """
    if name not in SEVERITIES or not 1 <= severity <= len(SEVERITIES[name]):
        raise ValueError(
            f"expected a corruption out of {', '.join(SEVERITIES)} and a severity of 1..3, got {name!r}, "
            f"{severity}"
        )
    settings = SEVERITIES[name][severity - 1]
    if name in ("beam-missing", "cross-sensor"):
        beams = rings_by_elevation(points) if rings is None else rings
        if name == "cross-sensor":
            return cross_sensor(points, beams, **settings)
        return beam_missing(points, generator, beams, **settings)
    if name == "incomplete-echo":
        if vehicle_mask is None:
            raise ValueError(
                "incomplete-echo needs vehicle_mask: which points lie on vehicles, from labels or boxes"
            )
        return incomplete_echo(points, generator, vehicle_mask, **settings)
    return _PLAIN[name](points, generator, **settings)


_PLAIN: dict[str, Callable[..., CorruptedScan]] = {
    "fog": fog,
    "snow": snow,
    "crosstalk": crosstalk,
    "motion-blur": motion_blur,
    "spoofing": spoofing,
}


@dataclass(frozen=True)
class Corruption:
    """A corruption for data sets: `corruption(points, row)` returns the corrupted points. Picklable.

    Attributes:
        name: key of `SEVERITIES`.
        severity: 1..3.
        seed: seed of the random generator, together with the row, name and severity.
        vehicle_mask: (points, row) -> (N,) bool points on vehicles, for "incomplete-echo".
    """

    name: str
    severity: int
    seed: int = 0
    vehicle_mask: Callable[[np.ndarray, int], np.ndarray] | None = None

    def __post_init__(self) -> None:
        check_names([self.name])
        if self.name in NEEDS_VEHICLES and self.vehicle_mask is None:
            raise ValueError(f"{self.name} needs vehicle_mask: which points of a row lie on vehicles")

    def scan(self, points: np.ndarray, row: int, rings: np.ndarray | None = None) -> CorruptedScan:
        """Corrupt the scan of a row; returns source rows, injected points and the fake box too."""
        generator = scan_generator(self.seed, row, self.name, self.severity)
        vehicles = None if self.vehicle_mask is None else self.vehicle_mask(points, row)
        return corrupt(points, self.name, self.severity, generator, rings=rings, vehicle_mask=vehicles)

    def __call__(self, points: np.ndarray, row: int) -> np.ndarray:
        """Corrupt a keyframe's scan (N, C), LiDAR frame, before augmentation; returns (N', C) float32."""
        return self.scan(points, row).points
