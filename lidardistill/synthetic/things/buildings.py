"""Buildings, walls and fences. A building stands with its front along x at y = 0 and its body at y > 0."""

from __future__ import annotations

import numpy as np

from lidardistill.synthetic.matter.materials import Kit
from lidardistill.synthetic.matter.meshes import Mesh, grid, join, triangles
from lidardistill.synthetic.matter.shapes import box, cylinder, polygon, quad

_WALL_ROLE = {
    "punched": "brick",
    "loft": "brick",
    "shuttered": "plaster",
    "balcony": "plaster",
    "ribbon": "concrete",
    "glazed": "metal",
    "shed": "cargo",
}
_REFL = (0.42, 0.45, 0.05)


def _facade(kit: Kit, texture: str, wall: tuple, trim: tuple, pane: tuple, bay: float, storey: float) -> int:
    return kit.book.add(
        texture,
        wall,
        b=trim,
        c=pane,
        tile=(bay, storey),
        glass=0.14,
        sharp=300.0,
        vary=0.75,
        bump=0.5,
        macro=0.10,
        refl=_REFL,
    )


def _walls(
    width: float,
    depth: float,
    z0: float,
    z1: float,
    material: int,
    bay: float,
    storey: float,
    inset: float = 0.0,
) -> Mesh:
    """Four walls with whole bays and storeys on each."""
    a, b = width / 2 - inset, depth - inset
    corners = [(-a, inset), (a, inset), (a, b), (-a, b)]
    parts = []
    rows = max(1, round((z1 - z0) / storey))
    for k in range(4):
        (x0, y0), (x1, y1) = corners[k], corners[(k + 1) % 4]
        bays = max(1, round(float(np.hypot(x1 - x0, y1 - y0)) / bay))
        parts.append(
            quad(
                [(x0, y0, z0), (x1, y1, z0), (x1, y1, z1), (x0, y0, z1)],
                material,
                size=(bays * bay, rows * storey),
            )
        )
    return join(parts)


def _band(width: float, depth: float, z: float, high: float, out: float, material: int) -> Mesh:
    """A ledge around a building."""
    x, y0, y1 = width / 2 + out, -out, depth + out
    ring = np.array([(-x, y0, z), (x, y0, z), (x, y1, z), (-x, y1, z)])
    up = np.array([0, 0, high])
    inner = np.array([(-width / 2, 0, z), (width / 2, 0, z), (width / 2, depth, z), (-width / 2, depth, z)])
    return grid(np.stack([inner, ring, ring + up, inner + up]), material, close=True, crease_deg=0)


