"""Materials: a texture, three colours, gloss, and what the LiDAR gets back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lidardistill.synthetic.matter.textures import atlas

RGB = tuple[float, float, float]

# Columns of the float table that the kernels read.
A, B, C = 0, 3, 6
TILE_U, TILE_V, GLOSS, SHARP, GLASS, VARY, BUMP, MACRO, LEAF = range(9, 18)
REFL_A, REFL_B, REFL_C = 18, 19, 20
COLUMNS = 21


class MaterialTable(NamedTuple):
    """What the kernels read.

    Attributes:
        values: (M, COLUMNS) float32, colours linear.
        texture: (M,) int32 row of the texture atlas.
    """

    values: np.ndarray
    texture: np.ndarray


def scaled(colour: RGB, factor: float, most: float = 1.0) -> RGB:
    """A colour made darker or brighter; no channel leaves with more than `most`."""
    r, g, b = (min(most, factor * c) for c in colour)
    return r, g, b


def to_linear(rgb: np.ndarray) -> np.ndarray:
    """sRGB 0..1 to linear light."""
    rgb = np.asarray(rgb, dtype=np.float64)
    return np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4)


class MaterialBook:
    """Collects materials while a world is built."""

    def __init__(self) -> None:
        self._texture = {name: k for k, name in enumerate(atlas()[0])}
        self._values: list[np.ndarray] = []
        self._rows: list[int] = []

    def add(
        self,
        texture: str,
        a: RGB,
        b: RGB | None = None,
        c: RGB | None = None,
        *,
        tile: float | tuple[float, float] = 1.0,
        gloss: float = 0.0,
        sharp: float = 30.0,
        glass: float = 0.0,
        vary: float = 0.0,
        bump: float = 1.0,
        macro: float = 0.0,
        leaf: bool = False,
        refl: tuple[float, float, float] = (0.35, 0.35, 0.35),
    ) -> int:
        """One material.

        Args:
            texture: name of a texture.
            a, b, c: sRGB colours 0..1; `a` stands in for absent ones.
            tile: metres that the texture spans (u, v).
            gloss: share of light mirrored head-on by colours A and B.
            sharp: exponent of the sun's highlight.
            glass: share of light mirrored head-on by colour C.
            vary: how much colour C differs from tile to tile, 0..1.
            bump: strength of the texture's relief.
            macro: strength of broad stains that span many tiles.
            leaf: light shines through.
            refl: what the LiDAR gets back from A, B and C head-on; above 1 is a reflector.

        Returns:
            Row of the material.
        """
        row = np.zeros(COLUMNS)
        row[A : A + 3] = a
        row[B : B + 3] = a if b is None else b
        row[C : C + 3] = a if c is None else c
        tile_u, tile_v = (tile, tile) if isinstance(tile, (int, float)) else tile
        row[TILE_U], row[TILE_V] = 1.0 / tile_u, 1.0 / tile_v
        row[GLOSS], row[SHARP], row[GLASS], row[VARY] = gloss, sharp, glass, vary
        row[BUMP], row[MACRO], row[LEAF] = bump, macro, float(leaf)
        row[REFL_A : REFL_C + 1] = refl
        self._values.append(row)
        self._rows.append(self._texture[texture])
        return len(self._rows) - 1

    def table(self) -> MaterialTable:
        values = np.array(self._values)
        values[:, A : C + 3] = to_linear(values[:, A : C + 3])
        return MaterialTable(values.astype(np.float32), np.array(self._rows, dtype=np.int32))


# Colours by role, sRGB. Each entry is a list to choose from; a choice is then shifted a little per instance.
_NATURAL: dict[str, list[RGB]] = {
    "car": [
        (0.86, 0.87, 0.88), (0.62, 0.64, 0.66), (0.12, 0.12, 0.13), (0.30, 0.32, 0.34), (0.58, 0.09, 0.09),
        (0.10, 0.18, 0.42), (0.16, 0.33, 0.52), (0.75, 0.73, 0.66), (0.13, 0.29, 0.22), (0.82, 0.62, 0.12),
        (0.45, 0.20, 0.10),
    ],
    "cab": [(0.85, 0.85, 0.83), (0.70, 0.12, 0.10), (0.12, 0.24, 0.50), (0.88, 0.66, 0.10),
        (0.20, 0.42, 0.30), (0.30, 0.31, 0.33)],
    "cargo": [(0.88, 0.88, 0.86), (0.72, 0.73, 0.72), (0.30, 0.42, 0.60), (0.80, 0.70, 0.45),
        (0.55, 0.20, 0.16), (0.25, 0.45, 0.38)],
    "bus": [(0.72, 0.10, 0.12), (0.10, 0.36, 0.62), (0.90, 0.90, 0.88), (0.12, 0.50, 0.36),
        (0.93, 0.70, 0.15), (0.36, 0.20, 0.46)],
    "machine": [(0.93, 0.66, 0.06), (0.90, 0.48, 0.06), (0.86, 0.72, 0.20), (0.84, 0.36, 0.10)],
    "bike": [(0.75, 0.10, 0.12), (0.10, 0.12, 0.14), (0.12, 0.38, 0.62), (0.80, 0.80, 0.80),
        (0.15, 0.52, 0.30), (0.92, 0.60, 0.10)],
    "cloth": [
        (0.18, 0.22, 0.35), (0.75, 0.20, 0.20), (0.88, 0.86, 0.80), (0.15, 0.15, 0.17), (0.30, 0.45, 0.62),
        (0.80, 0.62, 0.20), (0.36, 0.48, 0.30), (0.55, 0.30, 0.50), (0.50, 0.42, 0.34), (0.82, 0.45, 0.55),
    ],
    "trousers": [(0.14, 0.17, 0.28), (0.12, 0.12, 0.13), (0.40, 0.36, 0.30), (0.27, 0.33, 0.45),
        (0.55, 0.52, 0.46)],
    "skin": [(0.88, 0.68, 0.56), (0.75, 0.54, 0.42), (0.50, 0.34, 0.25), (0.36, 0.23, 0.17)],
    "hair": [(0.10, 0.08, 0.07), (0.28, 0.18, 0.10), (0.62, 0.48, 0.28), (0.45, 0.43, 0.42)],
    "tyre": [(0.085, 0.085, 0.09)],
    "rim": [(0.62, 0.63, 0.65), (0.30, 0.30, 0.32), (0.75, 0.75, 0.76)],
    "dark": [(0.10, 0.10, 0.11), (0.14, 0.14, 0.15)],
    "glass": [(0.07, 0.09, 0.10), (0.09, 0.11, 0.13), (0.05, 0.06, 0.07)],
    "pane": [(0.20, 0.26, 0.32), (0.14, 0.18, 0.22), (0.28, 0.30, 0.30)],
    "metal": [(0.50, 0.52, 0.54), (0.36, 0.38, 0.40), (0.20, 0.24, 0.23), (0.62, 0.63, 0.62)],
    "asphalt": [(0.33, 0.33, 0.335), (0.27, 0.27, 0.275), (0.38, 0.375, 0.365), (0.30, 0.30, 0.31)],
    "marking": [(0.90, 0.90, 0.87)],
    "marking2": [(0.88, 0.68, 0.16)],
    "sidewalk": [(0.62, 0.61, 0.59), (0.66, 0.62, 0.56), (0.56, 0.55, 0.55), (0.60, 0.52, 0.48)],
    "kerb": [(0.66, 0.65, 0.63), (0.58, 0.58, 0.57)],
    "island": [(0.60, 0.36, 0.30), (0.50, 0.48, 0.46), (0.66, 0.56, 0.44), (0.45, 0.42, 0.44)],
    "grass": [(0.33, 0.37, 0.20), (0.40, 0.42, 0.24), (0.28, 0.33, 0.17), (0.44, 0.42, 0.26)],
    "soil": [(0.46, 0.36, 0.26), (0.52, 0.43, 0.32), (0.40, 0.32, 0.25)],
    "leaf": [(0.26, 0.34, 0.16), (0.33, 0.39, 0.18), (0.21, 0.29, 0.16), (0.39, 0.42, 0.20),
        (0.29, 0.36, 0.22)],
    "autumn": [(0.70, 0.42, 0.12), (0.62, 0.52, 0.16), (0.58, 0.26, 0.12)],
    "needle": [(0.12, 0.25, 0.14), (0.16, 0.28, 0.17), (0.13, 0.24, 0.19)],
    "bark": [(0.34, 0.27, 0.21), (0.40, 0.36, 0.31), (0.26, 0.21, 0.18)],
    "brick": [(0.56, 0.28, 0.20), (0.48, 0.24, 0.18), (0.62, 0.42, 0.30), (0.44, 0.32, 0.28)],
    "plaster": [(0.86, 0.80, 0.68), (0.80, 0.70, 0.56), (0.88, 0.86, 0.80), (0.72, 0.62, 0.56),
        (0.78, 0.80, 0.78), (0.82, 0.60, 0.46), (0.70, 0.76, 0.66)],
    "concrete": [(0.60, 0.60, 0.58), (0.68, 0.66, 0.62), (0.52, 0.53, 0.54)],
    "trim": [(0.88, 0.86, 0.82), (0.75, 0.72, 0.66), (0.35, 0.34, 0.33), (0.45, 0.30, 0.22),
        (0.20, 0.28, 0.26)],
    "roof": [(0.50, 0.26, 0.18), (0.34, 0.32, 0.32), (0.42, 0.30, 0.24)],
    "cone": [(0.95, 0.36, 0.06), (0.92, 0.28, 0.08)],
    "band": [(0.93, 0.93, 0.92)],
    "barrier": [(0.90, 0.40, 0.10), (0.85, 0.14, 0.10), (0.70, 0.69, 0.66), (0.92, 0.78, 0.15)],
    "sign": [(0.10, 0.30, 0.62), (0.75, 0.08, 0.10), (0.90, 0.75, 0.10), (0.10, 0.45, 0.25)],
    "wood": [(0.46, 0.33, 0.22), (0.56, 0.46, 0.34), (0.34, 0.26, 0.20)],
}  # fmt: skip

# Muted, so that things still look like things to a network that was trained on photographs.
_SHARED: list[RGB] = [
    (0.74, 0.72, 0.69), (0.56, 0.56, 0.55), (0.40, 0.40, 0.41), (0.25, 0.25, 0.26), (0.54, 0.33, 0.28),
    (0.62, 0.47, 0.32), (0.63, 0.58, 0.40), (0.40, 0.43, 0.27), (0.30, 0.39, 0.29), (0.30, 0.42, 0.42),
    (0.33, 0.41, 0.53), (0.25, 0.29, 0.40), (0.43, 0.36, 0.43), (0.46, 0.38, 0.31), (0.60, 0.51, 0.46),
]  # fmt: skip

_DARK_ROLES = frozenset({"tyre", "glass", "pane", "dark"})
"""Things that are dark in every palette; in the shared one their hue is shared and their darkness stays."""


@dataclass(frozen=True)
class Palette:
    """Where colours come from.

    Attributes:
        kind: "natural" gives each role colours that are typical of it; "overlapping" draws every colour of
            every role from one list, so that colour says nothing about the class.
        rng: draws the colours and nothing else, so that both palettes give the same shapes.
    """

    kind: str
    rng: np.random.Generator

    def pick(self, role: str, spread: float = 0.06) -> RGB:
        """A colour for one instance, sRGB 0..1."""
        which, tint, value = self.rng.random(), self.rng.normal(0.0, 1.0, 3), self.rng.normal(0.0, 1.0)
        shared = self.kind == "overlapping"
        options = _SHARED if shared else _NATURAL[role]
        base = np.array(options[min(int(which * len(options)), len(options) - 1)])
        if shared and role in _DARK_ROLES:
            base = 0.45 * base
        colour = base * (1.0 + spread * value) + 0.25 * spread * tint
        r, g, b = np.clip(colour, 0.02, 0.97).tolist()
        return r, g, b


@dataclass(frozen=True)
class Kit:
    """What every builder needs: the book it writes materials into, colours, and its own generator."""

    book: MaterialBook
    palette: Palette
    rng: np.random.Generator

    def paint(self, role: str, texture: str = "plain", **options: Any) -> int:
        """A one-colour material; `options` are those of `MaterialBook.add`."""
        return self.book.add(texture, self.palette.pick(role), **options)
