"""Passenger cars: saloon, hatchback, estate car and van. x forward, y left, z up, standing on z = 0."""

from __future__ import annotations

import numpy as np

from lidardistill.synthetic.matter.materials import Kit
from lidardistill.synthetic.matter.meshes import Mesh, grid, join
from lidardistill.synthetic.matter.shapes import box, ellipsoid, polygon


def wheel(radius: float, width: float, tyre: int, rim: int, segments: int = 12) -> Mesh:
    """One wheel about the y axis, centred at the origin."""
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    ring = np.stack([np.cos(angle), np.zeros(segments), np.sin(angle)], axis=1)
    half = 0.5 * width
    levels = [
        (0.62, -half * 0.85),
        (0.94, -half),
        (1.0, -half * 0.65),
        (1.0, half * 0.65),
        (0.94, half),
        (0.62, half * 0.85),
    ]
    rings = np.stack([ring * (radius * r) + [0, y, 0] for r, y in levels])
    sides = grid(rings, tyre, close=True, crease_deg=40)
    hubs = []
    for sign in (-1, 1):
        outer = ring * radius * 0.62 + [0, sign * half * 0.85, 0]
        inner = ring * radius * 0.18 + [0, sign * half * 0.55, 0]
        # Spokes: every other quad of the disc is dark.
        spokes = np.where(np.arange(segments) % 3 < 2, rim, tyre)[None, :]
        hubs += [grid(np.stack([outer, inner]), spokes, close=True, crease_deg=0), polygon(inner, rim)]
    return join([sides, *hubs])


def wheels(
    kit: Kit, axles: list[float], track: float, radius: float, width: float, twin: bool = False
) -> Mesh:
    """Wheels on both sides of each axle; `track` is the distance between the outer faces."""
    tyre = kit.paint("tyre", refl=(0.08, 0.08, 0.08), bump=0.3)
    rim = kit.paint("rim", gloss=0.10, refl=(0.4, 0.4, 0.4))
    one = wheel(radius, width * (1.9 if twin else 1.0), tyre, rim)
    y = 0.5 * track - 0.5 * width * (1.9 if twin else 1.0)
    return join([one.moved(x, side * y, radius) for x in axles for side in (-1, 1)])


def arches(axles: list[float], half_width: float, radius: float, material: int, segments: int = 14) -> Mesh:
    """Dark wheel housings drawn a finger outside the flanks."""
    angle = np.linspace(-0.15 * np.pi, 1.15 * np.pi, segments)
    parts = []
    for x in axles:
        for side in (-1, 1):
            edge = np.stack(
                [
                    x + radius * 1.13 * np.cos(angle),
                    np.full(segments, side * (half_width + 0.006)),
                    radius + radius * 1.13 * np.sin(angle),
                ],
                axis=1,
            )
            parts.append(polygon(edge, material))
    return join(parts)


def plan_ring(
    x0: float,
    x1: float,
    half: float,
    z: float,
    sides: list[float],
    ends: list[float],
    bulge: float = 0.06,
    round_: float = 0.0,
) -> np.ndarray:
    """Points around a rectangle seen from above, front bent outwards.

    Args:
        x0, x1: rear and front end, metres.
        half: half width.
        z: height.
        sides, ends: fractions from 0 to 1 at which points lie along a flank and along an end.
        bulge: how far the middle of the front stands out.
        round_: how far the corners of the flanks are drawn in.

    Returns:
        (P, 3): right flank to the front, front to the left, left flank to the rear, rear to the right.
    """
    s, e = np.array(sides[:-1]), np.array(ends[:-1])
    draw = round_ * (2 * np.abs(s - 0.5)) ** 4
    front = bulge * (1 - (2 * e - 1) ** 2)
    right = np.stack([x0 + (x1 - x0) * s, -half + draw], axis=1)
    nose = np.stack([x1 + front, half * (2 * e - 1)], axis=1)
    left = np.stack([x1 + (x0 - x1) * s, half - draw], axis=1)
    tail = np.stack([x0 - 0.4 * front, half * (1 - 2 * e)], axis=1)
    flat = np.concatenate([right, nose, left, tail])
    return np.concatenate([flat, np.full((len(flat), 1), z)], axis=1)


