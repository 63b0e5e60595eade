"""Lorries, pick-ups, semi-trailers and buses: long things that differ in shape. x forward, standing on z = 0."""

from __future__ import annotations

import numpy as np

from lidardistill.synthetic.cars import arches, plan_ring, wheels
from lidardistill.synthetic.materials import Kit
from lidardistill.synthetic.meshes import (
    Mesh,
    box,
    cylinder,
    extrude,
    grid,
    join,
    polygon,
    quad,
    rotation_x,
    rotation_y,
    tube,
)


def _common(kit: Kit) -> tuple[int, int, int, int]:
    glass = kit.paint("glass", gloss=0.10, sharp=250.0, refl=(0.05, 0.05, 0.05), bump=0.0)
    dark = kit.paint("dark", refl=(0.10, 0.10, 0.10), bump=0.0)
    lamp = kit.book.add("plain", (0.90, 0.92, 0.94), gloss=0.15, refl=(0.9, 0.9, 0.9))
    red = kit.book.add("plain", (0.60, 0.03, 0.03), gloss=0.08, refl=(1.4, 1.4, 1.4))
    return glass, dark, lamp, red


def _cab(kit: Kit, paint: int, front: float, length: float, width: float, top: float) -> Mesh:
    """A flat-nosed cab whose front is at x = `front`."""
    glass, dark, lamp, _ = _common(kit)
    chrome = kit.paint("rim", gloss=0.2, refl=(0.6, 0.6, 0.6))
    half, back = 0.5 * width, front - length
    sides = [0.0, 0.12, 0.50, 0.90, 1.0]
    ends = [0.0, 0.05, 0.5, 0.95, 1.0]
    levels = [
        (0.42, 0.98, 0.0),
        (0.95, 1.0, 0.0),
        (1.0 + 0.36 * (top - 1), 1.0, 0.02),
        (1.0 + 0.80 * (top - 1), 0.96, 0.16),
        (top - 0.06, 0.92, 0.26),
        (top, 0.80, 0.45),
    ]
    rings = np.stack(
        [plan_ring(back, front - slope, half * w, z, sides, ends, 0.08, 0.05) for z, w, slope in levels]
    )
    material = np.full((5, 16), paint)
    material[0] = dark
    material[2] = (
        [paint, paint, glass, paint] + [dark, glass, glass, dark] + [paint, glass, paint, paint] + [paint] * 4
    )
    parts = [
        grid(rings, material, close=True, crease_deg=38),
        polygon(rings[-1], paint),
        polygon(rings[0], dark),
    ]
    z = 1.0 + 0.18 * (top - 1)
    parts += [
        box((0.04, width * 0.62, 0.36), (front + 0.05, 0, z), dark),
        *[box((0.05, width * 0.58, 0.035), (front + 0.07, 0, z - 0.12 + 0.12 * k), chrome) for k in range(3)],
        box((0.14, width * 0.98, 0.26), (front + 0.02, 0, 0.52), dark),
        box((0.30, width * 0.86, 0.06), (front - 0.05, 0, 1.0 + 0.86 * (top - 1)), dark),
    ]
    for side in (-1, 1):
        parts += [
            box((0.06, 0.30, 0.16), (front + 0.06, side * half * 0.76, 0.72), lamp),
            box((0.10, 0.18, 0.46), (front - 0.05, side * (half + 0.20), 1.0 + 0.55 * (top - 1)), dark),
            tube(
                [
                    (front - 0.15, side * half * 0.9, 1.0 + 0.72 * (top - 1)),
                    (front - 0.06, side * (half + 0.18), 1.0 + 0.70 * (top - 1)),
                ],
                0.02,
                dark,
                5,
            ),
            box((0.5, 0.10, 0.08), (front - 0.62 * length, side * half * 0.97, 0.40), chrome),
        ]
    return join(parts)


