"""What the ground is made of: asphalt, slabs, kerbs, grass, soil, paint."""

from __future__ import annotations

from lidardistill.synthetic.matter.materials import Kit, scaled


class GroundKit:
    """Ground materials; in the palette with shared colours they change from stretch to stretch."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._walk_texture = ("slabs", "pavers", "concrete")[int(kit.rng.choice(3, p=[0.5, 0.35, 0.15]))]
        self._island_texture = ("cobble", "pavers", "stripes")[int(kit.rng.choice(3, p=[0.45, 0.40, 0.15]))]
        self._fixed: dict[str, int] = {}
        self._dual_kerb = kit.rng.random() < 0.35

    def get(self, name: str, fresh: bool = False) -> int:
        """Row of a ground material; `fresh` asks for a new shade of it."""
        if self._kit.palette.kind != "overlapping" and not fresh and name in self._fixed:
            return self._fixed[name]
        self._fixed[name] = row = self._make(name)
        return row

    def _make(self, name: str) -> int:
        kit = self._kit
        add, pick = kit.book.add, kit.palette.pick
        spread = 0.04
        if name == "road":
            base = pick("asphalt", spread)
            return add(
                "asphalt",
                base,
                b=scaled(base, 1.3),
                c=scaled(base, 0.8),
                tile=5.0,
                bump=0.8,
                macro=0.22,
                refl=(0.22, 0.26, 0.2),
            )
        if name == "walk":
            base, other = pick("sidewalk", spread), pick("sidewalk", spread)
            tile = {"slabs": 3.2, "pavers": 2.0, "concrete": 4.0}[self._walk_texture]
            return add(
                self._walk_texture,
                base,
                b=other,
                c=base,
                tile=tile,
                bump=0.8,
                macro=0.14,
                refl=(0.42, 0.42, 0.4),
            )
        if name == "kerb":
            base = pick("kerb", spread)
            dark = pick("dark") if self._dual_kerb else scaled(base, 0.93)
            return add("bands", base, b=dark, tile=2.4, bump=0.5, macro=0.1, refl=(0.42, 0.35, 0.4))
        if name == "island":
            base, other = pick("island"), pick("island")
            return add(
                self._island_texture,
                base,
                b=other,
                c=base,
                tile={"cobble": 2.4, "pavers": 1.8, "stripes": 2.4}[self._island_texture],
                bump=1.2,
                macro=0.12,
                refl=(0.34, 0.34, 0.3),
            )
        if name == "plaza":
            base, other = pick("island"), pick("island")
            return add(
                "cobble", base, b=other, c=base, tile=2.6, bump=1.2, macro=0.15, refl=(0.34, 0.34, 0.3)
            )
        if name == "grass":
            base = pick("grass")
            return add(
                "grass",
                scaled(base, 0.8),
                b=scaled(base, 1.25),
                c=pick("soil"),
                tile=3.4,
                bump=1.0,
                macro=0.30,
                leaf=False,
                refl=(0.66, 0.74, 0.5),  # living grass is bright in the near infrared
            )
        if name == "soil":
            base = pick("soil")
            return add(
                "soil",
                base,
                b=pick("concrete"),
                c=scaled(base, 0.85),
                tile=3.6,
                bump=1.2,
                macro=0.25,
                refl=(0.30, 0.32, 0.28),
            )
        if name in ("mark", "mark2"):
            role, bright = ("marking", 1.25) if name == "mark" else ("marking2", 1.05)
            return add(
                "worn_paint",
                pick(role, 0.02),
                b=pick("asphalt", spread),
                tile=1.3,
                bump=0.2,
                refl=(bright, 0.25, 0.2),
            )
        raise ValueError(f"ground material: unknown name {name!r}")
