"""Fills the plots and the street, rare classes first, so that every class is met on every drive."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lidardistill.synthetic import buildings, props, riders, vegetation
from lidardistill.synthetic.ground import PLOT_DEPTH_M, SIDE_HALF_M, Plot, sign_of
from lidardistill.synthetic.meshes import Mesh
from lidardistill.synthetic.population import (
    ADULT, BARRIER, BICYCLE, BUS, CAR, CONE, MACHINE, MANMADE, MOTORCYCLE, TRAILER, TRUCK, VEGETATION, Stage, articulated, make, pooled,
)  # fmt: skip
from lidardistill.synthetic.street import KERB_M
from lidardistill.synthetic.traffic import WALKWAY_M, traffic, walkway


def furnish(stage: Stage, travel: float, reach: tuple[float, float], duration_s: float) -> None:
    """Places everything but the ground."""
    p = stage.profile
    # The side street's mouth and the lanes stay clear of what stands still.
    stage.take(stage.side_street, 0.0, SIDE_HALF_M + 2.2, 80.0)
    stage.take(0.5 * (reach[0] + reach[1]), 0.0, 400.0, p.drive_half() - 0.45)
    for side in (0, 1):
        stage.take(0.0, sign_of(side) * walkway(p, side), 400.0, WALKWAY_M / 2 - 0.1)
    for plot in stage.plots:
        _house(stage, plot)
    _rare(stage, travel)
    _parked(stage, travel)
    for plot in stage.plots:
        _garden(stage, plot)
    _street_furniture(stage, travel, reach)
    _people(stage, travel)
    _top_up(stage, travel)
    traffic(stage, travel, duration_s)
    _background(stage, reach)


def _face_street(side: int) -> float:
    """Yaw that turns a thing's front (-y) towards the street."""
    return np.pi if side == 0 else 0.0


def _house(stage: Stage, plot: Plot) -> None:
    """The building of a plot, if it has one."""
    rng, kit = stage.rng, stage.kit
    length, middle = plot.s1 - plot.s0, 0.5 * (plot.s0 + plot.s1)
    sign, back = sign_of(plot.side), stage.profile.back(plot.side)
    if plot.kind == "building":
        width, depth = length - float(rng.uniform(0.0, 2.5)), float(rng.uniform(10, 14))
        setback = float(rng.choice([0.3, 2.0, 4.0], p=[0.4, 0.35, 0.25]))
        mesh = buildings.building(kit, width, depth, int(rng.integers(1, 6)))
    elif plot.kind == "house":
        width, depth = min(length - 3.0, float(rng.uniform(9, 13))), float(rng.uniform(8, 10))
        setback = float(rng.uniform(4, 8))
        mesh = buildings.house(kit, width, depth)
    elif plot.kind in ("yard", "parking"):
        width, depth = length - float(rng.uniform(1, 3)), 11.0
        setback = 17.5
        mesh = (
            buildings.warehouse(kit, width, depth)
            if rng.random() < 0.65
            else buildings.building(kit, width, depth, int(rng.integers(2, 5)))
        )
    else:
        return
    d = sign * (back + setback)
    stage.stand(MANMADE, mesh, middle, d, KERB_M - 0.02, _face_street(plot.side))
    stage.take(middle, d + sign * depth / 2, width / 2, depth / 2 + 0.1)


