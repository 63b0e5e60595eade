"""What lorries, trailers and buses are put together from: cab, frame, load body, their materials."""

from __future__ import annotations

import numpy as np

from lidardistill.synthetic.matter.materials import Kit
from lidardistill.synthetic.matter.meshes import Mesh, grid, join
from lidardistill.synthetic.matter.shapes import box, polygon, tube
from lidardistill.synthetic.things.cars import plan_ring


def fittings(kit: Kit) -> tuple[int, int, int, int]:
    """Materials of every long vehicle: glass, dark plastic, lamp, rear light."""
    glass = kit.paint("glass", gloss=0.10, sharp=250.0, refl=(0.05, 0.05, 0.05), bump=0.0)
    dark = kit.paint("dark", refl=(0.10, 0.10, 0.10), bump=0.0)
    lamp = kit.book.add("plain", (0.90, 0.92, 0.94), gloss=0.15, refl=(0.9, 0.9, 0.9))
    red = kit.book.add("plain", (0.60, 0.03, 0.03), gloss=0.08, refl=(1.4, 1.4, 1.4))
    return glass, dark, lamp, red


def cab_over(kit: Kit, paint: int, front: float, length: float, width: float, top: float) -> Mesh:
    """A flat-nosed cab whose front is at x = `front`."""
    glass, dark, lamp, _ = fittings(kit)
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


def chassis(dark: int, x0: float, x1: float, width: float, z: float) -> Mesh:
    """Two rails and four cross members from x0 to x1, their middle at height z."""
    rails = [box((x1 - x0, 0.12, 0.24), (0.5 * (x0 + x1), s * 0.22 * width, z), dark) for s in (-1, 1)]
    cross = [box((0.12, 0.5 * width, 0.16), (x, 0, z), dark) for x in np.linspace(x0 + 0.4, x1 - 0.4, 4)]
    return join(rails + cross)


def cargo_body(kit: Kit, x0: float, x1: float, width: float, z0: float, z1: float, kind: int) -> Mesh:
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
