"""Construction vehicles: excavator, wheel loader, road roller. x forward, standing on z = 0."""

from __future__ import annotations

import numpy as np

from lidardistill.synthetic.matter.materials import Kit
from lidardistill.synthetic.matter.meshes import Mesh, join, rotation_x
from lidardistill.synthetic.matter.shapes import box, cylinder, extrude, tube
from lidardistill.synthetic.things.cars import wheel


def construction_vehicle(kit: Kit) -> Mesh:
    """One machine of a random kind."""
    kind = int(kit.rng.choice(3, p=[0.5, 0.35, 0.15]))
    return (_excavator, _loader, _roller)[kind](kit)


def _cabin(kit: Kit, x: float, y: float, z: float, size: tuple[float, float, float], paint: int) -> Mesh:
    """An operator's cabin: posts, glass, roof."""
    glass = kit.paint("glass", gloss=0.10, sharp=250.0, refl=(0.05, 0.05, 0.05), bump=0.0)
    lx, ly, lz = size
    parts = [box((lx * 0.97, ly * 0.97, lz * 0.96), (x, y, z + 0.48 * lz), glass)]
    for sx in (-0.5, 0.5):
        for sy in (-0.5, 0.5):
            parts.append(box((0.10, 0.10, lz), (x + sx * lx, y + sy * ly, z + 0.5 * lz), paint))
    parts += [
        box((lx + 0.22, ly + 0.16, 0.10), (x, y, z + lz), paint, taper=0.92),
        box((lx, ly, 0.5), (x, y, z + 0.25), paint),
        cylinder(0.07, 0.14, kit.book.add("plain", (0.95, 0.5, 0.05), gloss=0.1)).moved(
            x - 0.2, y, z + lz + 0.04
        ),
    ]
    return join(parts)


def _beam(points: list[tuple[float, float]], depth: list[float], y0: float, y1: float, material: int) -> Mesh:
    """A tapering arm along points of the x-z plane."""
    p = np.array(points)
    parts = []
    for k in range(len(p) - 1):
        axis = (p[k + 1] - p[k]) / np.linalg.norm(p[k + 1] - p[k])
        side = np.array([-axis[1], axis[0]])
        a, b = 0.5 * depth[k], 0.5 * depth[k + 1]
        outline = [p[k] - a * side, p[k + 1] - b * side, p[k + 1] + b * side, p[k] + a * side]
        parts.append(extrude(outline, y0, y1, material))
    return join(parts)


def _bucket(x: float, z: float, width: float, scale: float, material: int) -> Mesh:
    shape = (
        np.array(
            [
                (0.0, 0.5),
                (0.35, 0.42),
                (0.62, 0.10),
                (0.58, -0.30),
                (0.30, -0.52),
                (-0.05, -0.48),
                (0.22, -0.20),
                (0.20, 0.12),
            ]
        )
        * scale
    )
    teeth = [
        box((0.16 * scale, 0.08, 0.06), (x - 0.10 * scale, y, z - 0.49 * scale), material)
        for y in np.linspace(-0.42, 0.42, 5) * width
    ]
    return join([extrude(shape + np.array([x, z]), -0.5 * width, 0.5 * width, material), *teeth])


def _excavator(kit: Kit) -> Mesh:
    rng = kit.rng
    body = kit.paint("machine", refl=(0.5, 0.5, 0.5), macro=0.1)
    arm = kit.paint("machine", refl=(0.5, 0.5, 0.5)) if kit.palette.kind == "overlapping" else body
    dark = kit.paint("dark", refl=(0.15, 0.15, 0.15))
    steel = kit.paint("metal", gloss=0.15, refl=(0.5, 0.5, 0.5))
    tread = kit.book.add("tread", kit.palette.pick("tyre"), tile=2.2, bump=1.5, refl=(0.12, 0.12, 0.12))
    parts = []
    track = np.array(
        [
            (-1.75, 0.40),
            (-1.55, 0.10),
            (-1.30, 0.0),
            (1.30, 0.0),
            (1.55, 0.10),
            (1.75, 0.40),
            (1.60, 0.72),
            (1.30, 0.84),
            (-1.30, 0.84),
            (-1.60, 0.72),
        ]
    )
    for s in (-1, 1):
        parts.append(extrude(track, s * 0.85, s * 1.42, tread, 40))
        parts += [wheel(0.28, 0.60, dark, steel, 10).moved(x, s * 1.135, 0.42) for x in (-1.32, 1.32)]
        parts += [
            cylinder(0.13, 0.6, dark, segments=8).transformed(
                rotation_x(-0.5 * np.pi), (x, s * 1.135 - 0.3, 0.22)
            )
            for x in (-0.8, -0.27, 0.27, 0.8)
        ]
    turn = rng.uniform(-0.5, 0.5)
    upper = [
        cylinder(0.75, 0.35, dark, segments=14).moved(0, 0, 0.75),
        box((3.5, 2.45, 0.25), (-0.55, 0, 1.15), dark),
        box((1.7, 2.4, 1.05), (-1.25, 0, 1.80), body, taper=0.94),
        box((0.75, 2.45, 1.15), (-2.15, 0, 1.75), body, taper=0.88),
        box((1.4, 0.95, 0.55), (0.35, -0.70, 1.55), body),
        box((0.02, 1.2, 0.5), (-2.53, 0, 1.75), dark),
        _cabin(kit, 0.35, 0.68, 1.27, (1.45, 0.95, 1.65), body),
        tube([(-1.5, -0.5, 2.3), (-1.5, -0.5, 2.75)], 0.06, dark),
    ]
    lift = rng.uniform(0.0, 0.5)
    elbow = (2.75, 3.35 + lift)
    bend = (1.55, 3.15 + 0.6 * lift)
    wrist = (4.35, 1.45 + 1.0 * lift)
    upper += [
        _beam([(0.55, 1.5), bend, elbow, (3.1, elbow[1] - 0.25)], [0.42, 0.62, 0.46, 0.34], -0.36, -0.02,
            arm),
        _beam([(2.55, elbow[1] + 0.28), (3.1, elbow[1] - 0.25), wrist], [0.30, 0.44, 0.22], -0.33, -0.05,
            arm),
        tube([(0.9, -0.52, 1.5), (1.7, -0.52, 2.75)], 0.09, dark),
        tube([(1.7, -0.52, 2.75), (1.95, -0.52, 3.15)], 0.05, steel),
        tube([(1.6, -0.19, 3.52 + 0.6 * lift), (2.55, -0.19, elbow[1] + 0.30)], 0.08, steel),
        _bucket(wrist[0] + 0.05, wrist[1] - 0.42, 1.1, 1.05, steel).moved(0, -0.19, 0),
    ]  # fmt: skip
    return join([*parts, join(upper).moved(yaw=turn)])


