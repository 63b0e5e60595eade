"""Street furniture: cones, barriers, lamps, lights, signs, posts, benches (man-made in nuScenes)."""

from __future__ import annotations

import numpy as np

from lidardistill.synthetic.matter.materials import Kit, scaled
from lidardistill.synthetic.matter.meshes import Mesh, grid, join
from lidardistill.synthetic.matter.shapes import (
    box,
    cylinder,
    ellipsoid,
    extrude,
    polygon,
    quad,
    revolve,
    tube,
)


def cone(kit: Kit) -> Mesh:
    """A traffic cone, or one in eight times a tall plastic post."""
    rng = kit.rng
    orange = kit.paint("cone", refl=(0.55, 0.55, 0.55))
    white = kit.paint("band", refl=(1.8, 1.8, 1.8))
    dark = kit.paint("dark", refl=(0.2, 0.2, 0.2))
    height = rng.uniform(0.65, 0.95)
    if rng.random() < 0.12:
        parts = [
            cylinder(0.055, height * 1.2, orange, segments=10),
            cylinder(0.058, 0.12, white, segments=10).moved(z=height * 0.6),
            cylinder(0.058, 0.12, white, segments=10).moved(z=height * 0.95),
        ]
        return join([cylinder(0.20, 0.05, dark, segments=8), *parts])
    r = 0.165 * height / 0.75
    at = np.array([0.03, 0.36, 0.56, 0.66, 0.82, 1.0])
    radius = r * (1 - 0.86 * at)
    angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    rings = np.stack(
        [
            np.stack([q * np.cos(angle), q * np.sin(angle), np.full(14, height * h)], axis=1)
            for q, h in zip(radius, at, strict=True)
        ]
    )
    shell = grid(
        rings,
        np.repeat([[orange], [white], [orange], [white], [orange]], 14, axis=1),
        close=True,
        crease_deg=60,
    )
    return join(
        [
            box((2.4 * r, 2.4 * r, 0.05), (0, 0, 0.025), dark if rng.random() < 0.5 else orange),
            shell,
            polygon(rings[-1], orange),
        ]
    )


def barrier(kit: Kit, kind: int) -> Mesh:
    """A barrier across x, 1.9 m wide along y.

    kind 0: concrete, 1: water-filled plastic, 2: striped boards.
    """
    rng = kit.rng
    pick = kit.palette.pick
    if kind == 2:
        board = kit.book.add("stripes", pick("barrier"), b=pick("band"), tile=0.8, refl=(1.2, 1.8, 1.2))
        leg = kit.paint("metal", refl=(0.4, 0.4, 0.4))
        parts = []
        for z, h in ((0.90, 0.24), (0.52, 0.20)):
            face = [
                (0.03, -0.95, z - h / 2),
                (0.03, 0.95, z - h / 2),
                (0.03, 0.95, z + h / 2),
                (0.03, -0.95, z + h / 2),
            ]
            parts += [
                quad(face, board),
                quad([(-x, y, q) for x, y, q in face], board),
                box((0.06, 1.9, 0.02), (0, 0, z + h / 2), board),
            ]
        for y in (-0.75, 0.75):
            parts += [tube([(s * 0.28, y, 0.0), (s * 0.03, y, 1.06)], 0.025, leg, 5) for s in (-1, 1)]
            parts.append(box((0.62, 0.10, 0.05), (0, y, 0.025), leg))
        return join(parts)
    if kind == 0:
        shape = np.array(
            [
                (-0.30, 0),
                (-0.30, 0.09),
                (-0.16, 0.34),
                (-0.09, 0.86),
                (0.09, 0.86),
                (0.16, 0.34),
                (0.30, 0.09),
                (0.30, 0),
            ]
        )
        base = pick("concrete") if rng.random() < 0.6 else pick("barrier")
        skin = kit.book.add("concrete", base, b=scaled(base, 0.6), tile=1.9, macro=0.2, refl=(0.35, 0.3, 0.3))
    else:
        shape = np.array(
            [
                (-0.24, 0),
                (-0.24, 0.16),
                (-0.19, 0.24),
                (-0.15, 0.70),
                (-0.10, 0.95),
                (0.10, 0.95),
                (0.15, 0.70),
                (0.19, 0.24),
                (0.24, 0.16),
                (0.24, 0),
            ]
        )
        skin = (
            kit.paint("barrier", "bands", tile=50.0, refl=(0.5, 0.5, 0.5), macro=0.08)
            if rng.random() < 0.5
            else kit.book.add("plain", pick("band"), refl=(0.6, 0.6, 0.6))
        )
    body = extrude(shape, -0.96, 0.96, skin, 20)
    parts = [body]
    if kind == 1:
        dark = kit.paint("dark")
        parts += [box((0.42, 0.22, 0.13), (0, y, 0.07), dark) for y in (-0.55, 0.55)]
        parts += [box((0.36, 0.14, 0.06), (0, y, 0.50), dark) for y in (-0.45, 0.0, 0.45)]
        parts.append(cylinder(0.06, 0.06, dark, segments=8).moved(0, 0.3, 0.93))
    return join(parts)


