"""People, bicycles and motorcycles. x forward, y left, z up, standing on z = 0."""

from __future__ import annotations

import numpy as np

from lidardistill.synthetic.matter.materials import Kit
from lidardistill.synthetic.matter.meshes import Mesh, grid, join, rotation_x
from lidardistill.synthetic.matter.shapes import box, cylinder, ellipsoid, extrude, torus, tube

Point = tuple[float, float, float]


def _limb(a: Point, b: Point, r0: float, r1: float, material: int, segments: int = 7) -> Mesh:
    middle = tuple(0.5 * (p + q) for p, q in zip(a, b, strict=True))
    return tube([a, middle, b], [r0, 0.5 * (r0 + r1) * 1.08, r1], material, segments)


def _figure(
    kit: Kit,
    hip: Point,
    neck: Point,
    hands: list[Point],
    feet: list[Point],
    knees: list[Point],
    helmet: bool,
    long_coat: bool = False,
) -> Mesh:
    """A person from joints; shoulders and hips are one body wide. Points come right first, then left."""
    rng = kit.rng
    shirt = kit.paint("cloth", "cloth", tile=0.7, refl=(0.35, 0.35, 0.35))
    legs = kit.paint("trousers", "cloth", tile=0.7, refl=(0.25, 0.25, 0.25))
    skin = kit.paint("skin", refl=(0.45, 0.45, 0.45), bump=0.0)
    hair = kit.paint("hair", refl=(0.15, 0.15, 0.15))
    shoe = kit.paint("dark", refl=(0.15, 0.15, 0.15))
    lean = np.array(neck) - np.array(hip)
    levels = [
        (-0.06, 0.155, 0.115),
        (0.10, 0.165, 0.12),
        (0.40, 0.15, 0.105),
        (0.72, 0.19, 0.125),
        (0.92, 0.185, 0.10),
        (1.0, 0.07, 0.06),
    ]
    angle = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    rings = []
    for s, wide, deep in levels:
        centre = np.array(hip) + s * lean
        rings.append(
            np.stack(
                [centre[0] + deep * np.cos(angle), centre[1] + wide * np.sin(angle), np.full(10, centre[2])],
                axis=1,
            )
        )
    torso = grid(
        np.stack(rings),
        np.array([[legs if k == 0 else shirt] * 10 for k in range(5)]),
        close=True,
        crease_deg=75,
    )
    head = np.array(neck) + 0.115 * lean / np.linalg.norm(lean) + [0.015, 0, 0.075]
    parts = [
        torso,
        tube([neck, tuple(head)], 0.05, skin, 6),
        ellipsoid((0.105, 0.085, 0.125), head, skin, 9, 6),
        ellipsoid(
            (0.135, 0.12, 0.135) if helmet else (0.112, 0.096, 0.105),
            head + ([-0.012, 0, 0.045] if not helmet else [-0.01, 0, 0.035]),
            kit.paint("bike", gloss=0.06) if helmet else hair,
            9,
            5,
        ),
    ]
    if long_coat:
        low = np.array(hip) - [0, 0, 0.45]
        skirt = np.stack(
            [
                np.stack(
                    [low[0] + 0.19 * np.cos(angle), low[1] + 0.22 * np.sin(angle), np.full(10, low[2])],
                    axis=1,
                ),
                rings[1],
            ]
        )
        parts.append(grid(skirt, shirt, close=True, crease_deg=75))
    for side, hand, foot, knee in zip((-1, 1), hands, feet, knees, strict=True):
        shoulder = tuple(np.array(hip) + 0.88 * lean + [0, side * 0.20, 0])
        joint = tuple(np.array(hip) + np.array([0.0, side * 0.095, -0.02]))
        elbow = tuple(0.5 * (np.array(shoulder) + hand) + [-0.05, side * 0.045, -0.06])
        parts += [
            _limb(shoulder, elbow, 0.060, 0.048, shirt),
            _limb(elbow, hand, 0.048, 0.036, shirt if rng.random() < 0.6 else skin),
            ellipsoid((0.05, 0.04, 0.06), hand, skin, 6, 4),
            _limb(joint, knee, 0.088, 0.062, legs), _limb(knee, foot, 0.060, 0.042, legs),
            box((0.26, 0.095, 0.09), (foot[0] + 0.06, foot[1], foot[2] - 0.035), shoe, taper=0.8),
        ]  # fmt: skip
    return join(parts)


