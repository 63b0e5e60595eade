"""Where on a street a thing may stand: at the kerb, on the pavement, on a lot, on open land."""

from __future__ import annotations

import numpy as np

from lidardistill.synthetic.ground.ground import sign_of
from lidardistill.synthetic.ground.street import KERB_M
from lidardistill.synthetic.matter.meshes import Mesh
from lidardistill.synthetic.place.stage import Stage


def spot_in(stage: Stage, zone: str, s: float) -> tuple[float, float, float, float] | None:
    """(s, d, z, yaw) somewhere in a zone near s, or None where the street has no such zone."""
    rng, p = stage.rng, stage.profile
    if zone == "kerb":
        side = int(rng.integers(0, 2))
        if p.park[side] == 0:
            side = 1 - side
        d = sign_of(side) * (p.drive_half() + 0.5 * p.park[side] + 0.06)
        return s, d, 0.0, (0.0 if side == 0 else np.pi) + float(rng.normal(0, 0.015))
    if zone == "walk":
        side = int(rng.integers(0, 2))
        d = sign_of(side) * float(rng.uniform(p.walk_inner(side) + 0.3, p.back(side) - 0.3))
        return s, d, KERB_M, float(rng.uniform(-np.pi, np.pi))
    if zone == "edge":
        # Beside the walkway: next to the kerb, or along the plots.
        side = int(rng.integers(0, 2))
        d = float(rng.choice([p.kerb(side) + 0.55, p.back(side) - 0.3, p.walk_inner(side) + 0.25]))
        along = float(rng.choice([0.0, np.pi])) + float(rng.normal(0, 0.25))
        return s, sign_of(side) * d, KERB_M, along
    kinds = {
        "lot": ("parking", "yard"),
        "site": ("site",),
        "open": ("park", "plaza", "yard", "site", "house"),
    }[zone]
    near = [q for q in stage.plots if q.kind in kinds and q.s0 - 12 < s < q.s1 + 12]
    if not near:
        return None
    plot = near[int(rng.integers(0, len(near)))]
    at = float(rng.uniform(plot.s0 + 1.5, plot.s1 - 1.5))
    d = sign_of(plot.side) * float(stage.profile.back(plot.side) + rng.uniform(0.8, 14.0))
    yaw = float(rng.uniform(-np.pi, np.pi))
    if zone == "lot":
        yaw = float(rng.choice([-0.5, 0.5, 0.0, 1.0])) * np.pi + float(rng.normal(0, 0.05))
    return at, d, stage.ground_z(plot.side, at, d, plot.kind), yaw


def park_somewhere(
    stage: Stage,
    category: str,
    attribute: str | None,
    mesh: Mesh,
    zones: list[str],
    s0: float,
    s1: float,
    tries: int = 40,
) -> bool:
    """Parks a thing in one of the zones between s0 and s1; False where no try found room."""
    for k in range(tries):
        zone = zones[int(stage.rng.integers(0, len(zones)))] if k < tries // 2 else zones[k % len(zones)]
        spot = spot_in(stage, zone, float(stage.rng.uniform(s0, s1)))
        margin = 0.2 if zone == "kerb" else 0.35
        if spot is not None and stage.try_park(category, attribute, mesh, *spot, margin):
            return True
    return False