def _chassis(dark: int, x0: float, x1: float, width: float, z: float) -> Mesh:
    rails = [box((x1 - x0, 0.12, 0.24), (0.5 * (x0 + x1), s * 0.22 * width, z), dark) for s in (-1, 1)]
    cross = [box((0.12, 0.5 * width, 0.16), (x, 0, z), dark) for x in np.linspace(x0 + 0.4, x1 - 0.4, 4)]
    return join(rails + cross)


def _cargo(kit: Kit, x0: float, x1: float, width: float, z0: float, z1: float, kind: int) -> Mesh:
    """A load body: ribbed box, curtain-sider or plain refrigerated box, with framed doors at the rear."""
    pick = kit.palette.pick
    a, b, c = pick("cargo"), pick("cargo"), pick("trim")
    height = z1 - z0
    if kind == 0:
        skin = kit.book.add(
            "container", a, b=pick("metal"), tile=(2.2, height), bump=1.4, refl=(0.5, 0.4, 0.4)
        )
    elif kind == 1:
        skin = kit.book.add(
            "curtain_side", a, b=b, c=c, tile=((x1 - x0) / 1.5, height), bump=0.8, refl=(0.5, 0.5, 0.5)
        )
    else:
        skin = kit.book.add("panels", a, tile=(2.6, height * 2), bump=0.6, refl=(0.5, 0.5, 0.5))
    frame = kit.book.add("plain", c, refl=(0.4, 0.4, 0.4))
    metal = kit.paint("metal", gloss=0.08, refl=(0.5, 0.5, 0.5))
    hazard = kit.book.add("stripes", (0.85, 0.12, 0.10), b=(0.92, 0.90, 0.88), tile=0.5, refl=(2.0, 2.0, 2.0))
    mid, half = 0.5 * (x0 + x1), 0.5 * width
    parts = [box((x1 - x0, width - 0.04, height), (mid, 0, 0.5 * (z0 + z1)), skin)]
    for z in (z0 + 0.05, z1 - 0.05):
        parts += [box((x1 - x0 + 0.04, 0.08, 0.12), (mid, s * (half - 0.03), z), frame) for s in (-1, 1)]
    for x in (x0 - 0.01, x1 + 0.01):
        parts += [box((0.09, 0.10, height), (x, s * (half - 0.04), 0.5 * (z0 + z1)), frame) for s in (-1, 1)]
        parts += [box((0.09, width, 0.12), (x, 0, z), frame) for z in (z0 + 0.05, z1 - 0.05)]
    parts += [
        tube([(x0 - 0.04, y, z0 + 0.1), (x0 - 0.04, y, z1 - 0.1)], 0.025, metal, 5)
        for y in (-0.62 * half, -0.2 * half, 0.2 * half, 0.62 * half)
    ]
    parts.append(box((0.05, width * 0.96, 0.16), (x0 - 0.02, 0, z0 - 0.16), hazard))
    return join(parts)