def pedestrian(kit: Kit, walking: bool) -> Mesh:
    """A grown-up, walking or standing; some carry a bag."""
    rng = kit.rng
    stride = rng.uniform(0.22, 0.36) if walking else rng.uniform(0.0, 0.06)
    swing = stride * 0.8
    feet = [(stride, -0.10, 0.08), (-stride, 0.10, 0.08 + 0.10 * walking)]
    knees = [(0.55 * stride + 0.04, -0.10, 0.50), (-0.25 * stride + 0.05, 0.10, 0.50)]
    if rng.random() < 0.35 and not walking:
        hands = [(0.28, -0.12, 1.22), (0.30, 0.02, 1.26)]
    else:
        hands = [(-swing, -0.29, 0.86 + 0.2 * swing), (swing, 0.29, 0.86 + 0.2 * swing)]
    body = _figure(kit, (0.0, 0.0, 0.93), (0.02, 0.0, 1.47), hands, feet, knees, False, rng.random() < 0.3)
    extra = []
    load = rng.random()
    if load < 0.25:
        extra.append(
            box((0.17, 0.30, 0.42), (-0.20, 0, 1.25), kit.paint("cloth", "cloth", tile=0.5), taper=0.85)
        )
    elif load < 0.45:
        extra.append(
            box(
                (0.30, 0.10, 0.26),
                (hands[0][0], -0.34, hands[0][2] - 0.25),
                kit.paint("cloth", "cloth", tile=0.5),
                taper=0.7,
            )
        )
    tall = rng.uniform(0.90, 1.07)
    return join([body, *extra]).transformed(np.diag([tall, tall, tall]))


def _cycle_wheel(radius: float, thick: float, tyre: int, rim: int, spokes: int) -> Mesh:
    parts = [
        torus(radius - thick, thick, tyre),
        cylinder(0.035, 0.10, rim, segments=6).transformed(rotation_x(0.5 * np.pi), (0, 0.05, 0)),
    ]
    for angle in np.linspace(0, np.pi, spokes, endpoint=False):
        end = (radius - thick) * np.array([np.cos(angle), 0, np.sin(angle)])
        parts.append(tube([tuple(-end), tuple(end)], 0.006, rim, 4))
    return join(parts).moved(0, 0, radius)


def bicycle(kit: Kit, rider: bool) -> Mesh:
    """A bicycle, ridden or parked."""
    frame = kit.paint("bike", gloss=0.06, refl=(0.5, 0.5, 0.5))
    dark = kit.paint("dark", refl=(0.15, 0.15, 0.15))
    tyre = kit.paint("tyre", refl=(0.10, 0.10, 0.10))
    rim = kit.paint("rim", gloss=0.1)
    r = 0.345
    crank, saddle, head_, rear, front = (
        (-0.08, 0, 0.29),
        (-0.24, 0, 0.90),
        (0.36, 0, 0.82),
        (-0.52, 0, r),
        (0.54, 0, r),
    )
    parts = [
        _cycle_wheel(r, 0.022, tyre, rim, 6).moved(-0.52), _cycle_wheel(r, 0.022, tyre, rim, 6).moved(0.54),
        tube([crank, saddle], 0.021, frame, 6), tube([crank, head_], 0.024, frame, 6),
        tube([(-0.21, 0, 0.78), head_], 0.021, frame, 6),
        *[tube([crank, (rear[0], s * 0.06, rear[2])], 0.014, frame, 5) for s in (-1, 1)],
        *[tube([(-0.21, 0, 0.78), (rear[0], s * 0.06, rear[2])], 0.013, frame, 5) for s in (-1, 1)],
        *[tube([(0.37, s * 0.05, 0.78), (front[0], s * 0.05, front[2])], 0.016, frame, 5) for s in (-1, 1)],
        tube([head_, (0.33, 0, 1.02)], 0.02, dark, 6),
        tube([(0.40, -0.28, 1.02), (0.33, 0, 1.04), (0.40, 0.28, 1.02)], 0.016, dark, 6),
        box((0.26, 0.15, 0.06), (-0.26, 0, 0.94), dark, taper=0.8),
        tube([(-0.08, -0.14, 0.13), (-0.08, -0.07, 0.29), (-0.08, 0.07, 0.29), (-0.08, 0.14, 0.45)], 0.012,
            dark, 5),
        cylinder(0.09, 0.02, dark, segments=10).transformed(rotation_x(0.5 * np.pi), (-0.08, -0.03, 0.29)),
    ]  # fmt: skip
    if kit.rng.random() < 0.4:
        parts.append(box((0.28, 0.30, 0.22), (0.52, 0, 0.92), kit.paint("wood", "wood", tile=0.5), taper=1.1))
    if rider:
        parts.append(
            _figure(
                kit,
                (-0.20, 0.0, 1.00),
                (0.13, 0.0, 1.47),
                [(0.38, -0.25, 1.06), (0.38, 0.25, 1.06)],
                [(-0.08, -0.14, 0.20), (-0.06, 0.14, 0.52)],
                [(0.16, -0.13, 0.63), (0.22, 0.13, 0.86)],
                kit.rng.random() < 0.6,
            )
        )
    return join(parts)


