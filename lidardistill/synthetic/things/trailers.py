"""Semi-trailers. x forward, standing on z = 0."""

from __future__ import annotations

import numpy as np

from lidardistill.synthetic.matter.materials import Kit
from lidardistill.synthetic.matter.meshes import Mesh, grid, join
from lidardistill.synthetic.matter.shapes import box, cylinder, polygon, tube
from lidardistill.synthetic.things.cars import wheels
from lidardistill.synthetic.things.lorry_parts import cargo_body, chassis, fittings


def trailer(kit: Kit) -> Mesh:
    """A semi-trailer without its tractor: curtain-sider, container on a frame, or tank; legs down, axles far
    back.
    """
    rng = kit.rng
    _, dark, _, red = fittings(kit)
    metal = kit.paint("metal", gloss=0.08, refl=(0.45, 0.45, 0.45))
    length, width = rng.uniform(9.0, 12.5), 2.5
    rear, front = -0.5 * length, 0.5 * length
    axles = [rear + 1.3, rear + 2.55, rear + 3.8]
    parts = [
        chassis(dark, rear, front - 0.2, width, 1.12),
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
        parts.append(cargo_body(kit, rear, front, width, 1.24, rng.uniform(3.7, 3.95), 1 - kind))
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
            wide = np.array([0.06, 0, 0])
            parts.append(grid(np.stack([hoop - wide, hoop + wide]), metal, close=True))
        parts += [
            box((length - 1.6, 0.7, 0.06), (0, 0, 3.58), dark),
            cylinder(0.3, 0.2, metal).moved(0.5, 0, 3.5),
        ]
    return join(parts)