def truck(kit: Kit) -> Mesh:
    """A box lorry, a tipper, a flat-bed or a pick-up."""
    rng = kit.rng
    kind = int(rng.choice(4, p=[0.40, 0.22, 0.18, 0.20]))
    if kind == 3:
        return _pickup(kit)
    _, dark, _, red = _common(kit)
    paint = kit.paint("cab", gloss=0.05, sharp=60.0, bump=0.0, refl=(0.45, 0.45, 0.45))
    length, width, top = rng.uniform(6.6, 8.6), rng.uniform(2.25, 2.5), rng.uniform(2.35, 2.8)
    front, rear, cab = 0.5 * length, -0.5 * length, rng.uniform(1.7, 2.0)
    axles = [rear + 0.22 * length, front - 0.95]
    if length > 7.6:
        axles.insert(0, rear + 0.22 * length - 1.25)
    bed0, bed1, floor = rear, front - cab - rng.uniform(0.18, 0.4), 1.08
    parts = [
        _cab(kit, paint, front, cab, width * 0.97, top),
        _chassis(dark, rear, front - 0.8, width, 0.86),
        wheels(kit, [axles[-1]], width, 0.48, 0.28),
        wheels(kit, axles[:-1], width, 0.48, 0.26, twin=True),
        cylinder(0.28, 1.1, kit.paint("metal", gloss=0.1), segments=10).transformed(
            rotation_y(0.5 * np.pi), (front - cab - 1.5, -0.4 * width, 0.66)
        ),
        box((0.9, 0.5, 0.5), (front - cab - 1.0, 0.38 * width, 0.66), dark),
        box((0.08, width * 0.9, 0.12), (rear + 0.05, 0, 0.52), dark),
        *[box((0.06, 0.22, 0.12), (rear - 0.01, s * 0.40 * width, 0.80), red) for s in (-1, 1)],
    ]
    if kind == 0:
        parts.append(_cargo(kit, bed0, bed1, width, floor, rng.uniform(3.1, 3.6), int(rng.integers(0, 3))))
    else:
        metal = kit.paint("cab", "panels", bump=1.0, refl=(0.4, 0.4, 0.4))
        wall = rng.uniform(0.9, 1.25) if kind == 1 else 0.45
        mid, half = 0.5 * (bed0 + bed1), 0.5 * width
        ribs = np.arange(bed0 + 0.3, bed1, 0.75)
        parts += [
            box((bed1 - bed0, width, 0.14), (mid, 0, floor), dark),
            *[
                box((bed1 - bed0, 0.07, wall), (mid, s * (half - 0.04), floor + 0.5 * wall), metal)
                for s in (-1, 1)
            ],
            *[
                box((0.10, 0.10, wall), (x, s * half, floor + 0.5 * wall), metal)
                for x in ribs
                for s in (-1, 1)
            ],
            box((0.08, width, wall), (bed0 + 0.04, 0, floor + 0.5 * wall), metal),
            box((0.10, width, wall + 0.75), (bed1 - 0.05, 0, floor + 0.5 * wall + 0.37), metal),
        ]
        if kind == 1:
            parts.append(box((0.9, width * 0.92, 0.07), (bed1 + 0.30, 0, floor + wall + 0.72), metal))
            heap = kit.book.add(
                "gravel",
                kit.palette.pick("soil"),
                b=kit.palette.pick("concrete"),
                tile=1.2,
                bump=2.0,
            )
            parts.append(
                _heap(bed1 - bed0 - 0.3, width - 0.2, wall * 0.75, 0.55, heap).moved(mid, 0, floor + 0.05)
            )
        else:
            for x in np.arange(bed0 + 0.9, bed1 - 0.6, 1.35):
                size = rng.uniform(0.7, 1.1, 3)
                crate = (
                    kit.paint("wood", "wood", tile=1.0)
                    if rng.random() < 0.6
                    else kit.paint("cargo", "panels", tile=1.2)
                )
                parts.append(box(size, (x, rng.uniform(-0.4, 0.4), floor + 0.07 + 0.5 * size[2]), crate))
    return join(parts)


def _heap(length: float, width: float, base: float, rise: float, material: int) -> Mesh:
    """A load of rubble that fills a bed to `base` and rises in the middle."""
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, 9), np.linspace(-0.5, 0.5, 6), indexing="ij")
    bump = np.cos(np.pi * x) ** 0.8 * np.cos(np.pi * y) ** 0.6
    z = base + rise * (bump + 0.12 * np.sin(9 * x + 5 * y) * bump)
    points = np.stack([x * length, y * width, z], axis=2)
    return grid(points, material, uv=points[..., :2], crease_deg=60)