def motorcycle(kit: Kit, rider: bool) -> Mesh:
    """A motorcycle or a scooter, ridden or parked."""
    rng = kit.rng
    paint = kit.paint("bike", gloss=0.06, sharp=80.0, refl=(0.45, 0.45, 0.45), bump=0.0)
    dark = kit.paint("dark", refl=(0.15, 0.15, 0.15))
    tyre = kit.paint("tyre", refl=(0.08, 0.08, 0.08))
    metal = kit.paint("metal", gloss=0.2, refl=(0.5, 0.5, 0.5))
    lamp = kit.book.add("plain", (0.92, 0.93, 0.92), gloss=0.15, refl=(1.0, 1.0, 1.0))
    scooter = rng.random() < 0.45
    if scooter:
        r = 0.25
        parts = [_cycle_wheel(r, 0.065, tyre, metal, 3).moved(x) for x in (-0.60, 0.66)]
        side = np.array(
            [
                (-0.95, 0.55),
                (-0.85, 0.42),
                (-0.45, 0.30),
                (-0.15, 0.28),
                (-0.08, 0.72),
                (-0.45, 0.80),
                (-0.90, 0.78),
            ]
        )
        parts += [
            extrude(side, -0.17, 0.17, paint), box((0.55, 0.34, 0.08), (0.15, 0, 0.30), dark),
            extrude(np.array([(0.38, 0.28), (0.52, 0.34), (0.44, 0.98), (0.34, 0.98)]), -0.20, 0.20, paint),
            box((0.72, 0.28, 0.10), (-0.45, 0, 0.85), dark, taper=0.85),
            ellipsoid((0.10, 0.15, 0.12), (0.46, 0, 1.02), paint, 8, 5),
            ellipsoid((0.05, 0.09, 0.08), (0.54, 0, 1.02), lamp, 8, 4),
            tube([(0.50, 0, 0.85), (0.66, 0, r)], 0.045, metal, 6),
            tube([(0.34, -0.33, 1.06), (0.42, 0, 1.05), (0.34, 0.33, 1.06)], 0.022, dark, 6),
        ]  # fmt: skip
        if rng.random() < 0.6:
            parts.append(box((0.40, 0.42, 0.36), (-0.82, 0, 1.06), kit.paint("bike"), taper=0.9))
        hip, neck = (-0.38, 0.0, 1.00), (-0.22, 0.0, 1.52)
        hands, feet, knees = (
            [(0.32, -0.30, 1.08), (0.32, 0.30, 1.08)],
            [(0.16, -0.13, 0.42), (0.16, 0.13, 0.42)],
            [(0.10, -0.17, 0.86), (0.10, 0.17, 0.86)],
        )
    else:
        r = 0.32
        parts = [_cycle_wheel(r, 0.075, tyre, metal, 5).moved(x) for x in (-0.72, 0.76)]
        tank = np.array(
            [(-0.22, 0.82), (-0.10, 0.70), (0.34, 0.72), (0.42, 0.86), (0.25, 1.00), (-0.05, 0.98)]
        )
        parts += [
            extrude(tank, -0.15, 0.15, paint, 50),
            box((0.48, 0.36, 0.42), (0.06, 0, 0.50), metal, taper=0.85),
            box((0.62, 0.26, 0.12), (-0.48, 0, 0.84), dark, taper=0.9),
            extrude(np.array([(-0.75, 0.78), (-0.30, 0.60), (-0.25, 0.80), (-0.95, 0.95), (-1.02, 0.90)]),
                -0.11, 0.11, paint),
            *[tube([(0.44, s * 0.10, 1.00), (0.76, s * 0.10, r)], 0.032, metal, 6) for s in (-1, 1)],
            tube([(0.34, -0.36, 1.12), (0.44, 0, 1.10), (0.34, 0.36, 1.12)], 0.022, dark, 6),
            ellipsoid((0.10, 0.12, 0.12), (0.58, 0, 0.96), lamp, 8, 5),
            extrude(np.array([(0.42, 0.92), (0.62, 0.86), (0.56, 1.16), (0.46, 1.26)]), -0.14, 0.14, paint),
            tube([(0.1, -0.20, 0.32), (-0.4, -0.22, 0.30), (-0.98, -0.24, 0.46)], 0.05, metal, 7),
            box((0.5, 0.14, 0.06), (-0.5, 0, 0.36), dark),
            extrude(np.array([(0.50, 0.62), (0.76, 0.70), (1.02, 0.58), (1.00, 0.62), (0.76, 0.76),
                (0.50, 0.66)]), -0.07, 0.07, paint),
        ]  # fmt: skip
        hip, neck = (-0.34, 0.0, 0.98), (-0.02, 0.0, 1.46)
        hands, feet, knees = (
            [(0.32, -0.32, 1.14), (0.32, 0.32, 1.14)],
            [(-0.14, -0.24, 0.40), (-0.14, 0.24, 0.40)],
            [(0.10, -0.22, 0.80), (0.10, 0.22, 0.80)],
        )
    if rider:
        parts.append(_figure(kit, hip, neck, hands, feet, knees, True))
    return join(parts)