def street_lamp(kit: Kit) -> Mesh:
    """A lamp post whose arm reaches along +x."""
    metal = kit.paint("metal", gloss=0.05, refl=(0.45, 0.45, 0.45))
    lens = kit.book.add("plain", (0.95, 0.94, 0.88))
    height, reach = kit.rng.uniform(6.5, 8.5), kit.rng.uniform(1.4, 2.4)
    bend = [
        (0, 0, 0.9),
        (0, 0, height - 1.0),
        (0.15 * reach, 0, height - 0.25),
        (0.55 * reach, 0, height),
        (reach, 0, height + 0.05),
    ]
    return join([
        revolve([(0.16, 0), (0.16, 0.12), (0.11, 0.2), (0.10, 0.95), (0.075, 1.0)], metal, 10),
        tube(bend, [0.075, 0.06, 0.05, 0.045, 0.04], metal, 7),
        box((0.75, 0.22, 0.10), (reach + 0.3, 0, height + 0.05), metal, taper=0.8),
        box((0.6, 0.16, 0.03), (reach + 0.3, 0, height - 0.01), lens),
    ])  # fmt: skip


def traffic_light(kit: Kit) -> Mesh:
    """A signal on a post, facing -x."""
    metal = kit.paint("metal", refl=(0.4, 0.4, 0.4))
    dark = kit.paint("dark", refl=(0.2, 0.2, 0.2))
    parts = [
        tube([(0, 0, 0), (0, 0, 3.4)], 0.07, metal),
        box((0.5, 0.5, 0.08), (0, 0, 0.04), metal),
        box((0.22, 0.32, 0.95), (-0.10, 0, 2.95), dark),
        box((0.02, 0.55, 1.2), (0.02, 0, 2.95), dark),
    ]
    on = int(kit.rng.integers(0, 3))
    for k, rgb in enumerate(((0.95, 0.10, 0.08), (0.95, 0.65, 0.05), (0.10, 0.85, 0.35))):
        lamp = kit.book.add("plain", rgb if k == on else scaled(rgb, 0.25), gloss=0.05)
        parts.append(ellipsoid((0.04, 0.105, 0.105), (-0.215, 0, 3.25 - 0.29 * k), lamp, 8, 4))
        parts.append(box((0.16, 0.24, 0.02), (-0.27, 0, 3.37 - 0.29 * k), dark))
    return join(parts)


def road_sign(kit: Kit) -> Mesh:
    """A plate on a post, facing -x."""
    rng = kit.rng
    metal = kit.paint("metal", refl=(0.4, 0.4, 0.4))
    face = kit.paint("sign", refl=(2.6, 2.6, 2.6))
    inner = kit.paint("band", refl=(2.6, 2.6, 2.6))
    kind = int(rng.integers(0, 4))
    height = rng.uniform(2.2, 2.7)
    sides, turn = ((24, 0.0), (8, np.pi / 8), (4, np.pi / 4), (3, -np.pi / 6))[kind]
    angle = np.arange(sides) * 2 * np.pi / sides + turn
    if sides == 3:
        angle = np.array([np.pi / 2, np.pi * 7 / 6, np.pi * 11 / 6])

    def plate(radius: float, x: float, material: int) -> Mesh:
        return polygon(
            np.stack(
                [np.full(len(angle), x), radius * np.cos(angle), height + radius * np.sin(angle)], axis=1
            ),
            material,
        )

    return join(
        [
            tube([(0, 0, 0), (0, 0, height + 0.3)], 0.035, metal),
            plate(0.38, -0.045, face),
            plate(0.38, -0.040, metal),
            plate(0.27, -0.050, inner),
            plate(0.15, -0.055, face),
        ]
    )


def bollard(kit: Kit) -> Mesh:
    metal = kit.paint("metal", refl=(0.4, 0.4, 0.4))
    band = kit.paint("band", refl=(1.5, 1.5, 1.5))
    return join(
        [
            cylinder(0.075, 0.88, metal, segments=10),
            ellipsoid((0.08, 0.08, 0.06), (0, 0, 0.88), metal, 8, 4),
            cylinder(0.079, 0.09, band, segments=10).moved(z=0.70),
        ]
    )