# Fractions of the length from the rear: x, sill height, shoulder height (share of shoulder), half-width
# share.
_BODY = [
    (0.000, 0.42, 0.74, 0.80), (0.010, 0.30, 0.90, 0.92), (0.045, 0.24, 0.97, 0.975),
    (0.15, 0.19, 1.00, 0.995),
    (0.35, 0.17, 1.00, 1.00), (0.55, 0.17, 0.985, 1.00), (0.72, 0.18, 0.945, 0.995),
    (0.86, 0.20, 0.87, 0.975),
    (0.955, 0.23, 0.77, 0.925), (0.988, 0.30, 0.69, 0.86), (1.000, 0.38, 0.62, 0.74),
]  # fmt: skip

_STYLES: dict[str, dict[str, tuple[float, float]]] = {
    # length, width, height, shoulder height; greenhouse: rear foot, roof rear, roof front, front foot (share
    # of length)
    "saloon": {"length": (4.5, 4.95), "width": (1.78, 1.88), "height": (1.40, 1.48),
        "shoulder": (0.93, 0.97), "foot": (0.10, 0.77), "roof": (0.27, 0.56)},
    "hatch": {"length": (3.8, 4.3), "width": (1.70, 1.80), "height": (1.45, 1.54), "shoulder": (0.93, 0.99),
        "foot": (0.015, 0.80), "roof": (0.10, 0.57)},
    "suv": {"length": (4.4, 4.9), "width": (1.84, 1.96), "height": (1.64, 1.80), "shoulder": (1.06, 1.14),
        "foot": (0.012, 0.79), "roof": (0.07, 0.58)},
    "estate": {"length": (4.6, 4.9), "width": (1.80, 1.86), "height": (1.44, 1.50), "shoulder": (0.93, 0.97),
        "foot": (0.012, 0.77), "roof": (0.09, 0.56)},
    "van": {"length": (4.6, 5.1), "width": (1.86, 1.98), "height": (1.82, 1.98), "shoulder": (1.06, 1.15),
        "foot": (0.006, 0.90), "roof": (0.03, 0.70)},
}  # fmt: skip


