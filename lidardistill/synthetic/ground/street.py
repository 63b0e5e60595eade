"""The ground: carriageway with markings, crossings, kerbs, pavements, islands, verges and the land behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lidardistill.synthetic.matter.materials import Kit
from lidardistill.synthetic.matter.meshes import Mesh, grid, join
from lidardistill.synthetic.place.course import Course

KERB_M = 0.13
CROSSING_M = 3.0
"""Length of a pedestrian crossing along the street."""
MARK_M = 0.006
"""Markings lie this far above the carriageway, so that rays meet them first."""


@dataclass(frozen=True)
class Profile:
    """Cross-section of the street; d is positive to the left, the median is centred at d = 0.

    Attributes:
        median: width of the raised island in the middle, 0 for none.
        lanes: lanes each way.
        lane: width of a lane.
        park: width of the parking lane on the right and left side, 0 for none.
        strip: width of the verge between kerb and pavement, right and left.
        walk: width of the pavement, right and left.
    """

    median: float
    lanes: int
    lane: float
    park: tuple[float, float]
    strip: tuple[float, float]
    walk: tuple[float, float]

    def drive_half(self) -> float:
        """d of the outer edge of the outermost driving lane."""
        return 0.5 * self.median + self.lanes * self.lane

    def kerb(self, side: int) -> float:
        """|d| of the kerb on side 0 (right) or 1 (left)."""
        return self.drive_half() + self.park[side]

    def walk_inner(self, side: int) -> float:
        return self.kerb(side) + 0.18 + self.strip[side]

    def back(self, side: int) -> float:
        """|d| where the pavement ends and the plots begin."""
        return self.walk_inner(side) + self.walk[side]

    def lane_centre(self, index: int) -> float:
        """|d| of the middle of a lane, 0 next to the median."""
        return 0.5 * self.median + (index + 0.5) * self.lane


def make_profile(rng: np.random.Generator) -> Profile:
    """A random cross-section with at least one parking lane."""
    lanes = int(rng.choice([1, 2], p=[0.55, 0.45]))
    median = 0.0 if rng.random() < 0.45 else float(rng.uniform(1.4, 3.0))
    park = rng.random(2) < (0.75 if lanes == 1 else 0.5)
    if not park.any():
        park[int(rng.integers(0, 2))] = True
    strip = np.where(rng.random(2) < 0.55, rng.uniform(1.2, 2.4, 2), 0.0)
    walk = rng.uniform(1.8, 3.4, 2)
    return Profile(
        median, lanes, float(rng.uniform(3.25, 3.6)), (2.35 * bool(park[0]), 2.35 * bool(park[1])),
        (float(strip[0]), float(strip[1])), (float(walk[0]), float(walk[1])),
    )  # fmt: skip


def patch(
    course: Course,
    s0: float,
    s1: float,
    d0: float,
    d1: float,
    z: float,
    material: int,
    *,
    across: int = 1,
    step: float = 2.5,
    bump: float = 0.0,
    fall: float = 0.0,
) -> Mesh:
    """A piece of ground between two values of s and of d, flat or with bumps.

    Args:
        course: centre line.
        s0, s1, d0, d1: extent, metres.
        z: height, metres.
        material: row of the material book.
        across: cells along d.
        step: length of a cell along s.
        bump: height of gentle bumps, fading at the edges of d.
        fall: drop from d0 to d1.
    """
    rows = max(2, int(np.ceil((s1 - s0) / step)) + 1)
    s, d = np.meshgrid(np.linspace(s0, s1, rows), np.linspace(d0, d1, across + 1), indexing="ij")
    x, y, _ = course.at(s, d)
    f = (d - d0) / (d1 - d0)
    height = z + bump_height(s, d) * bump * np.clip(6 * f * (1 - f), 0, 1) - fall * f
    return grid(
        np.stack([x, y, height], axis=2), material, uv=np.stack([s, d], axis=2), crease_deg=60 if bump else 0
    )


def bump_height(s: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Gentle waves of the open ground, about -1..1."""
    return (
        0.5 * np.sin(0.31 * s + 0.2 * d)
        + 0.3 * np.sin(0.17 * s - 0.43 * d + 1.0)
        + 0.2 * np.sin(0.71 * d + 0.5 * s)
    )


