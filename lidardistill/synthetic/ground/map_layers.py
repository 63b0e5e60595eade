"""The ground of a world as the layers of nuScenes' map expansion."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lidardistill.synthetic.ground.ground import (
    PLOT_DEPTH_M,
    SIDE_HALF_M,
    Plan,
    junction,
    sign_of,
    zebra_starts,
)
from lidardistill.synthetic.ground.street import CROSSING_M, Profile, island_outline
from lidardistill.synthetic.place.course import Course
from lidardistill.synthetic.write.recording import MapLayers, MapPolygon

STEP_M = 2.0
"""Distance between corners along the street."""
KERB_STONE_M = 0.18
SIDE_WALK_M = 2.0
"""|s| beyond the side street's kerb at which its pavement ends."""
STOP_M = 1.6
"""Length of the area before a crossing in which cars stop."""
_INSIDE_M = 0.05
"""Islands reach so close to the kerb at most: a hole must lie inside its polygon."""

Placed = Callable[[np.ndarray, np.ndarray], np.ndarray]


def map_layers(course: Course, profile: Profile, plan: Plan, world2global: np.ndarray) -> MapLayers:
    """The layers of one world, in global metres.

    Drivable are the street without its islands, the side street, and plots for parking. Car parks are these
    plots and the parking lanes; walkways are pavements and plazas; a stop area lies before each crossing.
    Dividers follow the painted lines between directions and between lanes, and end at the junction.

    Args:
        course: centre line.
        profile: cross-section.
        plan: where the pieces lie.
        world2global: (4, 4) float64.
    """

    def placed(s: np.ndarray, d: np.ndarray) -> np.ndarray:
        x, y, _ = course.at(s, d)
        return np.stack([x, y], axis=-1) @ world2global[:2, :2].T + world2global[:2, 3]

    return MapLayers(
        {
            "drivable_area": tuple(_drivable(placed, profile, plan)),
            "ped_crossing": tuple(
                _strip(placed, s, s + CROSSING_M, -profile.kerb(0), profile.kerb(1))
                for s in zebra_starts(plan.side_street)
            ),
            "walkway": tuple(_walkways(placed, profile, plan)),
            "stop_line": tuple(_stops(placed, profile, plan)),
            "carpark_area": tuple(_car_parks(placed, profile, plan)),
        },
        {
            "road_divider": tuple(_road_dividers(placed, profile, plan)),
            "lane_divider": tuple(_lane_dividers(placed, profile, plan)),
        },
    )


