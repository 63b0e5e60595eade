"""Fills the plots and the street, rare classes first, so that every class is met on every drive."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lidardistill.synthetic.ground.ground import SIDE_HALF_M, sign_of
from lidardistill.synthetic.ground.street import KERB_M
from lidardistill.synthetic.matter.meshes import Mesh
from lidardistill.synthetic.place.scenery import background, garden, house, street_furniture
from lidardistill.synthetic.place.spots import park_somewhere, spot_in
from lidardistill.synthetic.place.stage import (
    ADULT,
    BARRIER,
    BICYCLE,
    BUS,
    CAR,
    CONE,
    MACHINE,
    MOTORCYCLE,
    TRAILER,
    TRUCK,
    Stage,
    articulated,
    make,
)
from lidardistill.synthetic.place.traffic import WALKWAY_M, traffic, walkway
from lidardistill.synthetic.things import props, riders


def furnish(stage: Stage, travel: float, reach: tuple[float, float], duration_s: float) -> None:
    """Places everything but the ground."""
    p = stage.profile
    # The side street's mouth and the lanes stay clear of what stands still.
    stage.take(stage.side_street, 0.0, SIDE_HALF_M + 2.2, 80.0)
    stage.take(0.5 * (reach[0] + reach[1]), 0.0, 400.0, p.drive_half() - 0.45)
    for side in (0, 1):
        stage.take(0.0, sign_of(side) * walkway(p, side), 400.0, WALKWAY_M / 2 - 0.1)
    for plot in stage.plots:
        house(stage, plot)
    _rare(stage, travel)
    _parked(stage, travel)
    for plot in stage.plots:
        garden(stage, plot)
    street_furniture(stage, travel, reach)
    _people(stage, travel)
    _top_up(stage, travel)
    traffic(stage, travel, duration_s)
    background(stage, reach)


def _rare(stage: Stage, travel: float) -> None:
    """Big and rare things, some in every 30 m of the drive."""
    rng, kit = stage.rng, stage.kit
    windows = max(1, round((travel + 20) / 30))
    for w in range(windows):
        a = -12 + w * (travel + 24) / windows
        b = -12 + (w + 1) * (travel + 24) / windows
        _road_works(stage, a, b)
        for category in (MACHINE, BUS, TRAILER, TRUCK, MACHINE):
            mesh = make(stage, category)
            zones = {
                MACHINE: ["site", "open", "lot", "kerb"],
                BUS: ["kerb", "lot", "kerb"],
                TRAILER: ["kerb", "lot"],
                TRUCK: ["kerb", "lot", "site"],
            }[category]
            if not park_somewhere(stage, category, "vehicle.parked", mesh, zones, a, b):
                park_somewhere(
                    stage, category, "vehicle.parked", mesh, ["kerb", "lot", "open"], a - 15, b + 15, 80
                )
        if rng.random() < 0.5:
            _articulated(stage, a, b)
        for _ in range(2):
            park_somewhere(
                stage,
                MOTORCYCLE,
                "cycle.without_rider",
                riders.motorcycle(kit, False),
                ["kerb", "walk", "lot", "open"],
                a,
                b,
            )
            park_somewhere(
                stage,
                BICYCLE,
                "cycle.without_rider",
                riders.bicycle(kit, False),
                ["walk", "open", "walk", "kerb"],
                a,
                b,
            )
        if rng.random() < 0.6:
            _row(stage, rng.choice([MOTORCYCLE, BICYCLE]), a, b)


def _articulated(stage: Stage, a: float, b: float) -> None:
    pull, load, reach = articulated(stage.kit)
    for _ in range(30):
        spot = spot_in(stage, "kerb", float(stage.rng.uniform(a, b)))
        if spot is None:
            return
        s, d, z, yaw = spot
        half = 0.5 * float(load.bounds()[1][0] - load.bounds()[0][0])
        forward = 1.0 if abs(yaw) < 1 else -1.0
        if stage.free(s + forward * 1.5, d, half + 2.5, 1.25):
            stage.take(s + forward * 1.5, d, half + 2.5, 1.25)
            stage.park(TRAILER, "vehicle.parked", load, s, d, z, yaw)
            ahead = s + forward * (reach + 0.6)
            stage.park(TRUCK, "vehicle.parked", pull, ahead, d, z, yaw)
            return


def _row(stage: Stage, category: str, a: float, b: float) -> None:
    """A rank of parked two-wheelers."""
    rng, kit = stage.rng, stage.kit
    spot = spot_in(stage, "walk", float(rng.uniform(a, b)))
    if spot is None:
        return
    s, d, z, _ = spot
    yaw = float(rng.choice([0.5, -0.5])) * np.pi
    for k in range(int(rng.integers(3, 6))):
        mesh = riders.motorcycle(kit, False) if category == MOTORCYCLE else riders.bicycle(kit, False)
        stage.try_park(
            str(category),
            "cycle.without_rider",
            mesh,
            s + 0.85 * k,
            d,
            z,
            yaw + float(rng.normal(0, 0.06)),
            0.0,
        )


def _road_works(stage: Stage, a: float, b: float) -> None:
    """Place barriers and cones around a closed part of the parking lane, along a site, across a lot, or on a
    pavement.
    """
    rng, kit, p = stage.rng, stage.kit, stage.profile
    kind = int(rng.integers(0, 3))
    run = int(rng.integers(5, 9))
    style = int(rng.integers(0, 2)) if run > 6 else kind
    for _ in range(12):
        side = int(rng.integers(0, 2))
        s = float(rng.uniform(a, b))
        # Along the street: beside the lane, between pavement and plot, or on the verge.
        rows = [p.back(side) - 0.35, p.back(side) + 0.5]
        if p.park[side] > 0:
            rows += [p.drive_half() + 0.35] * 2
        row = rows[int(rng.integers(0, len(rows)))]
        placed = 0
        for k in range(run):
            z = 0.0 if row < p.kerb(side) else KERB_M
            yaw = 0.5 * np.pi + float(rng.normal(0, 0.04))
            placed += stage.try_park(
                BARRIER, None, props.barrier(kit, style), s + 2.02 * k, sign_of(side) * row, z, yaw, -0.06
            )
        if placed >= 4:
            break
    for _ in range(3):
        spot = spot_in(
            stage, ("site", "lot", "open", "walk")[int(rng.integers(0, 4))], float(rng.uniform(a, b))
        )
        if spot is not None:
            s, d, z, yaw = spot
            for k in range(2):
                stage.try_park(
                    BARRIER,
                    None,
                    props.barrier(kit, kind),
                    s - 2.1 * k * np.sin(yaw),
                    d + 2.1 * k * np.cos(yaw),
                    z,
                    yaw,
                    0.0,
                )
    for _ in range(4):
        zone = ("kerb", "walk", "site", "lot", "open", "kerb")[int(rng.integers(0, 6))]
        spot = spot_in(stage, zone, float(rng.uniform(a, b)))
        if spot is not None:
            s, d, z, _ = spot
            slant = float(rng.uniform(-0.25, 0.25))
            for k in range(int(rng.integers(3, 7))):
                stage.try_park(
                    CONE, None, props.cone(kit), s + 1.4 * k, d + slant * k, z, float(rng.uniform(0, 1)), 0.1
                )
    # Cones at the edge of the lane, where the ego car passes close by.
    if rng.random() < 0.7:
        side = int(rng.integers(0, 2))
        d = sign_of(side) * (p.drive_half() + (0.05 if p.park[side] else 0.45))
        z = 0.0 if p.park[side] else KERB_M
        s = float(rng.uniform(a, b))
        for k in range(6):
            stage.try_park(CONE, None, props.cone(kit), s + 2.6 * k, d, z, float(rng.uniform(0, 1)), 0.0)


def _parked(stage: Stage, travel: float) -> None:
    """Cars at the kerb and on lots, now and then something bigger."""
    rng, p = stage.rng, stage.profile
    for side in (0, 1):
        if p.park[side] == 0:
            continue
        density = float(rng.uniform(0.35, 0.75))
        for s in np.arange(-90.0, travel + 110, 6.2):
            if rng.random() > density:
                continue
            category = CAR if rng.random() < 0.9 else TRUCK
            d = sign_of(side) * (p.drive_half() + 0.5 * p.park[side] + 0.06)
            yaw = (0.0 if side == 0 else np.pi) + float(rng.normal(0, 0.015))
            if not stage.free(float(s), d, 1.7, 0.8):
                continue
            stage.try_park(
                category,
                "vehicle.parked",
                make(stage, category, far=not -25 < s < travel + 40),
                float(s + rng.uniform(-0.4, 0.4)),
                d,
                0.0,
                yaw,
            )
    for plot in stage.plots:
        if plot.kind not in ("parking", "yard", "house"):
            continue
        sign, back = sign_of(plot.side), p.back(plot.side)
        if plot.kind == "parking":
            for row in (3.2, 11.5):
                for s in np.arange(plot.s0 + 1.8, plot.s1 - 1.5, 2.75):
                    if rng.random() < 0.62:
                        yaw = float(rng.choice([-0.5, 0.5])) * np.pi + float(rng.normal(0, 0.03))
                        d = sign * (back + row + float(rng.uniform(-0.3, 0.3)))
                        if stage.free(float(s), d, 0.8, 1.8, 0.1):
                            stage.try_park(
                                CAR, "vehicle.parked", make(stage, CAR), float(s), d, KERB_M, yaw, 0.1
                            )
        else:
            s, d = float(rng.uniform(plot.s0 + 3, plot.s1 - 3)), sign * (back + float(rng.uniform(3.0, 7.0)))
            z = stage.ground_z(plot.side, s, d, plot.kind)
            stage.try_park(
                CAR, "vehicle.parked", make(stage, CAR), s, d, z, float(rng.choice([-0.5, 0.5])) * np.pi
            )


def _people(stage: Stage, travel: float) -> None:
    """Standing people, alone and in groups."""
    rng, kit = stage.rng, stage.kit
    for s in np.arange(-20.0, travel + 40, 7.0):
        spot = spot_in(
            stage,
            ("walk", "walk", "open", "lot", "kerb")[int(rng.integers(0, 5))],
            float(s + rng.uniform(0, 7)),
        )
        if spot is None:
            continue
        at, d, z, yaw = spot
        for k in range(int(rng.choice([1, 2, 3], p=[0.55, 0.3, 0.15]))):
            stage.try_park(
                ADULT,
                "pedestrian.standing",
                riders.pedestrian(kit, False),
                at + 0.75 * k,
                d + 0.3 * (k % 2),
                z,
                yaw + k * 2.0,
                0.05,
            )


def _top_up(stage: Stage, travel: float) -> None:
    """Makes sure that the rarest things come close to the drive."""
    kit = stage.kit
    wanted: list[tuple[str, str | None, int, Callable[[], Mesh], list[str]]] = [
        (TRUCK, "vehicle.parked", 3, lambda: make(stage, TRUCK), ["kerb", "lot", "site", "open"]),
        (MACHINE, "vehicle.parked", 2, lambda: make(stage, MACHINE), ["site", "kerb", "lot", "open"]),
        (TRAILER, "vehicle.parked", 1, lambda: make(stage, TRAILER), ["kerb", "lot", "open"]),
        (BUS, "vehicle.parked", 1, lambda: make(stage, BUS), ["kerb", "lot", "open"]),
        (
            MOTORCYCLE,
            "cycle.without_rider",
            6,
            lambda: riders.motorcycle(kit, False),
            ["kerb", "edge", "edge"],
        ),
        (BICYCLE, "cycle.without_rider", 8, lambda: riders.bicycle(kit, False), ["edge", "edge", "kerb"]),
        (CONE, None, 12, lambda: props.cone(kit), ["edge", "kerb", "site"]),
        (
            BARRIER,
            None,
            6,
            lambda: props.barrier(kit, int(stage.rng.integers(0, 3))),
            ["edge", "kerb", "site"],
        ),
    ]
    for category, attribute, quota, build, zones in wanted:
        near = [
            a
            for a in stage.actors
            if a.category == category and 0 < a.motion.s < travel and abs(a.motion.d - stage.ego.d) < 13
        ]
        for _ in range(quota - len(near)):
            park_somewhere(stage, category, attribute, build(), zones, 0.0, travel)
