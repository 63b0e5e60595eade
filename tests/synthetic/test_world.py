"""The world: a function of its seed, furnished with everything, its moving objects on their way."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
import pytest

from lidardistill.datasets.nuscenes.lidarseg_classes import CLASSES, RAW_CLASSES, RAW_TO_CLASS
from lidardistill.synthetic.place.world import World, build_scene

pytestmark = pytest.mark.slow


def digest(world: World) -> str:
    """A hash of everything that sensors can see."""
    faces = world.faces
    parts = [
        faces.corners,
        faces.table,
        faces.material,
        faces.label,
        world.materials.values,
        world.light.dome,
    ]
    return hashlib.sha256(b"".join(np.ascontiguousarray(p).tobytes() for p in parts)).hexdigest()


@lru_cache(maxsize=4)
def built(seed: int, palette: str = "natural") -> World:
    return build_scene(seed, palette=palette, duration_s=2.0)


@pytest.fixture
def world() -> World:
    return built(3)


def test_same_seed_same_bytes_and_other_seed_other_world(world: World) -> None:
    assert digest(build_scene(3, duration_s=2.0)) == digest(world)
    assert digest(built(4)) != digest(world)


def test_palettes_share_shapes_but_not_colours(world: World) -> None:
    other = built(3, "overlapping")
    assert np.array_equal(other.faces.corners, world.faces.corners)
    assert np.array_equal(other.faces.label, world.faces.label)
    assert not np.array_equal(other.materials.values, world.materials.values)


def test_overlapping_palette_hides_the_class_in_the_colour() -> None:
    """Hues of cars, buildings, ground and vegetation lie together in one palette and apart in the other."""

    def spread(palette: str) -> float:
        scenes = [built(3, palette), built(4, palette)]
        means = []
        for label in ("vehicle.car", "static.manmade", "flat.terrain", "static.vegetation"):
            used = [s.faces.material[s.faces.label == RAW_CLASSES.index(label)] for s in scenes]
            rows = [np.unique(u) for u in used]
            colour = np.concatenate([s.materials.values[r, :3] for s, r in zip(scenes, rows, strict=True)])
            means.append(np.median(colour / (colour.sum(axis=1, keepdims=True) + 1e-6), axis=0))
        return float(np.std(means, axis=0).sum())

    assert spread("overlapping") < 0.5 * spread("natural")


def test_every_class_is_there(world: World) -> None:
    present = {CLASSES[c] for c in np.unique(RAW_TO_CLASS[world.faces.label])}
    assert set(CLASSES[1:]) <= present


def test_moving_objects_keep_clear_of_each_other_and_of_the_ego_car() -> None:
    """Middles of moving boxes never come closer than the half lengths allow along one lane."""
    for scene in (built(3), built(4)):
        moving = [a for a in scene.actors if a.moving and a.category.startswith("vehicle")]
        assert moving
        for time_s in np.arange(0.0, 2.6, 0.5):
            ego = scene.ego_pose(time_s)[:2, 3]
            places = np.array([a.motion.pose(scene.course, time_s)[0][:2] for a in moving])
            assert np.linalg.norm(places - ego, axis=1).min() > 2.0
            gaps = np.linalg.norm(places[:, None] - places[None], axis=2) + 100 * np.eye(len(places))
            assert gaps.min() > 1.5


def test_trajectories_are_rigid_and_keep_their_speed(world: World) -> None:
    for actor in world.actors:
        a, yaw_a = actor.motion.pose(world.course, 0.5)
        b, yaw_b = actor.motion.pose(world.course, 0.6)
        speed = np.linalg.norm(b - a) / 0.1
        assert speed < 16.0
        assert (speed > 0.3) == actor.moving
        turn = (yaw_b - yaw_a + np.pi) % (2 * np.pi) - np.pi
        assert abs(turn) < 0.2
        if actor.moving and speed > 1.0:
            heading = np.arctan2(*(b - a)[1::-1])
            assert np.cos(heading - yaw_a) > 0.95


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"palette.*natural, overlapping.*sepia"):
        build_scene(0, palette="sepia")
    with pytest.raises(ValueError, match=r"seed.*-1"):
        build_scene(-1)
