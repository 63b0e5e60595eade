"""Lorries, pick-ups and the tractors of semi-trailers. x forward, standing on z = 0."""

from __future__ import annotations

import numpy as np

from lidardistill.synthetic.matter.materials import Kit
from lidardistill.synthetic.matter.meshes import Mesh, grid, join, rotation_y
from lidardistill.synthetic.matter.shapes import box, cylinder, extrude, polygon
from lidardistill.synthetic.things.cars import arches, plan_ring, wheels
from lidardistill.synthetic.things.lorry_parts import cab_over, cargo_body, chassis, fittings


def truck(kit: Kit) -> Mesh:
    """A box lorry, a tipper, a flat-bed or a pick-up."""
    rng = kit.rng
    kind = int(rng.choice(4, p=[0.40, 0.22, 0.18, 0.20]))
    if kind == 3:
        return _pickup(kit)
    _, dark, _, red = fittings(kit)
    paint = kit.paint("cab", gloss=0.05, sharp=60.0, bump=0.0, refl=(0.45, 0.45, 0.45))
    length, width, top = rng.uniform(6.6, 8.6), rng.uniform(2.25, 2.5), rng.uniform(2.35, 2.8)
    front, rear, cab = 0.5 * length, -0.5 * length, rng.uniform(1.7, 2.0)
    axles = [rear + 0.22 * length, front - 0.95]
    if length > 7.6:
        axles.insert(0, rear + 0.22 * length - 1.25)
    bed0, bed1, floor = rear, front - cab - rng.uniform(0.18, 0.4), 1.08
    parts = [
        cab_over(kit, paint, front, cab, width * 0.97, top),
        chassis(dark, rear, front - 0.8, width, 0.86),
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
        parts.append(
            cargo_body(kit, bed0, bed1, width, floor, rng.uniform(3.1, 3.6), int(rng.integers(0, 3)))
        )
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
    glass, dark, lamp, red = fittings(kit)
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
    flank, end = [paint, glass, dark, glass, paint], [paint, glass, glass, paint]
    around = [*flank, *end, *flank, *end]
    cabin = grid(rings, np.stack([np.full(18, paint), around, np.full(18, paint)]), close=True, crease_deg=35)
    axles = [rear + 0.20 * length, rear + 0.82 * length]
    parts = [
        body, cabin, polygon(rings[-1], paint),
        box((bed - rear - 0.16, width - 0.30, 0.02), (0.5 * (bed + rear), 0, belt + 0.002), dark),
        *[box((bed - rear, 0.08, 0.12), (0.5 * (bed + rear), s * (half - 0.05), belt + 0.05),
            paint) for s in (-1, 1)],
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
    _, dark, _, _ = fittings(kit)
    paint = kit.paint("cab", gloss=0.05, sharp=60.0, bump=0.0, refl=(0.45, 0.45, 0.45))
    parts = [
        cab_over(kit, paint, 2.9, 2.2, 2.46, 3.1),
        box((1.5, 2.1, 0.55), (1.55, 0, 3.30), paint, taper=0.8),
        chassis(dark, -2.9, 1.8, 2.4, 0.86),
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
