"""Lays out the ground of one world from its profile, side street and plots."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from lidardistill.synthetic.ground.ground_materials import GroundKit
from lidardistill.synthetic.ground.street import KERB_M, Profile, arrow, crossing, dashes, island, kerb, patch
from lidardistill.synthetic.matter.materials import Kit
from lidardistill.synthetic.matter.meshes import Mesh
from lidardistill.synthetic.place.course import Course

PLOT_DEPTH_M = 30.0
SIDE_HALF_M = 3.4
"""Half the carriageway of the side street."""


@dataclass(frozen=True)
class Plot:
    """A piece of land beside the street.

    Attributes:
        side: 0 right, 1 left.
        s0, s1: extent along the street, metres.
        kind: building, house, park, parking, site, plaza or yard.
    """

    side: int
    s0: float
    s1: float
    kind: str


@dataclass(frozen=True)
class Plan:
    """Where the pieces of the ground lie, along s and across d of the course.

    Attributes:
        side_street: s of the middle of the side street.
        plots: land on both sides.
        islands: s0, s1, d0, d1 of traffic islands.
        reach: first and last s of the street.
    """

    side_street: float
    plots: tuple[Plot, ...]
    islands: tuple[tuple[float, float, float, float], ...]
    reach: tuple[float, float]


def sign_of(side: int) -> int:
    return -1 if side == 0 else 1


PLOT_GROUND = {
    "building": "walk",
    "house": "grass",
    "park": "grass",
    "parking": "road",
    "site": "soil",
    "plaza": "plaza",
    "yard": "grass",
}
GROUND_LABEL = {
    "road": "flat.driveable_surface", "walk": "flat.sidewalk", "kerb": "flat.sidewalk",
    "island": "flat.other", "plaza": "flat.other",
    "grass": "flat.terrain", "soil": "flat.terrain", "mark": "flat.driveable_surface",
    "mark2": "flat.driveable_surface",
}  # fmt: skip


def stretches(
    rng: np.random.Generator, s0: float, s1: float, low: float, high: float
) -> list[tuple[float, float]]:
    """Cuts an interval into pieces of random length."""
    cuts = [s0]
    while cuts[-1] < s1:
        cuts.append(min(s1, cuts[-1] + rng.uniform(low, high)))
    if len(cuts) > 2 and cuts[-1] - cuts[-2] < 0.5 * low:
        cuts.pop(-2)
    return list(pairwise(cuts))


def zebra_starts(side_street: float) -> list[float]:
    """s at which the two pedestrian crossings beside the side street begin; each is `CROSSING_M` long."""
    return [side_street - SIDE_HALF_M - 0.5 - 4.4, side_street + SIDE_HALF_M + 0.5 + 1.2]


def junction(side_street: float) -> tuple[float, float]:
    """First and last s of the junction, which has no lines along the street."""
    return side_street - SIDE_HALF_M - 0.5 - 5.2, side_street + SIDE_HALF_M + 0.5 + 5.2


def lay_ground(
    kit: Kit,
    course: Course,
    profile: Profile,
    side_street: float,
    plots: list[Plot],
    islands: list[tuple[float, float, float, float]],
    reach: tuple[float, float],
) -> list[tuple[str, Mesh]]:
    """All ground of a world as (raw lidarseg label, mesh).

    Args:
        kit: materials and generator.
        course: centre line.
        profile: cross-section.
        side_street: s of the middle of the side street.
        plots: land on both sides.
        islands: s0, s1, d0, d1 of traffic islands.
        reach: first and last s of the street.
    """
    rng, mats = kit.rng, GroundKit(kit)
    out: list[tuple[str, Mesh]] = []

    def lay(
        name: str,
        s0: float,
        s1: float,
        d0: float,
        d1: float,
        z: float,
        *,
        fresh: bool = False,
        **options: Any,
    ) -> None:
        out.append((GROUND_LABEL[name], patch(course, s0, s1, d0, d1, z, mats.get(name, fresh), **options)))

    s_lo, s_hi = reach
    gap = (side_street - SIDE_HALF_M, side_street + SIDE_HALF_M)
    right, left = -profile.kerb(0), profile.kerb(1)
    for a, b in stretches(rng, s_lo, s_hi, 25, 60):
        lay("road", a, b, right, left, 0.0, fresh=rng.random() < 0.4)
    # Patched asphalt.
    for _ in range(6):
        s, d = rng.uniform(-30, 60), rng.uniform(right + 1, left - 2)
        lay(
            "road", s, s + rng.uniform(2, 7), d, min(left - 0.2, d + rng.uniform(1.0, 2.6)), 0.003, fresh=True
        )

    for side in (0, 1):
        sign = sign_of(side)
        face, inner, back = profile.kerb(side), profile.walk_inner(side), profile.back(side)
        for a0, b0 in ((s_lo, gap[0]), (gap[1], s_hi)):
            for a, b in stretches(rng, a0, b0, 18, 40):
                out.append(
                    (
                        GROUND_LABEL["kerb"],
                        kerb(course, a, b, sign * face, sign, 0.0, KERB_M, mats.get("kerb")),
                    )
                )
                if profile.strip[side] > 0:
                    lay("grass", a, b, sign * (face + 0.18), sign * inner, KERB_M + 0.01)
                lay("walk", a, b, sign * inner, sign * back, KERB_M)
        # Side street: carriageway, its kerbs and pavements run along d.
        far = back + PLOT_DEPTH_M + 12
        lay("road", gap[0], gap[1], sign * face, sign * far, 0.0, across=6)
        for edge, out_sign in ((gap[0], -1), (gap[1], 1)):
            lay(
                "kerb",
                min(edge, edge + out_sign * 0.18),
                max(edge, edge + out_sign * 0.18),
                sign * inner,
                sign * far,
                KERB_M,
                across=6,
                step=0.18,
            )
            lay(
                "walk",
                min(edge + out_sign * 0.18, edge + out_sign * 2.0),
                max(edge + out_sign * 0.18, edge + out_sign * 2.0),
                sign * back,
                sign * far,
                KERB_M,
                across=6,
            )

    for plot in plots:
        sign, back = sign_of(plot.side), profile.back(plot.side)
        name = PLOT_GROUND[plot.kind]
        soft = name in ("grass", "soil")
        lay(
            name,
            plot.s0,
            plot.s1,
            sign * back,
            sign * (back + PLOT_DEPTH_M),
            KERB_M,
            across=12 if soft else 4,
            bump=0.16 if soft else 0.0,
            fresh=rng.random() < 0.5,
        )

    top, edge_row = mats.get("island"), mats.get("kerb")
    for s0, s1, d0, d1 in islands:
        out.append(
            (
                GROUND_LABEL["island"],
                island(
                    course,
                    s0,
                    s1,
                    d0,
                    d1,
                    kit,
                    mats.get("island") if kit.palette.kind == "overlapping" else top,
                    edge_row,
                ),
            )
        )

    out += [
        (GROUND_LABEL["mark"], mesh)
        for mesh in _markings(rng, mats, course, profile, side_street, islands, reach)
    ]
    # Open land behind the plots and out to the horizon.
    for side in (0, 1):
        sign, back = sign_of(side), profile.back(side) + PLOT_DEPTH_M
        for a, b in stretches(rng, s_lo, s_hi, 60, 90):
            lay(
                "grass",
                a,
                b,
                sign * back,
                sign * (back + 130),
                KERB_M - 0.02,
                across=10,
                step=8.0,
                bump=1.2,
                fresh=True,
            )
    return out


def _markings(
    rng: np.random.Generator,
    mats: GroundKit,
    course: Course,
    profile: Profile,
    side_street: float,
    islands: list[tuple[float, float, float, float]],
    reach: tuple[float, float],
) -> list[Mesh]:
    white = mats.get("mark")
    middle = mats.get("mark2") if rng.random() < 0.4 else white
    s_lo, s_hi = reach[0] + 5, reach[1] - 5
    zebra = zebra_starts(side_street)
    clear = [junction(side_street)]
    parts: list[Mesh] = []
    if profile.median == 0:
        blocked = clear + [(a - 1, b + 1) for a, b, d0, d1 in islands if d0 < 0.3 and d1 > -0.3]
        if rng.random() < 0.5:
            parts += dashes(course, s_lo, s_hi, 0.0, 0.13, 3.0, 4.5, middle, blocked)
        else:
            parts += dashes(course, s_lo, s_hi, 0.10, 0.11, 6.0, 0.0, middle, blocked)
            parts += dashes(course, s_lo, s_hi, -0.10, 0.11, 6.0, 0.0, middle, blocked)
    for side in (-1, 1):
        for k in range(1, profile.lanes):
            parts += dashes(
                course,
                s_lo,
                s_hi,
                side * (0.5 * profile.median + k * profile.lane),
                0.13,
                2.5,
                4.5,
                white,
                clear,
            )
        parts += dashes(
            course, s_lo, s_hi, side * (profile.drive_half() - 0.12), 0.12, 5.0, 0.0, white, clear
        )
        if profile.median > 0:
            parts += dashes(
                course, s_lo, s_hi, side * (0.5 * profile.median + 0.20), 0.12, 5.0, 0.0, middle, clear
            )
        if profile.park[0 if side < 0 else 1] > 0:
            edge = profile.drive_half()
            for s in np.arange(s_lo, s_hi, 6.2):
                if not any(a - 1 < s < b + 1 for a, b in clear):
                    parts.append(
                        patch(course, s, s + 0.12, side * edge, side * (edge + 2.2), 0.006, white, step=1.0)
                    )
        for s in np.arange(s_lo + 20, s_hi, 46.0):
            if not any(a - 6 < s < b + 6 for a, b in clear):
                parts += arrow(
                    course, s, side * profile.lane_centre(profile.lanes - 1), 1 if side < 0 else -1, white
                )
    d0, d1 = -profile.kerb(0), profile.kerb(1)
    for s in zebra:
        parts += crossing(course, s, d0, d1, white)
    stop = patch(
        course,
        zebra[0] - 1.6,
        zebra[0] - 1.2,
        -profile.drive_half() + 0.2,
        -0.5 * profile.median - 0.2,
        0.006,
        white,
        step=1.0,
    )
    other = patch(
        course,
        zebra[1] + 4.2,
        zebra[1] + 4.6,
        0.5 * profile.median + 0.2,
        profile.drive_half() - 0.2,
        0.006,
        white,
        step=1.0,
    )
    return [*parts, stop, other]