def building(kit: Kit, width: float, depth: float, storeys: int) -> Mesh:
    """A town building: shops or an entrance below, one facade pattern above, a cornice and fittings on the
    roof.
    """
    rng = kit.rng
    pick = kit.palette.pick
    names = ["punched", "shuttered", "ribbon", "glazed", "balcony", "loft"]
    texture = names[int(rng.choice(6, p=[0.24, 0.20, 0.16, 0.12, 0.16, 0.12]))]
    wall, trim, pane = pick(_WALL_ROLE[texture]), pick("trim"), pick("pane")
    bay = rng.uniform(2.4, 3.4) * (1.35 if texture in ("loft", "ribbon") else 1.0)
    storey, ground = rng.uniform(2.9, 3.4), rng.uniform(3.4, 4.2)
    upper = _facade(kit, texture, wall, trim, pane, bay, storey)
    below = ("shop", "entrance", "shop", "roller_door")[int(rng.integers(0, 4))]
    base_wall = wall if rng.random() < 0.4 else pick("concrete")
    low_bay = rng.uniform(3.4, 4.6)
    base = _facade(kit, below, base_wall, pick("trim"), pane, low_bay, ground)
    top = ground + storeys * storey
    plain = kit.book.add("plaster", trim, tile=3.0, refl=(0.4, 0.4, 0.4))
    roof = kit.paint("roof", "gravel", tile=3.0)
    parts = [
        _walls(width, depth, 0.0, ground, base, low_bay, ground),
        _walls(width, depth, ground, top, upper, bay, storey),
    ]
    parts.append(_band(width, depth, ground - 0.12, 0.24, 0.14, plain))
    if rng.random() < 0.4 and texture != "glazed":
        parts += [
            _band(width, depth, ground + k * storey - 0.06, 0.12, 0.06, plain) for k in range(1, storeys)
        ]
    if rng.random() < 0.28 and depth < 13 and storeys <= 4:
        parts += _gable(kit, width, depth, top, upper)
    else:
        parts += [
            _band(width, depth, top, 0.45, 0.22 if rng.random() < 0.6 else 0.02, plain),
            polygon(
                np.array(
                    [
                        (-width / 2, 0, top + 0.05),
                        (width / 2, 0, top + 0.05),
                        (width / 2, depth, top + 0.05),
                        (-width / 2, depth, top + 0.05),
                    ]
                ),
                roof,
            ),
        ]
        for _ in range(int(rng.integers(1, 4))):
            size = rng.uniform((1.2, 1.2, 0.8), (3.5, 3.0, 2.2))
            parts.append(
                box(
                    size,
                    (rng.uniform(-0.35, 0.35) * width, rng.uniform(0.25, 0.75) * depth, top + 0.5 * size[2]),
                    kit.paint("metal", "corrugated", tile=2.0),
                )
            )
        if rng.random() < 0.2:
            parts.append(
                cylinder(1.1, 2.4, kit.paint("wood", "wood", tile=1.5), segments=12).moved(
                    rng.uniform(-0.3, 0.3) * width, 0.5 * depth, top + 1.0
                )
            )
    bays = max(1, round(width / bay))
    if texture == "balcony":
        rail = kit.paint("metal", "mesh_fence", tile=1.0) if rng.random() < 0.5 else plain
        for k in range(storeys):
            for b in range(bays):
                if (b + k * (storeys % 2)) % 2 == 0:
                    x, z = (-0.5 + (b + 0.5) / bays) * width, ground + k * storey
                    parts += [
                        box((0.8 * bay, 1.15, 0.14), (x, -0.57, z + 0.02), plain),
                        box((0.8 * bay, 0.05, 0.95), (x, -1.12, z + 0.55), rail),
                    ]
                    parts += [
                        box((0.05, 1.1, 0.95), (x + s * 0.4 * bay, -0.57, z + 0.55), rail) for s in (-1, 1)
                    ]
    elif texture != "glazed" and rng.random() < 0.55:
        unit = kit.paint("metal", "corrugated", tile=0.9)
        for _ in range(int(rng.integers(2, 6))):
            b, k = int(rng.integers(0, bays)), int(rng.integers(0, storeys))
            parts.append(
                box(
                    (0.8, 0.35, 0.55),
                    ((-0.5 + (b + 0.94) / bays) * width, -0.17, ground + (k + 0.35) * storey),
                    unit,
                )
            )
    if below == "shop":
        fronts = max(1, round(width / low_bay))
        for b in range(fronts):
            if rng.random() < 0.55:
                x = (-0.5 + (b + 0.5) / fronts) * width
                awning = kit.book.add("bands", pick("cloth"), b=pick("band"), tile=1.0, bump=0.0)
                w, z, out = 0.44 * low_bay, 0.74 * ground, rng.uniform(0.9, 1.5)
                parts.append(
                    quad(
                        [
                            (x - w, -0.02, z + 0.45),
                            (x + w, -0.02, z + 0.45),
                            (x + w, -out, z),
                            (x - w, -out, z),
                        ],
                        awning,
                    )
                )
                parts.append(
                    quad(
                        [
                            (x - w, -out, z - 0.22),
                            (x + w, -out, z - 0.22),
                            (x + w, -out, z),
                            (x - w, -out, z),
                        ],
                        awning,
                    )
                )
        if rng.random() < 0.6:
            sign = kit.paint("sign", "plain")
            parts.append(box((0.12, 0.9, 0.9), (rng.uniform(-0.4, 0.4) * width, -0.6, ground + 0.9), sign))
    elif rng.random() < 0.5:
        step = kit.paint("concrete", "concrete", tile=2.0)
        parts += [
            box((1.6, 0.45 * (3 - k), 0.15), (0.15 * width, -0.22 * (3 - k), 0.075 + 0.15 * k), step)
            for k in range(2)
        ]
    return join(parts)


def _gable(kit: Kit, width: float, depth: float, top: float, wall: int) -> list[Mesh]:
    """A pitched roof with its ridge along x, gables and a chimney."""
    tiles = kit.paint("roof", "roof_tiles", tile=3.2, bump=1.2)
    rise, out = kit.rng.uniform(0.28, 0.45) * depth, 0.4
    ridge, a = top + rise, width / 2 + out
    slope = out * rise / (depth / 2)
    parts = [
        quad(
            [(-a, -out, top - slope), (a, -out, top - slope), (a, depth / 2, ridge), (-a, depth / 2, ridge)],
            tiles,
        ),
        quad(
            [
                (a, depth + out, top - slope),
                (-a, depth + out, top - slope),
                (-a, depth / 2, ridge),
                (a, depth / 2, ridge),
            ],
            tiles,
        ),
    ]
    for x in (-width / 2, width / 2):
        gable = np.array([[(x, 0.0, top), (x, depth, top), (x, depth / 2, ridge)]])
        parts.append(triangles(gable, np.array([[(0.1, 0.0), (0.2, 0.0), (0.15, 0.1)]]), wall))
    brick = kit.paint("brick", "brick", tile=2.0)
    parts.append(box((0.7, 0.7, 1.6), (0.28 * width, 0.62 * depth, ridge - 0.1 * rise), brick))
    return parts


