"""One world: fixed triangles, moving objects with their trajectories, the drive of the ego car, and light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lidardistill.datasets.nuscenes.lidarseg_classes import RAW_CLASSES
from lidardistill.synthetic.ground.ground import Plan
from lidardistill.synthetic.ground.street import Profile
from lidardistill.synthetic.matter.materials import Kit, MaterialBook, MaterialTable, Palette
from lidardistill.synthetic.matter.meshes import Mesh, join, rotation_z
from lidardistill.synthetic.place.course import Course, Motion
from lidardistill.synthetic.place.population import populate
from lidardistill.synthetic.place.stage import Stage
from lidardistill.synthetic.render.face_table import COLUMNS, pack_faces
from lidardistill.synthetic.render.raycast import Mover, Placement, Tracer, Tree
from lidardistill.synthetic.render.sky import Light, make_light

PALETTES = ("natural", "overlapping")
_FIRST_FIXED_THING = 10_000
"""Objects with a box have smaller numbers."""
PROBES = 64


@dataclass(frozen=True)
class Actor:
    """Something that gets a box.

    Attributes:
        instance: number inside the world.
        category: nuScenes category name.
        attribute: nuScenes attribute name or None.
        low, high: (3,) its bounds in its own frame, metres.
        motion: where it is when.
        moving: False for what stands still.
        pose: row of the placement, 0 where it stands still.
        probes: (PROBES, 3) float64 centres of some of its triangles, world frame where it stands still, else
        its own.
    """

    instance: int
    category: str
    attribute: str | None
    low: np.ndarray
    high: np.ndarray
    motion: Motion
    moving: bool
    pose: int
    probes: np.ndarray


@dataclass(frozen=True)
class Faces:
    """The face table of a world: fixed triangles first, then each mover's in its own frame.

    Attributes:
        corners: (F, 3, 3) float32 metres.
        table: (F, COLUMNS) float32 of `face_table.pack_faces`.
        material: (F,) int32 row of the material table.
        pose: (F,) int32 row of the placement: 0 fixed, k + 1 mover k.
        label: (F,) uint8 raw lidarseg class.
        thing: (F,) int32 number of the object, for edges and visibility; actors have their instance number.
    """

    corners: np.ndarray
    table: np.ndarray
    material: np.ndarray
    pose: np.ndarray
    label: np.ndarray
    thing: np.ndarray


@dataclass(frozen=True)
class World:
    """Everything the sensors can see; made by `build_scene`."""

    faces: Faces
    materials: MaterialTable
    tracer: Tracer
    actors: tuple[Actor, ...]
    course: Course
    profile: Profile
    plan: Plan
    ego: Motion
    light: Light
    description: str

    def placement(self, time_s: float) -> Placement:
        """Where the moving objects are at a time."""
        movers = [a for a in self.actors if a.moving]
        rotation = np.zeros((len(movers) + 1, 3, 3), dtype=np.float32)
        shift = np.zeros((len(movers) + 1, 3), dtype=np.float32)
        rotation[0] = np.eye(3)
        for k, actor in enumerate(movers):
            position, yaw = actor.motion.pose(self.course, time_s)
            c, s = np.cos(yaw), np.sin(yaw)
            rotation[k + 1] = [[c, -s, 0], [s, c, 0], [0, 0, 1]]
            shift[k + 1] = position
        return Placement(rotation, shift)

    def ego_pose(self, time_s: float) -> np.ndarray:
        """(4, 4) float64 ego frame (rear axle, on the road) to world."""
        position, yaw = self.ego.pose(self.course, time_s)
        pose = np.eye(4)
        pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
        pose[:3, 3] = position
        return pose


def build_scene(seed: int, *, palette: str = "natural", duration_s: float = 4.0) -> World:
    """A world that is a function of its arguments alone.

    Args:
        seed: any int >= 0; different seeds give different worlds.
        palette: "natural", or "overlapping" where classes share their colours.
        duration_s: length of the drive; the street is furnished along it.

    Raises:
        ValueError: an unknown palette or a negative seed.
    """
    if palette not in PALETTES:
        raise ValueError(f"palette: expected one of {', '.join(PALETTES)}, got {palette!r}.")
    if seed < 0:
        raise ValueError(f"seed: expected a whole number >= 0, got {seed}.")
    layout, shape, colour, light = (
        np.random.Generator(np.random.PCG64(s)) for s in np.random.SeedSequence([seed, 11]).spawn(4)
    )
    book = MaterialBook()
    stage = Stage(Kit(book, Palette(palette, colour), shape), layout)
    populate(stage, duration_s)
    meshes, labels, things = [], [], []

    def add(mesh: Mesh, label: str, thing: int) -> None:
        meshes.append(mesh)
        labels.append(np.full(mesh.num_faces, RAW_CLASSES.index(label), dtype=np.uint8))
        things.append(np.full(mesh.num_faces, thing, dtype=np.int32))

    for number, (label, mesh, _) in enumerate(stage.fixed):
        add(mesh, label, _FIRST_FIXED_THING + number)
    # What stands still is numbered first, so that fixed triangles come first in the table.
    entries = sorted(stage.actors, key=lambda entry: entry.moving)
    actors: list[Actor] = []
    num_movers = 0
    for instance, entry in enumerate(entries):
        mesh = entry.mesh
        if not entry.moving:
            position, yaw = entry.motion.pose(stage.course, 0.0)
            mesh = mesh.transformed(rotation_z(yaw), position)
        add(mesh, entry.category, instance)
        num_movers += entry.moving
        chosen = np.linspace(0, mesh.num_faces - 1, PROBES).astype(np.int64)
        probes = mesh.corners[chosen].astype(np.float64).mean(axis=1)
        pose = num_movers if entry.moving else 0
        actors.append(
            Actor(
                instance, entry.category, entry.attribute, *entry.mesh.bounds(), entry.motion, entry.moving,
                pose, probes,
            )
        )  # fmt: skip
    everything = join(meshes)
    sizes = np.array([m.num_faces for m in meshes])
    poses = np.repeat(np.maximum(np.arange(len(meshes)) - (len(meshes) - num_movers) + 1, 0), sizes)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    movers = [
        Mover(Tree(mesh.corners), int(start), *_sphere(mesh))
        for mesh, start in zip(
            meshes[len(meshes) - num_movers :], starts[len(meshes) - num_movers :], strict=False
        )
    ]
    num_fixed = int(starts[len(meshes) - num_movers])
    materials = book.table()
    table = np.empty((everything.num_faces, COLUMNS), dtype=np.float32)
    pack_faces(
        everything.corners, everything.normals, everything.uv, everything.material, materials.values, table
    )
    faces = Faces(
        everything.corners, table, everything.material,
        poses.astype(np.int32), np.concatenate(labels), np.concatenate(things),
    )  # fmt: skip
    sky = make_light(light)
    return World(
        faces, materials, Tracer(Tree(everything.corners[:num_fixed]), movers), tuple(actors),
        stage.course, stage.profile, stage.plan, stage.ego, sky, f"{sky.name}, {stage.summary()}",
    )  # fmt: skip


def _sphere(mesh: Mesh) -> tuple[np.ndarray, float]:
    """Middle (3,) float32 and radius of a sphere around a mesh."""
    low, high = mesh.bounds()
    centre = (0.5 * (low + high)).astype(np.float32)
    return centre, float(np.linalg.norm(mesh.corners.reshape(-1, 3) - centre, axis=1).max()) * 1.001