def _spot(stage: Stage, zone: str, s: float) -> tuple[float, float, float, float] | None:
    """(s, d, z, yaw) somewhere in a zone near s, or None where the street has no such zone."""
    rng, p = stage.rng, stage.profile
    if zone == "kerb":
        side = int(rng.integers(0, 2))
        if p.park[side] == 0:
            side = 1 - side
        d = sign_of(side) * (p.drive_half() + 0.5 * p.park[side] + 0.06)
        return s, d, 0.0, (0.0 if side == 0 else np.pi) + float(rng.normal(0, 0.015))
    if zone == "walk":
        side = int(rng.integers(0, 2))
        d = sign_of(side) * float(rng.uniform(p.walk_inner(side) + 0.3, p.back(side) - 0.3))
        return s, d, KERB_M, float(rng.uniform(-np.pi, np.pi))
    if zone == "edge":
        # Beside the walkway: next to the kerb, or along the plots.
        side = int(rng.integers(0, 2))
        d = float(rng.choice([p.kerb(side) + 0.55, p.back(side) - 0.3, p.walk_inner(side) + 0.25]))
        along = float(rng.choice([0.0, np.pi])) + float(rng.normal(0, 0.25))
        return s, sign_of(side) * d, KERB_M, along
    kinds = {
        "lot": ("parking", "yard"),
        "site": ("site",),
        "open": ("park", "plaza", "yard", "site", "house"),
    }[zone]
    near = [q for q in stage.plots if q.kind in kinds and q.s0 - 12 < s < q.s1 + 12]
    if not near:
        return None
    plot = near[int(rng.integers(0, len(near)))]
    at = float(rng.uniform(plot.s0 + 1.5, plot.s1 - 1.5))
    d = sign_of(plot.side) * float(stage.profile.back(plot.side) + rng.uniform(0.8, 14.0))
    yaw = float(rng.uniform(-np.pi, np.pi))
    if zone == "lot":
        yaw = float(rng.choice([-0.5, 0.5, 0.0, 1.0])) * np.pi + float(rng.normal(0, 0.05))
    return at, d, stage.ground_z(plot.side, at, d, plot.kind), yaw


