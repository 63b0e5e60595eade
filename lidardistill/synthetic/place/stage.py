"""Stage of place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from lidardistill.synthetic.ground.ground import PLOT_DEPTH_M, Plan, Plot
from lidardistill.synthetic.ground.street import KERB_M, Profile, bump_height
from lidardistill.synthetic.matter.materials import Kit
from lidardistill.synthetic.matter.meshes import Mesh
from lidardistill.synthetic.place.course import Course, Motion
from lidardistill.synthetic.things import buses, machines, trailers, trucks, vegetation
from lidardistill.synthetic.things.cars import car, head_on

CAR, TRUCK, TRAILER, BUS = "vehicle.car", "vehicle.truck", "vehicle.trailer", "vehicle.bus.rigid"


MACHINE, BICYCLE, MOTORCYCLE = "vehicle.construction", "vehicle.bicycle", "vehicle.motorcycle"


ADULT, CONE, BARRIER = "human.pedestrian.adult", "movable_object.trafficcone", "movable_object.barrier"


MANMADE, VEGETATION = "static.manmade", "static.vegetation"


@dataclass(frozen=True)
class Entry:
    """An actor before it gets its number."""

    category: str
    attribute: str | None
    mesh: Mesh
    motion: Motion
    moving: bool


@dataclass
class Stage:
    """Collects a world while it is furnished. `rng` decides the layout, `kit.rng` the looks."""

    kit: Kit
    rng: np.random.Generator
    fixed: list[tuple[str, Mesh, None]] = field(default_factory=list)
    actors: list[Entry] = field(default_factory=list)
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    pool: dict[str, list[Mesh]] = field(default_factory=dict)

    course: Course = field(init=False)
    profile: Profile = field(init=False)
    ego: Motion = field(init=False)
    plots: list[Plot] = field(init=False)
    side_street: float = field(init=False)
    plan: Plan = field(init=False)

    def free(self, s: float, d: float, hs: float, hd: float, margin: float = 0.35) -> bool:
        """Is a rectangle of half lengths hs, hd about (s, d) empty?"""
        for s0, s1, d0, d1 in self.taken:
            if (
                s + hs + margin > s0
                and s - hs - margin < s1
                and d + hd + margin > d0
                and d - hd - margin < d1
            ):
                return False
        return True

    def take(self, s: float, d: float, hs: float, hd: float) -> None:
        self.taken.append((s - hs, s + hs, d - hd, d + hd))

    def stand(self, label: str, mesh: Mesh, s: float, d: float, z: float, yaw: float = 0.0) -> None:
        """Puts a fixed thing at (s, d); yaw is relative to the street."""
        x, y, heading = self.course.at(s, d)
        self.fixed.append((label, mesh.moved(float(x), float(y), z, yaw=float(heading) + yaw), None))

    def park(
        self, category: str, attribute: str | None, mesh: Mesh, s: float, d: float, z: float, yaw: float
    ) -> None:
        """Puts an actor that never moves."""
        self.actors.append(Entry(category, attribute, mesh, Motion(s, d, z, turn=yaw), False))

    def drive(self, category: str, attribute: str, mesh: Mesh, motion: Motion) -> None:
        self.actors.append(Entry(category, attribute, mesh, motion, True))

    def try_park(
        self,
        category: str,
        attribute: str | None,
        mesh: Mesh,
        s: float,
        d: float,
        z: float,
        yaw: float,
        margin: float = 0.35,
    ) -> bool:
        """`park` where there is room."""
        low, high = mesh.bounds()
        hx, hy = 0.5 * float(high[0] - low[0]), 0.5 * float(high[1] - low[1])
        c, n = abs(np.cos(yaw)), abs(np.sin(yaw))
        hs, hd = c * hx + n * hy, n * hx + c * hy
        if not self.free(s, d, hs, hd, margin):
            return False
        self.take(s, d, hs, hd)
        self.park(category, attribute, mesh, s, d, z, yaw)
        return True

    def ground_z(self, side: int, s: float, d: float, kind: str) -> float:
        """Height of a plot."""
        if kind in ("park", "house", "yard", "site"):
            back = self.profile.back(side)
            f = np.clip((abs(d) - back) / PLOT_DEPTH_M, 0, 1)
            return float(
                KERB_M + 0.16 * bump_height(np.array(s), np.array(d)) * np.clip(6 * f * (1 - f), 0, 1)
            )
        return KERB_M

    def summary(self) -> str:
        p = self.profile
        return (
            f"{p.lanes} lanes each way, {'median' if p.median else 'no median'}, {len(self.actors)} objects"
        )


Builder = Callable[[Kit], Mesh]


VEHICLES: dict[str, Builder] = {
    CAR: car,
    TRUCK: trucks.truck,
    TRAILER: trailers.trailer,
    BUS: buses.bus,
    MACHINE: machines.construction_vehicle,
}


POOL_SIZE = 8


def make(stage: Stage, category: str, *, far: bool = False) -> Mesh:
    """A vehicle without people, centred over its own origin; `far` ones repeat a few shapes."""
    return pooled(stage, category, lambda: head_on(VEHICLES[category](stage.kit)), far)


def pooled(stage: Stage, key: str, build: Callable[[], Mesh], far: bool) -> Mesh:
    """A new mesh; if `far`, one of at most `POOL_SIZE`, because building a mesh takes longer than rendering
    it.
    """
    if not far:
        return build()
    pool = stage.pool.setdefault(key, [])
    if len(pool) < POOL_SIZE:
        pool.append(build())
        return pool[-1]
    return pool[int(stage.rng.integers(0, POOL_SIZE))]


def plant(stage: Stage, kind: str, detail: float = 1.0) -> Mesh:
    """A tree, bush or tuft; they repeat, turned, which nobody sees, and building leaves takes long."""
    build = {
        "tree": lambda: vegetation.tree(stage.kit, detail),
        "bush": lambda: vegetation.bush(stage.kit),
        "tuft": lambda: vegetation.tuft(stage.kit),
    }[kind]
    return pooled(stage, f"{kind} {detail}", build, True)


def articulated(kit: Kit) -> tuple[Mesh, Mesh, float]:
    """A tractor and its trailer, each centred, and the distance between their middles."""
    pull, load = head_on(trucks.tractor(kit)), head_on(trailers.trailer(kit))
    reach = 0.5 * float(load.bounds()[1][0] - load.bounds()[0][0]) + 0.25
    return pull, load, reach