def bench(kit: Kit) -> Mesh:
    """A bench that looks along +x."""
    wood, metal = kit.paint("wood", "wood", tile=1.0), kit.paint("metal")
    slats = [box((0.09, 1.7, 0.04), (0.05 + 0.11 * k, 0, 0.45), wood) for k in range(4)]
    back = [box((0.04, 1.7, 0.09), (-0.06 - 0.02 * k, 0, 0.60 + 0.13 * k), wood) for k in range(3)]
    legs = [box((0.45, 0.06, 0.44), (0.20, y, 0.22), metal) for y in (-0.7, 0.7)] + [
        box((0.05, 0.06, 0.5), (-0.08, y, 0.68), metal) for y in (-0.7, 0.7)
    ]
    return join(slats + back + legs)


def cabinet(kit: Kit) -> Mesh:
    """An electricity box."""
    skin = kit.paint("metal", "panels", tile=1.4, refl=(0.4, 0.4, 0.4))
    return join(
        [
            box((0.42, 1.0, 1.15), (0, 0, 0.62), skin),
            box((0.48, 1.08, 0.10), (0, 0, 0.05), kit.paint("concrete")),
            box((0.48, 1.06, 0.05), (0, 0, 1.21), skin),
        ]
    )


def bin_(kit: Kit) -> Mesh:
    """A litter bin on the pavement, or a wheeled one."""
    skin = kit.paint("trim", "plain", refl=(0.3, 0.3, 0.3))
    dark = kit.paint("dark")
    return join(
        [
            revolve(
                [(0.20, 0.0), (0.25, 0.05), (0.27, 0.80), (0.28, 0.84), (0.24, 0.92), (0.0, 0.98)], skin, 12
            ),
            cylinder(0.285, 0.05, dark, segments=12).moved(z=0.78),
        ]
    )


def shelter(kit: Kit) -> Mesh:
    """A bus stop that opens along +x."""
    metal = kit.paint("metal", refl=(0.4, 0.4, 0.4))
    glass = kit.paint("pane", gloss=0.10, sharp=200.0, refl=(0.06, 0.06, 0.06))
    poster = kit.book.add("cloth", kit.palette.pick("cargo"), b=kit.palette.pick("cargo"), tile=3.0)
    parts = [
        box((1.5, 3.8, 0.10), (0.1, 0, 2.45), metal),
        box((0.03, 3.5, 1.8), (-0.55, 0, 1.25), glass),
        box((1.0, 0.10, 1.9), (-0.05, 1.75, 1.25), poster),
        box((0.36, 2.2, 0.06), (-0.32, -0.3, 0.48), kit.paint("wood", "wood")),
    ]
    parts += [tube([(-0.55, y, 0), (-0.55, y, 2.4)], 0.05, metal, 6) for y in (-1.8, 0.0, 1.8)] + [
        tube([(0.6, 1.8, 0), (0.6, 1.8, 2.4)], 0.05, metal, 6)
    ]
    return join(parts)


def heap(kit: Kit) -> Mesh:
    """A heap of earth or gravel."""
    rng = kit.rng
    base = kit.palette.pick("soil")
    skin = kit.book.add(
        "soil",
        base,
        b=kit.palette.pick("concrete"),
        c=base,
        tile=2.0,
        bump=1.6,
        macro=0.2,
        refl=(0.3, 0.3, 0.3),
    )
    radius, height, segments = rng.uniform(1.3, 2.2), rng.uniform(0.8, 1.6), 18
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    rings = []
    for f, h in ((1.0, -0.1), (0.78, 0.28), (0.52, 0.62), (0.25, 0.92)):
        r = radius * f * (1 + 0.14 * np.sin(3 * angle + 2) + 0.07 * np.sin(7 * angle + 5 * f))
        rings.append(np.stack([r * np.cos(angle), r * np.sin(angle), np.full(segments, h * height)], axis=1))
    top = rings[-1].mean(axis=0) + np.array([0, 0, 0.06 * height])
    rings.append(np.broadcast_to(top, rings[0].shape))
    return grid(np.stack(rings), skin, close=True, crease_deg=80)


def site_cabin(kit: Kit) -> Mesh:
    """A site office in a container."""
    skin = kit.book.add(
        "container",
        kit.palette.pick("cargo"),
        b=kit.palette.pick("metal"),
        tile=(2.2, 2.5),
        bump=1.2,
    )
    pane = kit.paint("pane", gloss=0.12, sharp=200.0, refl=(0.06, 0.06, 0.06))
    frame = kit.paint("trim")
    parts = [
        box((5.0, 2.4, 2.5), (0, 0, 1.35), skin),
        box((5.1, 2.5, 0.12), (0, 0, 2.62), frame),
        box((5.0, 2.3, 0.14), (0, 0, 0.07), frame),
    ]
    for x, w, z, h in ((-1.2, 1.2, 1.65, 0.9), (1.4, 0.9, 1.15, 2.0)):
        parts += [
            box((w + 0.14, 0.05, h + 0.14), (x, -1.21, z), frame),
            box((w, 0.05, h), (x, -1.225, z), pane),
        ]
    return join(parts)
