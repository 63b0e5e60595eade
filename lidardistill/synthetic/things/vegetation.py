"""Trees, hedges, bushes and tall grass: opaque cores under a skin of many small leaf cards."""

from __future__ import annotations

import numpy as np

from lidardistill.synthetic.matter.materials import RGB, Kit, scaled
from lidardistill.synthetic.matter.meshes import Mesh, join, triangles
from lidardistill.synthetic.matter.shapes import box, revolve, tube


def _leaf(kit: Kit, role: str) -> np.ndarray:
    """(3,) int32 materials of one plant: deep inside, outside, in the light."""
    base = np.array(kit.palette.pick(role))
    rows = []
    for value in (0.62, 1.0, 1.32):
        shade = np.clip(base * value + (0.02 if value > 1 else 0.0), 0.0, 0.97)
        light, deep = np.clip(1.25 * shade + 0.02, 0.0, 0.97), 0.55 * shade
        rows.append(
            kit.book.add(
                "leaves", _rgb(shade), b=_rgb(light), c=_rgb(deep), tile=1.1, bump=0.8, leaf=True,
                refl=(0.60, 0.66, 0.45),
            )
        )  # fmt: skip
    return np.array(rows, dtype=np.int32)


def _rgb(colour: np.ndarray) -> RGB:
    return float(colour[0]), float(colour[1]), float(colour[2])