def _pickup(kit: Kit) -> Mesh:
    glass, dark, lamp, red = _common(kit)
    paint = kit.paint("car", gloss=0.045, sharp=90.0, bump=0.0, refl=(0.45, 0.45, 0.45))
    length, width, height, belt = kit.rng.uniform(5.2, 5.7), 1.94, kit.rng.uniform(1.78, 1.9), 1.16
    half, rear = 0.5 * width, -0.5 * length
    sides = [0.0, 0.05, 0.47, 0.52, 0.95, 1.0]
    ends = [0.0, 0.06, 0.5, 0.94, 1.0]
    bed, hood = rear + 0.34 * length, rear + 0.72 * length
    profile = [
        (rear, 0.45),
        (rear, belt - 0.02),
        (bed, belt),
        (hood, belt),
        (rear + 0.95 * length, belt - 0.12),
        (rear + length, belt - 0.25),
        (rear + length, 0.42),
    ]
    upper = np.array([(x, z) for x, z in profile])
    body = extrude(upper, -half, half, paint, 20)
    levels = [
        (belt - 0.02, 0.97, 0.0, 0.0),
        (belt + 0.03, 0.95, 0.0, 0.0),
        (height - 0.08, 0.80, 0.55, 0.12),
        (height, 0.66, 0.75, 0.2),
    ]
    rings = np.stack(
        [plan_ring(bed + r, hood + 0.25 - f, half * w, z, sides, ends, 0.1) for z, w, f, r in levels]
    )
    around = (
        [paint, glass, dark, glass, paint]
        + [paint, glass, glass, paint]
        + [paint, glass, dark, glass, paint]
        + [paint, glass, glass, paint]
    )
    cabin = grid(rings, np.stack([np.full(18, paint), around, np.full(18, paint)]), close=True, crease_deg=35)
    axles = [rear + 0.20 * length, rear + 0.82 * length]
    parts = [
        body, cabin, polygon(rings[-1], paint),
        box((bed - rear - 0.16, width - 0.30, 0.02), (0.5 * (bed + rear), 0, belt + 0.002), dark),
        *[box((bed - rear, 0.08, 0.12), (0.5 * (bed + rear), s * (half - 0.05), belt + 0.05), paint) for s in (-1, 1)],
        box((0.08, width, 0.12), (rear + 0.04, 0, belt + 0.05), paint),
        wheels(kit, axles, width + 0.03, 0.39, 0.26), arches(axles, half, 0.39, dark),
        box((0.10, width * 0.95, 0.22), (rear + length + 0.03, 0, 0.52), dark),
        box((0.04, width * 0.55, 0.24), (rear + length + 0.005, 0, 0.78), dark),
        box((0.10, width * 0.95, 0.16), (rear - 0.03, 0, 0.52), dark),
    ]  # fmt: skip
    for s in (-1, 1):
        parts += [
            box((0.06, 0.30, 0.16), (rear + length - 0.005, s * half * 0.76, 0.80), lamp),
            box((0.05, 0.14, 0.30), (rear + 0.01, s * half * 0.90, 0.90), red),
            box((0.14, 0.20, 0.18), (hood - 0.02, s * (half + 0.08), belt + 0.12), dark),
        ]
    return join(parts)


def tractor(kit: Kit) -> Mesh:
    """The pulling unit of a semi-trailer: tall cab, bare frame behind it. A truck."""
    _, dark, _, _ = _common(kit)
    paint = kit.paint("cab", gloss=0.05, sharp=60.0, bump=0.0, refl=(0.45, 0.45, 0.45))
    parts = [
        _cab(kit, paint, 2.9, 2.2, 2.46, 3.1),
        box((1.5, 2.1, 0.55), (1.55, 0, 3.30), paint, taper=0.8),
        _chassis(dark, -2.9, 1.8, 2.4, 0.86),
        wheels(kit, [1.9], 2.45, 0.5, 0.3),
        wheels(kit, [-1.7], 2.45, 0.5, 0.26, twin=True),
        cylinder(0.55, 0.10, dark, segments=12).moved(-1.6, 0, 1.0),
        *[
            cylinder(0.3, 1.1, kit.paint("metal", gloss=0.1), segments=10).transformed(
                rotation_y(0.5 * np.pi), (-0.6, s * 0.92, 0.68)
            )
            for s in (-1, 1)
        ],
    ]
    return join(parts)


