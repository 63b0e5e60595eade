"""What belongs to the place: houses, gardens, street furniture, and the far background."""

from __future__ import annotations

import numpy as np

from lidardistill.synthetic.ground.ground import PLOT_DEPTH_M, SIDE_HALF_M, Plot, sign_of
from lidardistill.synthetic.ground.street import KERB_M
from lidardistill.synthetic.matter.meshes import Mesh
from lidardistill.synthetic.place.stage import MANMADE, VEGETATION, Stage, plant, pooled
from lidardistill.synthetic.things import buildings, props, vegetation


def _face_street(side: int) -> float:
    """Yaw that turns a thing's front (-y) towards the street."""
    return np.pi if side == 0 else 0.0


def house(stage: Stage, plot: Plot) -> None:
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


def garden(stage: Stage, plot: Plot) -> None:
    """Trees, hedges, walls, fences and the like of one plot."""
    rng, kit = stage.rng, stage.kit
    sign, back = sign_of(plot.side), stage.profile.back(plot.side)
    length, middle = plot.s1 - plot.s0, 0.5 * (plot.s0 + plot.s1)
    near = abs(middle - 20) < 75
    detail = 1.0 if near else 0.4

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
        scatter(lambda: plant(stage, "tree", detail), VEGETATION, int(length / 3.2), 1.3, (2.5, 24))
        scatter(lambda: plant(stage, "bush"), VEGETATION, int(length / 4), 0.8, (1.0, 14))
        scatter(lambda: plant(stage, "tuft"), VEGETATION, int(length / 2), 0.3, (0.8, 10))
        scatter(lambda: props.bench(kit), MANMADE, 1, 0.9, (1.2, 5))
    elif plot.kind in ("house", "yard"):
        scatter(lambda: plant(stage, "tree", detail), VEGETATION, 2, 1.4, (2.0, 15))
        scatter(lambda: plant(stage, "bush"), VEGETATION, 4, 0.8, (1.2, 9))
        scatter(lambda: plant(stage, "tuft"), VEGETATION, 5, 0.3, (0.8, 8))
    elif plot.kind == "building":
        scatter(lambda: plant(stage, "bush"), VEGETATION, 2, 0.7, (0.6, 3.4))
    elif plot.kind == "plaza":
        scatter(lambda: props.bench(kit), MANMADE, 3, 0.9, (1.5, 16))
        scatter(lambda: plant(stage, "tree", detail), VEGETATION, 4, 1.0, (2.0, 22))
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
        scatter(lambda: plant(stage, "tree", detail), VEGETATION, 1, 0.8, (7, 8))


def street_furniture(stage: Stage, travel: float, reach: tuple[float, float]) -> None:
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
                        plant(stage, "tree", 1.0 if near else 0.4),
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
                        stage.stand(VEGETATION, plant(stage, "tuft"), at, d, KERB_M)
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


def background(stage: Stage, reach: tuple[float, float]) -> None:
    """Houses and trees far off, so that no street ends in an empty plain; a few shapes serve for all."""
    rng, kit, p = stage.rng, stage.kit, stage.profile

    def far_house(s: float, d: float, z: float, yaw: float) -> None:
        def build() -> Mesh:
            return buildings.building(kit, float(rng.uniform(15, 24)), 12.0, int(rng.integers(2, 9)))

        stage.stand(MANMADE, pooled(stage, "far house", build, True), s, d, z, yaw)

    def far_tree(s: float, d: float) -> None:
        mesh = plant(stage, "tree", 0.4)
        stage.stand(VEGETATION, mesh, s, d, -0.3, float(rng.uniform(0, 6)))

    for side in (0, 1):
        sign, back = sign_of(side), p.back(side) + PLOT_DEPTH_M
        for s in np.arange(reach[0], reach[1], 13.0):
            d = sign * (back + float(rng.uniform(6, 40)))
            at = float(s + rng.uniform(-4, 4))
            if abs(at - stage.side_street) < 14:
                continue
            if rng.random() < 0.55:
                far_house(at, d, -0.4, _face_street(side))
            for _ in range(2):
                far_tree(at + float(rng.uniform(-7, 7)), sign * (back + float(rng.uniform(1, 5))))
        far_house(stage.side_street, sign * (back + 13.5), -0.1, _face_street(side))
    for end, yaw in ((reach[1] + 6, -0.5 * np.pi), (reach[0] - 6, 0.5 * np.pi)):
        for d in np.arange(-75.0, 76.0, 19.0):
            far_house(end + float(rng.uniform(0, 5)) * np.sign(end), d, -0.1, yaw)
            far_tree(end - 5 * np.sign(end), d + float(rng.uniform(-8, 8)))
