"""Who and what stands and moves where: plots, street furniture, parked and moving traffic, people."""

from __future__ import annotations

import numpy as np

from lidardistill.synthetic.ground.ground import SIDE_HALF_M, Plan, Plot, lay_ground
from lidardistill.synthetic.ground.street import make_profile
from lidardistill.synthetic.place.course import Course, Motion
from lidardistill.synthetic.place.stage import Stage


def populate(stage: Stage, duration_s: float) -> None:
    """Furnishes a world for a drive of `duration_s` seconds."""
    rng = stage.rng
    speed = float(rng.uniform(7.5, 10.5))
    travel = speed * (duration_s + 0.5)
    reach = (-110.0, travel + 130.0)
    bends = [
        (float(rng.uniform(-40, travel + 60)), float(rng.uniform(25, 60)), float(rng.normal(0, 0.35)))
        for _ in range(3)
    ]
    stage.course = Course(reach[0] - 150, reach[1] + 150, float(rng.uniform(-np.pi, np.pi)), bends)
    stage.profile = profile = make_profile(rng)
    lane = -profile.lane_centre(int(rng.integers(0, profile.lanes)))
    stage.ego = Motion(
        0.0,
        lane,
        0.0,
        speed,
        sway=float(rng.uniform(0.05, 0.35)),
        sway_s=float(rng.uniform(5, 10)),
        phase=float(rng.uniform(0, 6)),
        gain=float(rng.uniform(-0.3, 0.3)),
    )
    stage.side_street = float(rng.uniform(0.15, 0.9) * travel + rng.choice([-25.0, 0.0, 30.0]))
    islands = _islands(stage, travel)
    stage.plots = _plots(stage, reach, travel)
    stage.plan = Plan(stage.side_street, tuple(stage.plots), tuple(islands), reach)
    for label, mesh in lay_ground(
        stage.kit, stage.course, profile, stage.side_street, stage.plots, islands, reach
    ):
        stage.fixed.append((label, mesh, None))
    from lidardistill.synthetic.place.furnish import furnish

    furnish(stage, travel, reach, duration_s)


def _islands(stage: Stage, travel: float) -> list[tuple[float, float, float, float]]:
    """Traffic islands: the median, or refuges in the middle and in parking lanes."""
    rng, p = stage.rng, stage.profile
    out: list[tuple[float, float, float, float]] = []
    block = (stage.side_street - 8.5, stage.side_street + 8.5)
    if p.median > 0:
        half = 0.5 * p.median
        out += [(-100.0, block[0], -half, half), (block[1], travel + 120.0, -half, half)]
    for s in np.arange(-20.0, travel + 40.0, 16.0):
        side = int(rng.integers(0, 2))
        if p.park[side] == 0:
            side = 1 - side
        at = float(s + rng.uniform(0, 6))
        length = float(rng.uniform(4.0, 8.0))
        if block[0] - 1 < at + length and at < block[1] + 1:
            continue
        a, b = p.drive_half() + 0.25, p.kerb(side) + 0.02
        d0, d1 = (a, b) if side == 1 else (-b, -a)
        out.append((at, at + length, d0, d1))
        stage.take(at + length / 2, 0.5 * (d0 + d1), length / 2, 0.5 * (d1 - d0))
    return out


def _plots(stage: Stage, reach: tuple[float, float], travel: float) -> list[Plot]:
    """Cuts both sides into plots; near the drive every kind turns up."""
    rng = stage.rng
    plots = []
    gap = (stage.side_street - SIDE_HALF_M - 2.0, stage.side_street + SIDE_HALF_M + 2.0)
    # Taken from the end: where the drive passes few plots, the kinds that only they bring come first.
    common, rare = ["building", "house", "building"], ["parking", "site", "plaza", "park"]
    order = [common[k] for k in rng.permutation(3)] + [rare[k] for k in rng.permutation(4)]
    for side in (0, 1):
        for a0, b0 in ((reach[0], gap[0]), (gap[1], reach[1])):
            s = a0
            while s < b0 - 1:
                near = -15 < s < travel + 15
                length = float(rng.uniform(15, 24)) if near else float(rng.uniform(20, 34))
                end = b0 if b0 - (s + length) < 13 else s + length
                if near and order:
                    kind = order.pop()
                else:
                    kind = str(
                        rng.choice(
                            ["building", "house", "park", "parking", "plaza", "yard"],
                            p=[0.46, 0.14, 0.16, 0.08, 0.06, 0.10],
                        )
                    )
                plots.append(Plot(side, s, end, kind))
                s = end
    return plots