def _cards(
    rng: np.random.Generator, centre: np.ndarray, outward: np.ndarray, size: np.ndarray, leaf: np.ndarray
) -> Mesh:
    """Leaf clumps: pairs of pointed triangles with some disorder, shaded as a part of the crown.

    Args:
        rng: generator.
        centre: (N, 3) metres.
        outward: (N, 3) unit vectors away from the inside of the crown.
        size: (N,) metres.
        leaf: (3,) rows of the material book.
    """
    centre = np.concatenate([centre, centre + 0.5 * size[:, None] * rng.uniform(-1, 1, centre.shape)])
    outward, size = np.concatenate([outward, outward]), np.concatenate([size, size])
    count = len(centre)
    normal = outward + 0.8 * rng.standard_normal((count, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    side = np.cross(normal, rng.standard_normal((count, 3)))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    up = np.cross(side, normal)
    s = size[:, None]
    bend = rng.uniform(-0.4, 0.4, (2, count, 1)) * s * normal
    corners = np.stack(
        [
            centre - 0.55 * s * side - 0.4 * s * up,
            centre + 0.55 * s * side - 0.35 * s * up + bend[0],
            centre + rng.uniform(-0.4, 0.4, (count, 1)) * s * side + 0.8 * s * up + bend[1],
        ],
        axis=1,
    )
    uv = rng.random((count, 1, 2)) * 8.0 + size[:, None, None] * np.array(
        [[0.0, 0.0], [1.1, 0.0], [0.5, 1.2]]
    )
    material = leaf[rng.choice(3, count, p=[0.25, 0.5, 0.25])]
    mesh = triangles(corners, uv, material)
    if mesh.num_faces != count:
        return mesh
    shaded = 0.8 * outward + 0.4 * normal * np.sign(np.sum(outward * normal, axis=1, keepdims=True))
    shaded /= np.linalg.norm(shaded, axis=1, keepdims=True)
    normals = np.repeat(shaded[:, None], 3, axis=1).astype(np.float32)
    return Mesh(mesh.corners, normals, mesh.uv, mesh.material)


def _lobe(
    rng: np.random.Generator,
    radii: np.ndarray,
    centre: np.ndarray,
    cards: int,
    size: float,
    leaf: np.ndarray,
    floor: float = -0.7,
) -> Mesh:
    """A leafy ball."""
    direction = rng.standard_normal((cards, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    direction[:, 2] = np.maximum(direction[:, 2], floor)
    reach = rng.uniform(0.80, 1.06, (cards, 1))
    outward = direction / radii
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    skin = _cards(rng, centre + direction * radii * reach, outward, size * rng.uniform(0.7, 1.4, cards), leaf)
    angle = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 6)
    core = revolve(np.stack([np.cos(angle), np.sin(angle)], axis=1), int(leaf[0]), 8, crease_deg=80)
    return join([core.transformed(np.diag(0.78 * radii), centre), skin])


def tree(kit: Kit, detail: float = 1.0) -> Mesh:
    """A broad-leaved tree, a column, or a conifer; `detail` scales the number of leaves."""
    rng = kit.rng
    kind = int(rng.choice(4, p=[0.50, 0.18, 0.17, 0.15]))
    base = kit.palette.pick("bark")
    bark = kit.book.add("bark", base, b=scaled(base, 0.55), tile=(0.8, 1.6), bump=1.6, refl=(0.3, 0.25, 0.25))
    if kind == 2:
        return _conifer(kit, bark, detail)
    leaf = _leaf(kit, "autumn" if rng.random() < 0.12 else "leaf")
    height = rng.uniform(5.0, 9.5)
    stem = rng.uniform(0.28, 0.42) * height if kind != 1 else 0.16 * height
    thick = 0.020 * height + 0.04
    lean = rng.uniform(-0.04, 0.04, 2) * height
    top = np.array([lean[0], lean[1], stem])
    parts = [
        tube(
            [
                (0, 0, -0.1),
                (0.3 * lean[0], 0.3 * lean[1], 0.5 * stem),
                tuple(top),
                (1.2 * lean[0], 1.2 * lean[1], 0.8 * height),
            ],
            [1.25 * thick, thick, 0.85 * thick, 0.3 * thick],
            bark,
            9,
        )
    ]
    if kind == 1:
        spots = [(0.0, 0.0, f, 0.8) for f in (0.25, 0.45, 0.65, 0.84)]
        wide = 0.15 * height
    else:
        turn = rng.uniform(0, 2 * np.pi)
        around = [
            (np.cos(turn + a), np.sin(turn + a))
            for a in np.arange(4) * 2 * np.pi / 4 + rng.uniform(-0.3, 0.3, 4)
        ]
        spots = [(c, s, rng.uniform(0.52, 0.68), rng.uniform(0.75, 1.0)) for c, s in around] + [
            (0.0, 0.0, 0.80, 1.1),
            (0.2, -0.2, 0.62, 1.1),
        ]
        wide = rng.uniform(0.19, 0.25) * height
    for c, s, f, scale in spots:
        offset = 0.75 * wide if kind != 1 else 0.0
        centre = np.array([lean[0] + c * offset, lean[1] + s * offset, f * height])
        radii = wide * scale * np.array([1.0, 1.0, 0.82 if kind != 1 else 1.15]) * rng.uniform(0.88, 1.12, 3)
        parts.append(_lobe(rng, radii, centre, int(120 * detail), 0.14 * wide + 0.15, leaf))
        if kind != 1 and (c or s):
            parts.append(
                tube([tuple(top), tuple(0.6 * centre + 0.4 * top)], [0.5 * thick, 0.25 * thick], bark, 5)
            )
    return join(parts)


def _conifer(kit: Kit, bark: int, detail: float) -> Mesh:
    rng = kit.rng
    leaf = _leaf(kit, "needle")
    height, wide = rng.uniform(6.0, 10.5), rng.uniform(0.16, 0.22)
    parts = [tube([(0, 0, -0.1), (0, 0, 0.9 * height)], [0.022 * height + 0.05, 0.03], bark, 7)]
    tiers = 6
    for k in range(tiers):
        low = 0.12 + 0.80 * k / tiers
        high = low + 0.26
        radius = wide * height * (1.02 - 0.86 * k / tiers)
        cone = revolve(
            [(0.78 * radius, low * height), (0.08 * radius, min(high, 1.0) * height)],
            int(leaf[0]),
            9,
            crease_deg=80,
        )
        count = int(detail * (90 - 9 * k))
        angle, f = rng.uniform(0, 2 * np.pi, count), rng.random(count) ** 0.7
        flat = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        r = radius * (1 - 0.85 * f) * rng.uniform(0.88, 1.08, count)
        centre = np.concatenate(
            [flat * r[:, None], ((low + (high - low) * f) * height - 0.05)[:, None]], axis=1
        )
        outward = np.concatenate([flat, np.full((count, 1), 0.35)], axis=1)
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        parts += [cone, _cards(rng, centre, outward, rng.uniform(0.20, 0.40, count), leaf)]
    return join(parts)


def bush(kit: Kit) -> Mesh:
    rng = kit.rng
    leaf = _leaf(kit, "leaf")
    radius = rng.uniform(0.5, 0.95)
    parts = []
    for _ in range(3):
        shift = rng.uniform(-0.6, 0.6, 2) * radius
        r = radius * rng.uniform(0.6, 0.9)
        parts.append(_lobe(rng, np.array([r, r, 0.85 * r]), np.array([*shift, 0.7 * r]), 60, 0.26, leaf))
    return join(parts)


def hedge(kit: Kit, length: float) -> Mesh:
    """A clipped hedge along x."""
    rng = kit.rng
    leaf = _leaf(kit, "leaf")
    height, depth = rng.uniform(0.8, 1.4), rng.uniform(0.6, 0.9)
    core = box((length, 0.84 * depth, 0.94 * height), (0, 0, 0.47 * height), int(leaf[0]))
    count = int(34 * length)
    face = rng.choice(3, count, p=[0.37, 0.37, 0.26])
    x = rng.uniform(-0.5, 0.5, count) * length
    y = np.where(face == 2, rng.uniform(-0.45, 0.45, count), np.where(face == 0, -0.45, 0.45)) * depth
    z = np.where(face == 2, 0.97, rng.random(count)) * height
    outward = np.stack([0 * x, np.where(face == 2, 0, np.sign(y)), np.where(face == 2, 1.0, 0.25)], axis=1)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    return join(
        [core, _cards(rng, np.stack([x, y, z], axis=1), outward, rng.uniform(0.18, 0.34, count), leaf)]
    )


def tuft(kit: Kit, count: int = 26) -> Mesh:
    """Tall grass: blades that lean outwards."""
    rng = kit.rng
    base = kit.palette.pick("grass")
    blade = kit.book.add("plain", scaled(base, 1.25, 0.95), leaf=True, bump=0.0, refl=(0.6, 0.6, 0.6))
    foot = rng.normal(0, 0.16, (count, 2))
    angle = rng.uniform(0, 2 * np.pi, count)
    wide = 0.028 * np.stack([-np.sin(angle), np.cos(angle)], axis=1)
    high = rng.uniform(0.3, 0.62, count)
    tip = foot + 0.35 * high[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1) + foot * 0.4
    zero = np.zeros((count, 1))
    corners = np.stack(
        [
            np.concatenate([foot - wide, zero], 1),
            np.concatenate([foot + wide, zero], 1),
            np.concatenate([tip, high[:, None]], 1),
        ],
        axis=1,
    )
    mesh = triangles(corners, np.zeros((count, 3, 2)), blade)
    upward = np.zeros_like(mesh.normals)
    upward[..., 2] = 1.0
    return Mesh(mesh.corners, upward, mesh.uv, mesh.material)