def house(kit: Kit, width: float, depth: float) -> Mesh:
    """One or two storeys under a pitched roof, with a porch."""
    rng = kit.rng
    pick = kit.palette.pick
    texture = ("punched", "shuttered", "balcony")[int(rng.integers(0, 3))]
    storey, storeys = rng.uniform(2.8, 3.2), int(rng.integers(1, 3))
    skin = _facade(kit, texture, pick(_WALL_ROLE[texture]), pick("trim"), pick("pane"), 3.0, storey)
    top = storey * storeys + 0.3
    stone = kit.paint("concrete", "concrete", tile=2.0)
    parts = [
        _walls(width, depth, 0.3, top, skin, 3.0, storey),
        box((width + 0.1, depth + 0.1, 0.5), (0, depth / 2, 0.1), stone),
        *_gable(kit, width, depth, top, skin),
    ]
    post = kit.paint("trim")
    parts += [box((2.4, 1.5, 0.12), (0.2 * width, -0.75, 2.55), post)] + [
        box((0.12, 0.12, 2.4), (0.2 * width + s * 1.1, -1.4, 1.3), post) for s in (-1, 1)
    ]
    parts += [
        box((1.1, 0.06, 2.1), (0.2 * width, -0.03, 1.35), kit.paint("trim", "wood", tile=1.0)),
        box((2.2, 1.4, 0.3), (0.2 * width, -0.7, 0.12), stone),
    ]
    return join(parts)


def warehouse(kit: Kit, width: float, depth: float) -> Mesh:
    """A low metal hall with gates."""
    rng = kit.rng
    pick = kit.palette.pick
    skin = _facade(kit, "shed", pick("cargo"), pick("trim"), pick("pane"), 5.0, 5.6)
    gate = kit.book.add("roller_door", pick("concrete"), b=pick("cargo"), tile=(4.2, 4.6), bump=0.6)
    top = rng.uniform(5.6, 7.5)
    trim = kit.paint("trim")
    parts = [
        _walls(width, depth, 0.0, top, skin, 5.0, top),
        _band(width, depth, top, 0.35, 0.12, trim),
        polygon(
            np.array(
                [(-width / 2, 0, top), (width / 2, 0, top), (width / 2, depth, top), (-width / 2, depth, top)]
            ),
            trim,
        ),
    ]
    count = max(1, int(width / 7))
    for k in range(count):
        x = (-0.5 + (k + 0.5) / count) * width
        parts.append(
            quad(
                [(x - 2.1, -0.04, 0), (x + 2.1, -0.04, 0), (x + 2.1, -0.04, 4.4), (x - 2.1, -0.04, 4.4)],
                gate,
                size=(4.2, 4.6),
            )
        )
        parts += [
            box(
                (0.35, 0.35, 1.0),
                (x + s * 2.4, -0.4, 0.5),
                kit.book.add("stripes", pick("barrier"), b=pick("dark"), tile=0.6),
            )
            for s in (-1, 1)
        ]
    return join(parts)


def wall(kit: Kit, length: float) -> Mesh:
    """A garden or yard wall along x with piers and a coping."""
    rng = kit.rng
    pick = kit.palette.pick
    texture = ("brick", "stone_wall", "plaster", "concrete")[int(rng.integers(0, 4))]
    role = {"brick": "brick", "stone_wall": "concrete", "plaster": "plaster", "concrete": "concrete"}[texture]
    skin = kit.book.add(
        texture,
        pick(role),
        b=pick("trim"),
        c=pick(role),
        tile=2.0,
        macro=0.15,
        refl=(0.4, 0.4, 0.4),
    )
    coping = kit.paint("concrete", "concrete", tile=2.0)
    height = rng.uniform(0.9, 2.2)
    parts = [
        box((length, 0.24, height), (0, 0, height / 2), skin),
        box((length + 0.06, 0.34, 0.09), (0, 0, height + 0.04), coping),
    ]
    for x in np.arange(-length / 2, length / 2 + 0.1, max(length / max(round(length / 3.2), 1), 1.0)):
        parts += [
            box((0.42, 0.42, height + 0.22), (x, 0, height / 2 + 0.11), skin),
            box((0.50, 0.50, 0.09), (x, 0, height + 0.25), coping),
        ]
    return join(parts)


def fence(kit: Kit, length: float) -> Mesh:
    """Posts with rails and pickets, or boards, along x."""
    rng = kit.rng
    if rng.random() < 0.45:
        board = kit.paint("wood", "wood", tile=(1.6, 2.0), bump=1.2, refl=(0.4, 0.4, 0.4))
        height = rng.uniform(1.3, 1.9)
        posts = [
            box((0.12, 0.12, height + 0.1), (x, 0.07, height / 2), board)
            for x in np.arange(-length / 2, length / 2 + 0.1, 2.2)
        ]
        return join([box((length, 0.05, height), (0, 0, height / 2 + 0.06), board), *posts])
    metal = kit.paint("metal", refl=(0.4, 0.4, 0.4))
    height = rng.uniform(1.0, 1.5)
    bars = np.arange(-length / 2 + 0.14, length / 2, 0.14)
    parts = [box((length, 0.045, 0.05), (0, 0, z), metal) for z in (0.18, height - 0.12)]
    parts += [
        box((0.08, 0.08, height + 0.08), (x, 0, height / 2), metal)
        for x in np.arange(-length / 2, length / 2 + 0.1, 2.4)
    ]
    unit = box((0.022, 0.022, height - 0.08), (0, 0, height / 2), metal)
    parts += [unit.moved(x) for x in bars]
    return join(parts)