def trailer(kit: Kit) -> Mesh:
    """A semi-trailer without its tractor: curtain-sider, container on a frame, or tank; legs down, axles far back."""
    rng = kit.rng
    _, dark, _, red = _common(kit)
    metal = kit.paint("metal", gloss=0.08, refl=(0.45, 0.45, 0.45))
    length, width = rng.uniform(9.0, 12.5), 2.5
    rear, front = -0.5 * length, 0.5 * length
    axles = [rear + 1.3, rear + 2.55, rear + 3.8]
    parts = [
        _chassis(dark, rear, front - 0.2, width, 1.12),
        wheels(kit, axles, width, 0.47, 0.32),
        box((0.10, width * 0.9, 0.14), (rear + 0.05, 0, 0.50), dark),
        *[box((0.05, 0.30, 0.14), (rear - 0.01, s * 0.4 * width, 0.95), red) for s in (-1, 1)],
        *[box((1.25, 0.06, 0.28), (x, s * 0.46 * width, 1.10), dark) for x in axles for s in (-1, 1)],
    ]
    leg = front - 2.4
    for s in (-1, 1):
        parts += [
            box((0.14, 0.14, 1.05), (leg, s * 0.30 * width, 0.60), metal),
            box((0.34, 0.30, 0.07), (leg, s * 0.30 * width, 0.04), metal),
            tube([(leg, s * 0.30 * width, 0.35), (leg - 0.9, s * 0.28 * width, 1.05)], 0.04, metal, 5),
            *[
                box((length - 6.6, 0.04, 0.14), (0.5 * (leg + axles[-1]) - 0.1, s * 0.47 * width, z), metal)
                for z in (0.62, 0.88)
            ],
        ]
    kind = int(rng.choice(3, p=[0.45, 0.30, 0.25]))
    if kind < 2:
        parts.append(_cargo(kit, rear, front, width, 1.24, rng.uniform(3.7, 3.95), 1 - kind))
    else:
        tank = kit.paint(
            "cargo", "panels", tile=(8.0, 2.2), gloss=0.12, sharp=25.0, refl=(0.6, 0.6, 0.6), bump=0.4
        )
        radius, segments = 1.12, 20
        angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
        shape = [
            (rear + 0.05, 0.55),
            (rear + 0.12, 0.85),
            (rear + 0.35, 1.0),
            (front - 0.35, 1.0),
            (front - 0.12, 0.85),
            (front - 0.05, 0.55),
        ]
        rings = np.stack(
            [
                np.stack(
                    [
                        np.full(segments, x),
                        radius * 1.08 * r * np.cos(angle),
                        2.42 + radius * r * np.sin(angle),
                    ],
                    axis=1,
                )
                for x, r in shape
            ]
        )
        parts += [
            grid(rings, tank, close=True, crease_deg=50),
            polygon(rings[0], tank),
            polygon(rings[-1], tank),
        ]
        for x in np.linspace(rear + 1.2, front - 1.2, 4):
            hoop = np.stack(
                [np.full(segments, x), radius * 1.105 * np.cos(angle), 2.42 + radius * 1.025 * np.sin(angle)],
                axis=1,
            )
            parts.append(grid(np.stack([hoop - [0.06, 0, 0], hoop + [0.06, 0, 0]]), metal, close=True))
        parts += [
            box((length - 1.6, 0.7, 0.06), (0, 0, 3.58), dark),
            cylinder(0.3, 0.2, metal).moved(0.5, 0, 3.5),
        ]
    return join(parts)