def _loader(kit: Kit) -> Mesh:
    rng = kit.rng
    body = kit.paint("machine", refl=(0.5, 0.5, 0.5), macro=0.1)
    dark = kit.paint("dark", refl=(0.15, 0.15, 0.15))
    steel = kit.paint("metal", gloss=0.12, refl=(0.5, 0.5, 0.5))
    tyre, rim = kit.paint("tyre", refl=(0.08, 0.08, 0.08)), body
    lift = rng.uniform(-0.25, 0.7)
    parts = [
        wheel(0.72, 0.55, tyre, rim, 18).moved(x, s * 0.98, 0.72) for x in (-1.35, 1.45) for s in (-1, 1)
    ]
    parts += [
        box((2.1, 1.5, 0.95), (-1.75, 0, 1.50), body, taper=0.9),
        box((0.3, 1.7, 0.75), (-2.85, 0, 1.15), dark),
        box((2.6, 0.9, 0.5), (-1.2, 0, 0.95), dark), box((1.6, 0.8, 0.55), (1.25, 0, 1.0), body),
        box((0.8, 1.2, 0.75), (0.9, 0, 1.40), body, taper=0.8),
        _cabin(kit, -0.35, 0, 1.35, (1.35, 1.35, 1.75), body),
        *[extrude(np.array([(-2.2, 1.42), (-0.55, 1.42), (-0.55, 1.60), (-2.2, 1.60)]), s * 0.72, s * 1.25,
            body) for s in (-1, 1)],
        *[extrude(np.array([(0.75, 1.45), (2.15, 1.45), (2.05, 1.60), (0.85, 1.60)]), s * 0.72, s * 1.25,
            body) for s in (-1, 1)],
        *[_beam([(1.0, 1.75), (2.2, 1.55 + lift), (3.0, 0.75 + lift)], [0.3, 0.38, 0.26], s * 0.55, s * 0.38,
            body) for s in (-1, 1)],
        *[tube([(1.1, s * 0.46, 1.2), (2.1, s * 0.46, 1.4 + lift)], 0.07, steel) for s in (-1, 1)],
        tube([(-2.2, 0.4, 1.9), (-2.2, 0.4, 2.6)], 0.07, dark),
    ]  # fmt: skip
    shape = np.array([(0.0, 0.62), (0.25, 0.70), (0.62, 0.30), (1.05, -0.42), (0.15, -0.40), (-0.05, 0.1)])
    parts.append(extrude(shape + np.array([2.95, 0.62 + lift]), -1.28, 1.28, steel))
    return join(parts)


def _roller(kit: Kit) -> Mesh:
    body = kit.paint("machine", refl=(0.5, 0.5, 0.5), macro=0.1)
    dark = kit.paint("dark", refl=(0.15, 0.15, 0.15))
    steel = kit.paint("metal", gloss=0.2, sharp=20.0, refl=(0.6, 0.6, 0.6))
    tyre = kit.paint("tyre", refl=(0.08, 0.08, 0.08))
    drum = cylinder(0.75, 2.0, steel, segments=22).transformed(rotation_x(-0.5 * np.pi), (1.6, -1.0, 0.75))
    parts = [
        drum,
        *[box((2.0, 0.16, 0.35), (1.3, s * 1.10, 0.80), body) for s in (-1, 1)],
        box((0.25, 2.3, 0.4), (0.42, 0, 0.85), body),
        *[wheel(0.70, 0.55, tyre, body, 16).moved(-1.5, s * 0.80, 0.70) for s in (-1, 1)],
        box((2.2, 1.35, 0.85), (-1.55, 0, 1.45), body, taper=0.85),
        box((1.5, 1.0, 0.5), (-0.4, 0, 0.9), dark),
        _cabin(kit, -0.25, 0, 1.15, (1.2, 1.4, 1.75), body),
    ]  # fmt: skip
    return join(parts)
