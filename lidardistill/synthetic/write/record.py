"""Records one drive through one world with nuScenes' sensors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lidardistill.geometry.rigid import rigid
from lidardistill.synthetic.ground.map_layers import map_layers
from lidardistill.synthetic.place.world import World, build_scene
from lidardistill.synthetic.render.camera_render import render
from lidardistill.synthetic.render.lidar_scan import lidar_scan
from lidardistill.synthetic.render.rig import CAMERA_LEAD_S, make_rig
from lidardistill.synthetic.write.annotate import annotate
from lidardistill.synthetic.write.recording import (
    CameraImage,
    GroundMap,
    Keyframe,
    LidarScan,
    Rig,
    SceneRecording,
)

KEYFRAME_S = 0.5
"""nuScenes annotates at 2 Hz."""
FIRST_TIMESTAMP_US = 1_532_402_900_000_000
_CLOCK_JITTER_S = 0.0015


def record_scene(
    name: str,
    seed: int,
    *,
    keyframes: int = 8,
    image_size: tuple[int, int] = (450, 800),
    palette: str = "natural",
    sweeps_per_keyframe: int = 1,
) -> SceneRecording:
    """One drive; keyframes are rendered while they are taken from the generator.

    Args:
        name: scene name, such as `scene-0061`.
        seed: any int >= 0; with the other arguments it fixes every byte.
        keyframes: annotated instants, 0.5 s apart.
        image_size: height, width of the pictures in pixels.
        palette: "natural", or "overlapping" where classes share their colours.
        sweeps_per_keyframe: LiDAR turns between two keyframes, evenly spread; nuScenes has 9.

    Raises:
        ValueError: fewer than one keyframe, a negative number of sweeps, a tiny image, an unknown palette.
    """
    if keyframes < 1:
        raise ValueError(f"keyframes: expected at least 1, got {keyframes}.")
    if sweeps_per_keyframe < 0:
        raise ValueError(f"sweeps_per_keyframe: expected 0 or more, got {sweeps_per_keyframe}.")
    rig = make_rig(image_size)
    world = build_scene(seed, palette=palette, duration_s=KEYFRAME_S * keyframes)
    noise = np.random.SeedSequence([seed, 23])
    place = np.random.Generator(np.random.PCG64(noise.spawn(1)[0]))
    turn = 0.0
    world2global = rigid(
        np.array([np.cos(turn), 0.0, 0.0, np.sin(turn)]),
        np.array([place.uniform(500, 1200), place.uniform(800, 1600), 0.0]),
    )
    start_us = FIRST_TIMESTAMP_US + int(place.integers(0, 10**9)) * 1000
    frames = _keyframes(world, rig, world2global, start_us, noise, keyframes, sweeps_per_keyframe)
    return SceneRecording(
        name,
        f"Embedded world, seed {seed}: {world.description}",
        rig,
        _ground_map(world, world2global),
        frames,
        map_layers(world.course, world.profile, world.plan, world2global),
    )


def _stamp(start_us: int, time_s: float) -> tuple[int, float]:
    """Whole microseconds, and the time they stand for, so that poses belong to their timestamps exactly."""
    us = round(time_s * 1e6)
    return start_us + us, us * 1e-6


def _keyframes(
    world: World,
    rig: Rig,
    world2global: np.ndarray,
    start_us: int,
    noise: np.random.SeedSequence,
    keyframes: int,
    sweeps: int,
) -> Iterator[Keyframe]:
    seeds = noise.spawn(keyframes)

    def turn_at(time_s: float, rng: np.random.Generator) -> tuple[LidarScan, float]:
        stamp, exact = _stamp(start_us, time_s)
        pose = world.ego_pose(exact)
        return lidar_scan(world, pose, world2global @ pose, rig.lidar2ego, exact, stamp, rng), exact

    for k in range(keyframes):
        rng = np.random.Generator(np.random.PCG64(seeds[k]))
        time_s = (k + 1) * KEYFRAME_S + float(rng.uniform(-0.002, 0.002))
        before = time_s - KEYFRAME_S + 0.004
        between = tuple(
            turn_at(before + (time_s - before) * (j + 1) / (sweeps + 1), rng)[0] for j in range(sweeps)
        )
        lidar, exact = turn_at(time_s, rng)
        images, times = [], []
        for v, channel in enumerate(rig.channels):
            stamp, at = _stamp(
                start_us, time_s - float(CAMERA_LEAD_S[v]) + float(rng.uniform(-1, 1)) * _CLOCK_JITTER_S
            )
            pose = world.ego_pose(at)
            view = render(world, pose @ rig.cam2ego[v], rig.intrinsics[v], rig.image_size, at)
            images.append(CameraImage(channel, stamp, world2global @ pose, view.image))
            times.append(at)
        lidar2world = world.ego_pose(exact) @ rig.lidar2ego
        points_world = lidar.points[:, :3].astype(np.float64) @ lidar2world[:3, :3].T + lidar2world[:3, 3]
        boxes = annotate(world, rig, world2global, points_world, exact, times)
        yield Keyframe(lidar, tuple(images), boxes, between)


def _ground_map(world: World, world2global: np.ndarray, metres_per_pixel: float = 0.5) -> GroundMap:
    """The carriageway from above."""
    profile, course = world.profile, world.course
    s = np.arange(-110.0, 240.0, 0.25)
    d = np.arange(-profile.kerb(0), profile.kerb(1), 0.25)
    x, y, _ = course.at(s[:, None], d[None, :])
    xy = np.stack([x.ravel(), y.ravel()], axis=1) @ world2global[:2, :2].T + world2global[:2, 3]
    origin = np.floor(xy.min(axis=0)) - 10.0
    columns, rows = (np.ceil((xy.max(axis=0) + 10.0 - origin) / metres_per_pixel)).astype(int)
    mask = np.zeros((rows, columns), dtype=np.bool_)
    cell = ((xy - origin) / metres_per_pixel).astype(int)
    mask[rows - 1 - cell[:, 1], cell[:, 0]] = True
    return GroundMap(mask, origin, metres_per_pixel)