def bus(kit: Kit) -> Mesh:
    """A city bus: low floor, rounded corners, glass from end to end, doors on its right."""
    rng = kit.rng
    glass, dark, lamp, red = _common(kit)
    body = kit.paint("bus", gloss=0.04, sharp=70.0, bump=0.0, refl=(0.45, 0.45, 0.45))
    second = kit.paint("bus", gloss=0.04, sharp=70.0, bump=0.0, refl=(0.45, 0.45, 0.45))
    length, width, height = rng.uniform(9.5, 12.2), rng.uniform(2.45, 2.55), rng.uniform(2.95, 3.2)
    half, rear, front = 0.5 * width, -0.5 * length, 0.5 * length
    windows = int(length / 1.5)
    sides = [0.0, 0.015]
    for k in range(windows):
        at = 0.02 + 0.96 * k / windows
        sides += [at + 0.07 / length, at + 0.96 / windows - 0.035 / length]
    sides += [0.995, 1.0]
    flank = [second if rng.random() < 0.5 else dark] * (len(sides) - 1)
    for k in range(windows):
        flank[2 + 2 * k] = glass
    ends = [0.0, 0.04, 0.5, 0.96, 1.0]
    levels = [
        (0.30, 0.96, 0.0),
        (0.42, 1.0, 0.0),
        (0.95, 1.0, 0.0),
        (1.12, 1.0, 0.0),
        (2.36, 0.985, 0.10),
        (2.62, 0.975, 0.12),
        (height - 0.16, 0.95, 0.16),
        (height - 0.03, 0.86, 0.3),
        (height, 0.70, 0.6),
    ]
    rings = np.stack(
        [plan_ring(rear + 0.3 * f, front - f, half * w, z, sides, ends, 0.12, 0.10) for z, w, f in levels]
    )
    n = len(sides) - 1
    plain, stripe = [body] * n, [second] * n
    nose, tail = [body, glass, glass, body], [body, glass, glass, body]
    solid = [body] * 4
    rows = [
        [dark] * n + [dark] * 4 + [dark] * n + [dark] * 4,
        plain + solid + plain + solid,
        stripe + nose + stripe + solid,
        flank + nose + flank[::-1] + tail,
        [body] * n + [dark] * 4 + [body] * n + solid,
        plain + solid + plain + solid,
        plain + solid + plain + solid,
        plain + solid + plain + solid,
    ]
    parts = [
        grid(rings, np.array(rows), close=True, crease_deg=38),
        polygon(rings[-1], body),
        polygon(rings[0], dark),
    ]
    axles = [rear + 0.26 * length, front - 2.7]
    parts += [wheels(kit, axles, width + 0.01, 0.48, 0.28), arches(axles, half, 0.48, dark)]
    sign = kit.book.add("plain", (0.95, 0.60, 0.10), refl=(0.3, 0.3, 0.3))
    parts += [
        box((0.04, width * 0.62, 0.15), (front + 0.0, 0, 2.50), sign),
        box((length * 0.28, width * 0.66, 0.24), (rear + 0.3 * length, 0, height + 0.08), body, taper=0.9),
        box((length * 0.16, width * 0.55, 0.18), (front - 0.3 * length, 0, height + 0.06), body, taper=0.9),
        box((0.06, width * 0.7, 0.5), (rear - 0.03, 0, 0.75), dark),
    ]
    for x in (front - 1.0, 0.2):
        for d in (-0.33, 0.33):
            parts.append(
                quad(
                    [
                        (x + d - 0.28, -half - 0.012, 0.42),
                        (x + d + 0.28, -half - 0.012, 0.42),
                        (x + d + 0.28, -half - 0.004, 2.35),
                        (x + d - 0.28, -half - 0.004, 2.35),
                    ],
                    glass,
                )
            )
        parts.append(
            quad(
                [
                    (x - 0.66, -half - 0.008, 0.36),
                    (x + 0.66, -half - 0.008, 0.36),
                    (x + 0.66, -half, 2.42),
                    (x - 0.66, -half, 2.42),
                ],
                dark,
            )
        )
    for s in (-1, 1):
        parts += [
            box((0.05, 0.34, 0.14), (front + 0.04, s * half * 0.72, 0.66), lamp),
            box((0.05, 0.14, 0.50), (rear - 0.03, s * half * 0.86, 1.10), red),
            tube(
                [(front - 0.05, s * half * 0.9, 2.45), (front + 0.28, s * (half + 0.12), 2.35)],
                0.025,
                dark,
                5,
            ),
            box((0.10, 0.20, 0.42), (front + 0.28, s * (half + 0.14), 2.12), dark),
        ]
    return join(parts)


__all__ = ["bus", "rotation_x", "tractor", "trailer", "truck"]