def kerb(
    course: Course, s0: float, s1: float, d: float, outward: int, z0: float, z1: float, material: int
) -> Mesh:
    """A kerb stone whose face stands at `d` and whose top reaches 0.18 m further `outward` (+1 or -1)."""
    rows = max(2, int(np.ceil((s1 - s0) / 2.5)) + 1)
    s = np.linspace(s0, s1, rows)
    shape = [(d, z0), (d + outward * 0.025, z1), (d + outward * 0.18, z1)]
    points, uv, v = [], [], 0.0
    for k, (at, z) in enumerate(shape):
        x, y, _ = course.at(s, at)
        v += 0.0 if k == 0 else abs(z - shape[k - 1][1]) + abs(at - shape[k - 1][0])
        points.append(np.stack([x, y, np.full(rows, z)], axis=1))
        uv.append(np.stack([s, np.full(rows, v)], axis=1))
    return grid(np.stack(points, axis=1), material, uv=np.stack(uv, axis=1), crease_deg=0)


def dashes(
    course: Course,
    s0: float,
    s1: float,
    d: float,
    width: float,
    dash: float,
    gap: float,
    material: int,
    gaps: list[tuple[float, float]],
) -> list[Mesh]:
    """A broken line (or a whole one, gap 0) along s, left out where it would cross `gaps`."""
    parts = []
    step = dash + gap
    for start in np.arange(s0, s1 - dash, step):
        if any(start < b and start + dash > a for a, b in gaps):
            continue
        parts.append(
            patch(course, start, start + dash, d - 0.5 * width, d + 0.5 * width, MARK_M, material, step=4.0)
        )
    return parts


def crossing(course: Course, s: float, d0: float, d1: float, material: int) -> list[Mesh]:
    """Zebra stripes along s."""
    return [
        patch(course, s, s + CROSSING_M, d, d + 0.5, MARK_M, material, step=3.0)
        for d in np.arange(d0 + 0.3, d1 - 0.6, 1.0)
    ]


def arrow(course: Course, s: float, d: float, forward: int, material: int) -> list[Mesh]:
    """A straight-on arrow painted in a lane."""
    shaft = patch(course, s, s + 2.4, d - 0.08, d + 0.08, MARK_M, material)
    tip = s + 3.6 if forward > 0 else s - 1.2
    base = s + 2.4 if forward > 0 else s
    x, y, _ = course.at(np.array([base, base, tip, tip]), np.array([d - 0.32, d + 0.32, d + 0.01, d - 0.01]))
    points = np.stack([x, y, np.full(4, MARK_M)], axis=1)[[0, 3, 1, 2]].reshape(2, 2, 3)
    return [shaft, grid(points, material, crease_deg=0)]


def island_outline(s0: float, s1: float, d0: float, d1: float) -> tuple[np.ndarray, np.ndarray]:
    """The rounded outline of a traffic island.

    Args:
        s0, s1, d0, d1: extent, metres.

    Returns:
        (K,) metres along s from s0, and (K,) half the width there.
    """
    half = 0.5 * (d1 - d0)
    along = np.concatenate(
        [
            np.linspace(0, 0.9 * half, 5),
            np.linspace(0.9 * half + 0.5, s1 - s0 - 0.9 * half - 0.5, max(2, int((s1 - s0) / 2.5))),
            s1 - s0 - np.linspace(0, 0.9 * half, 5)[::-1],
        ]
    )
    distance = np.minimum(along, s1 - s0 - along)
    wide = half * np.sqrt(np.clip(1 - (1 - np.clip(distance / (0.9 * half), 0, 1)) ** 2, 0.02, 1))
    return along, wide


def island(course: Course, s0: float, s1: float, d0: float, d1: float, kit: Kit, top: int, edge: int) -> Mesh:
    """A raised traffic island with rounded ends, inside the carriageway."""
    middle = 0.5 * (d0 + d1)
    along, wide = island_outline(s0, s1, d0, d1)
    rows = []
    for sign, z, inset in (
        (-1, 0.0, 0.0),
        (-1, KERB_M + 0.02, 0.02),
        (-1, KERB_M + 0.02, 0.16),
        (1, KERB_M + 0.02, 0.16),
        (1, KERB_M + 0.02, 0.02),
        (1, 0.0, 0.0),
    ):
        reach = middle + sign * np.maximum(wide - inset, 0.01)
        x, y, _ = course.at(s0 + along, reach)
        rows.append(np.stack([x, y, np.full(len(along), z)], axis=1))
    points = np.stack(rows, axis=1)
    v = np.array([0.0, 0.15, 0.3, 0.0, 0.3, 0.45])
    uv = np.stack(
        [np.broadcast_to((s0 + along)[:, None], points.shape[:2]), np.broadcast_to(v, points.shape[:2])],
        axis=2,
    ).copy()
    uv[:, 2:4, 1] = np.stack([-wide, wide], axis=1)
    material = np.array([[edge, edge, top, edge, edge]] * (len(along) - 1))
    return grid(points, material, uv=uv, crease_deg=0)


def merge(parts: list[Mesh]) -> Mesh:
    return join(parts)
