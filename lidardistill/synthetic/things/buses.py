"""City buses. x forward, standing on z = 0."""

from __future__ import annotations

import numpy as np

from lidardistill.synthetic.matter.materials import Kit
from lidardistill.synthetic.matter.meshes import Mesh, grid, join
from lidardistill.synthetic.matter.shapes import box, polygon, quad, tube
from lidardistill.synthetic.things.cars import arches, plan_ring, wheels
from lidardistill.synthetic.things.lorry_parts import fittings


def bus(kit: Kit) -> Mesh:
    """A city bus: low floor, rounded corners, glass from end to end, doors on its right."""
    rng = kit.rng
    glass, dark, lamp, red = fittings(kit)
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