def _try(
    stage: Stage,
    category: str,
    attribute: str | None,
    mesh: Mesh,
    zones: list[str],
    s0: float,
    s1: float,
    tries: int = 40,
) -> bool:
    for k in range(tries):
        zone = zones[int(stage.rng.integers(0, len(zones)))] if k < tries // 2 else zones[k % len(zones)]
        spot = _spot(stage, zone, float(stage.rng.uniform(s0, s1)))
        margin = 0.2 if zone == "kerb" else 0.35
        if spot is not None and stage.try_park(category, attribute, mesh, *spot, margin):
            return True
    return False


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
            if not _try(stage, category, "vehicle.parked", mesh, zones, a, b):
                _try(stage, category, "vehicle.parked", mesh, ["kerb", "lot", "open"], a - 15, b + 15, 80)
        if rng.random() < 0.5:
            _articulated(stage, a, b)
        for _ in range(2):
            _try(
                stage,
                MOTORCYCLE,
                "cycle.without_rider",
                riders.motorcycle(kit, False),
                ["kerb", "walk", "lot", "open"],
                a,
                b,
            )
            _try(
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
        spot = _spot(stage, "kerb", float(stage.rng.uniform(a, b)))
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
    spot = _spot(stage, "walk", float(rng.uniform(a, b)))
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
    """Barriers and cones: round a closed piece of the parking lane, along a site, across a lot, or on the pavement."""
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
        spot = _spot(
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
        spot = _spot(stage, zone, float(rng.uniform(a, b)))
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
                        stage.try_park(CAR, "vehicle.parked", make(stage, CAR), float(s), d, KERB_M, yaw, 0.1)
        else:
            s, d = float(rng.uniform(plot.s0 + 3, plot.s1 - 3)), sign * (back + float(rng.uniform(3.0, 7.0)))
            z = stage.ground_z(plot.side, s, d, plot.kind)
            stage.try_park(
                CAR, "vehicle.parked", make(stage, CAR), s, d, z, float(rng.choice([-0.5, 0.5])) * np.pi
            )


def _garden(stage: Stage, plot: Plot) -> None:
    """Trees, hedges, walls, fences and the like of one plot."""
    rng, kit = stage.rng, stage.kit
    sign, back = sign_of(plot.side), stage.profile.back(plot.side)
    length, middle = plot.s1 - plot.s0, 0.5 * (plot.s0 + plot.s1)
    near = abs(middle - 20) < 75
    detail = 1.0 if near else 0.45

    def scatter(build, label: str, count: int, half: float, d_range: tuple[float, float]) -> None:  # type: ignore[no-untyped-def]
        for _ in range(count):
            s, d = float(rng.uniform(plot.s0 + 1, plot.s1 - 1)), sign * (back + float(rng.uniform(*d_range)))
            if stage.free(s, d, half, half, 0.2):
                stage.take(s, d, half, half)
                stage.stand(
                    label,
                    build(),
                    s,
                    d,
                    stage.ground_z(plot.side, s, d, plot.kind) - 0.03,
                    float(rng.uniform(0, 2 * np.pi)),
                )

    edge = {"house": 0.85, "yard": 0.8, "park": 0.35, "parking": 0.45, "site": 0.4}.get(plot.kind, 0.0)
    if rng.random() < edge:
        d = sign * (back + 0.45)
        style = int(rng.integers(0, 3))
        gate = float(rng.uniform(plot.s0 + 3, plot.s1 - 3))
        for a, b in ((plot.s0 + 0.4, gate - 1.6), (gate + 1.6, plot.s1 - 0.4)):
            if b - a > 1.5 and stage.free(0.5 * (a + b), d, 0.5 * (b - a), 0.3, 0.0):
                # Short pieces follow the bend of the street.
                pieces = max(1, round((b - a) / 7))
                for k in range(pieces):
                    part = (b - a) / pieces
                    mesh = (buildings.wall, buildings.fence, vegetation.hedge)[style](kit, part)
                    stage.stand(
                        VEGETATION if style == 2 else MANMADE, mesh, a + (k + 0.5) * part, d, KERB_M - 0.03
                    )
                stage.take(0.5 * (a + b), d, 0.5 * (b - a), 0.35)
    if plot.kind == "park":
        scatter(lambda: vegetation.tree(kit, detail), VEGETATION, int(length / 3.2), 1.3, (2.5, 24))
        scatter(lambda: vegetation.bush(kit), VEGETATION, int(length / 4), 0.8, (1.0, 14))
        scatter(lambda: vegetation.tuft(kit), VEGETATION, int(length / 2), 0.3, (0.8, 10))
        scatter(lambda: props.bench(kit), MANMADE, 1, 0.9, (1.2, 5))
    elif plot.kind in ("house", "yard"):
        scatter(lambda: vegetation.tree(kit, detail), VEGETATION, 2, 1.4, (2.0, 15))
        scatter(lambda: vegetation.bush(kit), VEGETATION, 4, 0.8, (1.2, 9))
        scatter(lambda: vegetation.tuft(kit), VEGETATION, 5, 0.3, (0.8, 8))
    elif plot.kind == "building":
        scatter(lambda: vegetation.bush(kit), VEGETATION, 2, 0.7, (0.6, 3.4))
    elif plot.kind == "plaza":
        scatter(lambda: props.bench(kit), MANMADE, 3, 0.9, (1.5, 16))
        scatter(lambda: vegetation.tree(kit, detail), VEGETATION, 4, 1.0, (2.0, 22))
        scatter(lambda: props.bollard(kit), MANMADE, 5, 0.2, (0.6, 3))
        scatter(lambda: buildings.wall(kit, 3.0), MANMADE, 1, 1.6, (4, 16))
        mesh = buildings.building(kit, length - 1.0, 10.0, int(rng.integers(2, 6)))
        stage.stand(MANMADE, mesh, middle, sign * (back + 19.5), KERB_M - 0.02, _face_street(plot.side))
    elif plot.kind == "site":
        scatter(lambda: props.heap(kit), "flat.terrain", 2, 1.6, (4, 20))
        scatter(lambda: props.site_cabin(kit), MANMADE, 2, 2.6, (8, 22))
        mesh = buildings.building(kit, length - 2.0, 10.0, int(rng.integers(2, 5)))
        stage.stand(MANMADE, mesh, middle, sign * (back + 24), KERB_M - 0.02, _face_street(plot.side))
    elif plot.kind == "parking":
        scatter(lambda: vegetation.tree(kit, detail), VEGETATION, 1, 0.8, (7, 8))


def _street_furniture(stage: Stage, travel: float, reach: tuple[float, float]) -> None:
    """Lamps, verge trees, lights, signs and small things on the pavement."""
    rng, kit, p = stage.rng, stage.kit, stage.profile
    for side in (0, 1):
        sign = sign_of(side)
        lamp_d = p.kerb(side) + 0.55
        shift = float(rng.uniform(0, 14))
        for s in np.arange(reach[0] + 10 + shift, reach[1] - 10, float(rng.uniform(24, 32))):
            if stage.free(s, sign * lamp_d, 0.15, 0.15, 0.1):
                stage.take(s, sign * lamp_d, 0.2, 0.2)
                stage.stand(MANMADE, props.street_lamp(kit), s, sign * lamp_d, 0.05, -sign * 0.5 * np.pi)
        if p.strip[side] > 0 or rng.random() < 0.4:
            tree_d = p.kerb(side) + 0.18 + (0.5 * p.strip[side] if p.strip[side] else 0.45)
            for s in np.arange(reach[0] + 5, reach[1] - 5, float(rng.uniform(9, 15))):
                at = float(s + rng.uniform(-2, 2))
                if rng.random() < 0.7 and stage.free(at, sign * tree_d, 0.4, 0.3, 0.1):
                    stage.take(at, sign * tree_d, 0.5, 0.4)
                    near = -25 < at < travel + 30
                    stage.stand(
                        VEGETATION,
                        vegetation.tree(kit, 0.9 if near else 0.4),
                        at,
                        sign * tree_d,
                        KERB_M - 0.03,
                        float(rng.uniform(0, 6)),
                    )
        if p.strip[side] > 0:
            for s in np.arange(-30, travel + 40, 3.0):
                if rng.random() < 0.45:
                    at, d = (
                        float(s + rng.uniform(-1, 1)),
                        sign * float(rng.uniform(p.kerb(side) + 0.4, p.walk_inner(side) - 0.2)),
                    )
                    if stage.free(at, d, 0.3, 0.3, 0.0):
                        stage.stand(VEGETATION, vegetation.tuft(kit), at, d, KERB_M)
        for s in np.arange(-60, travel + 80, 7.0):
            at = float(s + rng.uniform(-2, 2))
            kind = int(rng.integers(0, 9))
            if kind > 5:
                continue
            d = sign * (p.walk_inner(side) + 0.3 if rng.random() < 0.5 else p.back(side) - 0.35)
            half = 2.0 if kind == 5 else 0.55
            if not stage.free(at, d, half, 0.5, 0.1):
                continue
            stage.take(at, d, half, 0.5)
            mesh = (props.road_sign, props.bollard, props.bin_, props.cabinet, props.bench, props.shelter)[
                kind
            ](kit)
            yaw = 0.0 if kind == 0 and side == 0 else np.pi if kind == 0 else -sign * 0.5 * np.pi
            stage.stand(MANMADE, mesh, at, d, KERB_M, yaw)
    for s, side, yaw in ((-SIDE_HALF_M - 1.2, 0, 0.0), (SIDE_HALF_M + 1.2, 1, np.pi)):
        d = sign_of(side) * (p.kerb(side) + 0.45)
        stage.stand(MANMADE, props.traffic_light(kit), stage.side_street + s, d, KERB_M, yaw)


def _people(stage: Stage, travel: float) -> None:
    """Standing people, alone and in groups."""
    rng, kit = stage.rng, stage.kit
    for s in np.arange(-20.0, travel + 40, 7.0):
        spot = _spot(
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
            _try(stage, category, attribute, build(), zones, 0.0, travel)


def _background(stage: Stage, reach: tuple[float, float]) -> None:
    """Houses and trees far off, so that no street ends in an empty plain; a few shapes serve for all."""
    rng, kit, p = stage.rng, stage.kit, stage.profile

    def house(s: float, d: float, z: float, yaw: float) -> None:
        def build() -> Mesh:
            return buildings.building(kit, float(rng.uniform(15, 24)), 12.0, int(rng.integers(2, 9)))

        stage.stand(MANMADE, pooled(stage, "far house", build, True), s, d, z, yaw)

    def tree(s: float, d: float) -> None:
        mesh = pooled(stage, "far tree", lambda: vegetation.tree(kit, 0.45), True)
        stage.stand(VEGETATION, mesh, s, d, -0.3, float(rng.uniform(0, 6)))

    for side in (0, 1):
        sign, back = sign_of(side), p.back(side) + PLOT_DEPTH_M
        for s in np.arange(reach[0], reach[1], 13.0):
            d = sign * (back + float(rng.uniform(6, 40)))
            at = float(s + rng.uniform(-4, 4))
            if abs(at - stage.side_street) < 14:
                continue
            if rng.random() < 0.55:
                house(at, d, -0.4, _face_street(side))
            for _ in range(2):
                tree(at + float(rng.uniform(-7, 7)), sign * (back + float(rng.uniform(1, 5))))
        house(stage.side_street, sign * (back + 13.5), -0.1, _face_street(side))
    for end, yaw in ((reach[1] + 6, -0.5 * np.pi), (reach[0] - 6, 0.5 * np.pi)):
        for d in np.arange(-75.0, 76.0, 19.0):
            house(end + float(rng.uniform(0, 5)) * np.sign(end), d, -0.1, yaw)
            tree(end - 5 * np.sign(end), d + float(rng.uniform(-8, 8)))