def open_stretches(s0: float, s1: float, closed: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """What is left of an interval between others that are taken out."""
    left, start = [], s0
    for a, b in sorted(closed):
        if a > start:
            left.append((start, min(a, s1)))
        start = max(start, b)
    if start < s1:
        left.append((start, s1))
    return [(a, b) for a, b in left if b - a > 1e-6]


def _along(s0: float, s1: float) -> np.ndarray:
    return np.linspace(s0, s1, max(2, int(np.ceil((s1 - s0) / STEP_M)) + 1))


def _strip(
    placed: Placed, s0: float, s1: float, d0: float, d1: float, holes: Sequence[np.ndarray] = ()
) -> MapPolygon:
    """A piece of ground between two values of s and of d."""
    s = _along(s0, s1)
    there, back = placed(s, np.full(len(s), min(d0, d1))), placed(s[::-1], np.full(len(s), max(d0, d1)))
    return MapPolygon(np.concatenate([there, back]), tuple(holes))


def _line(placed: Placed, s0: float, s1: float, d: float) -> np.ndarray:
    s = _along(s0, s1)
    return placed(s, np.full(len(s), d))


def _side_reach(profile: Profile, side: int) -> float:
    """|d| at which the side street ends: what is laid beyond the plots lies under the open land."""
    return profile.back(side) + PLOT_DEPTH_M


def _drivable(placed: Placed, profile: Profile, plan: Plan) -> list[MapPolygon]:
    low, high = -profile.kerb(0), profile.kerb(1)
    holes = []
    for s0, s1, d0, d1 in plan.islands:
        along, wide = island_outline(s0, s1, d0, d1)
        middle = 0.5 * (d0 + d1)
        s = np.concatenate([s0 + along, (s0 + along)[::-1]])
        d = np.concatenate([middle - wide, (middle + wide)[::-1]])
        holes.append(placed(s, np.clip(d, low + _INSIDE_M, high - _INSIDE_M)))
    street = _strip(placed, *plan.reach, low, high, holes)
    a, b = plan.side_street - SIDE_HALF_M, plan.side_street + SIDE_HALF_M
    sides = [
        _strip(placed, a, b, sign_of(side) * profile.kerb(side), sign_of(side) * _side_reach(profile, side))
        for side in (0, 1)
    ]
    return [street, *sides, *_plots(placed, profile, plan, "parking")]


def _plots(placed: Placed, profile: Profile, plan: Plan, kind: str) -> list[MapPolygon]:
    pieces = []
    for plot in plan.plots:
        if plot.kind == kind:
            back, sign = profile.back(plot.side), sign_of(plot.side)
            pieces.append(_strip(placed, plot.s0, plot.s1, sign * back, sign * (back + PLOT_DEPTH_M)))
    return pieces


def _walkways(placed: Placed, profile: Profile, plan: Plan) -> list[MapPolygon]:
    pieces = []
    a, b = plan.side_street - SIDE_HALF_M, plan.side_street + SIDE_HALF_M
    for side in (0, 1):
        sign, inner, back = sign_of(side), profile.walk_inner(side), profile.back(side)
        for s0, s1 in ((plan.reach[0], a), (b, plan.reach[1])):
            pieces.append(_strip(placed, s0, s1, sign * inner, sign * back))
        far = sign * _side_reach(profile, side)
        pieces.append(_strip(placed, a - SIDE_WALK_M, a - KERB_STONE_M, sign * back, far))
        pieces.append(_strip(placed, b + KERB_STONE_M, b + SIDE_WALK_M, sign * back, far))
    return [*pieces, *_plots(placed, profile, plan, "plaza")]


def _stops(placed: Placed, profile: Profile, plan: Plan) -> list[MapPolygon]:
    first, second = zebra_starts(plan.side_street)
    inner, outer = 0.5 * profile.median, profile.drive_half()
    return [
        _strip(placed, first - STOP_M, first, -outer, -inner),
        _strip(placed, second + CROSSING_M, second + CROSSING_M + STOP_M, inner, outer),
    ]


def _car_parks(placed: Placed, profile: Profile, plan: Plan) -> list[MapPolygon]:
    pieces = []
    for side in (0, 1):
        if profile.park[side] == 0:
            continue
        sign = sign_of(side)
        islands = [(s0, s1) for s0, s1, d0, d1 in plan.islands if sign * (d0 + d1) > 2 * profile.drive_half()]
        for s0, s1 in open_stretches(*plan.reach, [junction(plan.side_street), *islands]):
            pieces.append(_strip(placed, s0, s1, sign * profile.drive_half(), sign * profile.kerb(side)))
    return [*pieces, *_plots(placed, profile, plan, "parking")]


def _road_dividers(placed: Placed, profile: Profile, plan: Plan) -> list[np.ndarray]:
    stretches = open_stretches(*plan.reach, [junction(plan.side_street)])
    offsets = (0.0,) if profile.median == 0 else (-0.5 * profile.median - 0.2, 0.5 * profile.median + 0.2)
    return [_line(placed, s0, s1, d) for s0, s1 in stretches for d in offsets]


def _lane_dividers(placed: Placed, profile: Profile, plan: Plan) -> list[np.ndarray]:
    stretches = open_stretches(*plan.reach, [junction(plan.side_street)])
    offsets = [
        sign * (0.5 * profile.median + k * profile.lane) for sign in (-1, 1) for k in range(1, profile.lanes)
    ]
    return [_line(placed, s0, s1, d) for s0, s1 in stretches for d in offsets]