def car(kit: Kit) -> Mesh:
    """One car of a random style."""
    rng = kit.rng
    names = list(_STYLES)
    style = _STYLES[names[int(rng.choice(len(names), p=[0.28, 0.27, 0.25, 0.10, 0.10]))]]
    length, width, height, shoulder = (
        rng.uniform(*style[k]) for k in ("length", "width", "height", "shoulder")
    )
    half, rear = 0.5 * width, -0.5 * length
    paint = kit.paint("car", gloss=0.045, sharp=90.0, refl=(0.45, 0.45, 0.45), bump=0.0)
    glass = kit.paint("glass", gloss=0.10, sharp=250.0, refl=(0.05, 0.05, 0.05), bump=0.0)
    dark = kit.paint("dark", refl=(0.10, 0.10, 0.10), bump=0.0)
    chrome = kit.paint("rim", gloss=0.22, sharp=60.0, refl=(0.6, 0.6, 0.6))
    lamp = kit.book.add("plain", (0.90, 0.92, 0.94), gloss=0.15, refl=(0.9, 0.9, 0.9))
    red = kit.book.add("plain", (0.55, 0.02, 0.03), gloss=0.08, refl=(1.1, 1.1, 1.1))
    plate = kit.book.add("plain", (0.92, 0.92, 0.86), refl=(2.4, 2.4, 2.4))

    rings = []
    for x, sill, top, w in _BODY:
        y, h, low = half * w, shoulder * top, max(sill, 0.2) if 0.03 < x < 0.97 else sill
        belly, middle = low - 0.02, low + 0.55 * (h - low)
        rise = 0.045 if 0.02 < x < 0.98 else 0.01
        side = [
            (0.80 * y, belly),
            (0.97 * y, low + 0.05),
            (y, middle),
            (0.965 * y, h - 0.06),
            (0.86 * y, h),
            (0.45 * y, h + rise),
        ]
        points = [(-a, b) for a, b in side] + [(a, b) for a, b in side[::-1]]
        rings.append([(rear + length * x, a, b) for a, b in points])
    body_points = np.array(rings)
    material = np.full((len(rings) - 1, 12), paint)
    material[1:-1, 0] = dark
    material[1:-1, 10] = dark
    body = grid(body_points, material, close=True, crease_deg=42)
    nose, tail = polygon(body_points[-1], dark), polygon(body_points[0], paint)

    f0, f1 = style["foot"]
    r0, r1 = style["roof"]
    sides = [0.0, 0.10, 0.44, 0.485, 0.93, 1.0]
    ends = [0.0, 0.07, 0.5, 0.93, 1.0]
    belt = plan_ring(rear + length * f0, rear + length * f1, 0.93 * half, shoulder - 0.03, sides, ends, 0.16)
    waist = plan_ring(
        rear + length * f0, rear + length * f1, 0.92 * half, shoulder + 0.035, sides, ends, 0.15
    )
    brow = plan_ring(rear + length * r0, rear + length * r1, 0.76 * half, height - 0.085, sides, ends, 0.10)
    roof = plan_ring(
        rear + length * (r0 + 0.006),
        rear + length * (r1 - 0.02),
        0.70 * half,
        height - 0.03,
        sides,
        ends,
        0.08,
    )
    crown = plan_ring(
        rear + length * (r0 + 0.05), rear + length * (r1 - 0.07), 0.50 * half, height, sides, ends, 0.05
    )
    pane = [paint, glass, dark, glass, paint]
    end = [paint, glass, glass, paint]
    around = np.array(pane + end + pane[::-1] + end)
    cabin = grid(
        np.stack([belt, waist, brow, roof, crown]),
        np.stack([np.full(18, paint), around, np.full(18, paint), np.full(18, paint)]),
        close=True,
        crease_deg=40,
    )
    lid = polygon(crown, paint)

    radius = rng.uniform(0.31, 0.34) * (1.1 if height > 1.6 else 1.0)
    axles = [rear + 0.19 * length, rear + 0.815 * length]
    parts = [
        body,
        nose,
        tail,
        cabin,
        lid,
        wheels(kit, axles, width + 0.02, radius, 0.21),
        arches(axles, half, radius, dark),
    ]

    front, back = rear + length, rear
    for s in (-1, 1):
        parts += [
            ellipsoid((0.10, 0.17, 0.075), (front - 0.135, s * (half * 0.70), shoulder * 0.70), lamp, 8, 4),
            box((0.05, 0.16, 0.17), (back + 0.075, s * half * 0.80, shoulder * 0.80), red),
            box(
                (0.13, 0.20, 0.12),
                (rear + length * (f1 - 0.06), s * (half + 0.06), shoulder + 0.06),
                paint,
                taper=0.8,
            ),
        ]
        for x in (0.32, 0.52, 0.68):
            parts.append(
                box(
                    (0.012, 0.008, 0.42 * shoulder),
                    (rear + length * x, s * (half * 0.998), 0.62 * shoulder),
                    dark,
                )
            )
        for x in (0.37, 0.57):
            parts.append(
                box((0.16, 0.03, 0.03), (rear + length * x, s * half * 0.995, shoulder * 0.84), chrome)
            )
    parts += [
        box((0.03, width * 0.42, 0.10), (front - 0.02, 0, 0.58 * shoulder), dark),
        box((0.03, width * 0.30, 0.03), (front - 0.012, 0, 0.66 * shoulder), chrome),
        box((0.02, 0.50, 0.11), (front + 0.004, 0, 0.40 * shoulder), plate),
        box((0.02, 0.50, 0.11), (back - 0.004, 0, 0.62 * shoulder), plate),
        box((0.06, width * 0.80, 0.12), (back + 0.035, 0, 0.34 * shoulder), dark),
        box((0.9 * length, width * 0.7, 0.06), (0, 0, 0.20), dark),
    ]
    if height > 1.6 and rng.random() < 0.6:
        parts += [
            box(
                (0.5 * length * (r1 - r0) * 2, 0.04, 0.04),
                (rear + length * 0.5 * (r0 + r1), s * 0.62 * half, height + 0.03),
                dark,
            )
            for s in (-1, 1)
        ]
    return join(parts)


def head_on(mesh: Mesh) -> Mesh:
    """The same mesh with its middle over the origin, so that its box is centred."""
    low, high = mesh.bounds()
    return mesh.moved(-0.5 * (low[0] + high[0]), -0.5 * (low[1] + high[1]), -low[2])
