"""A drive around a bend past one object of each detection class, with tilted sensors and
sweeps between keyframes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.spatial.transform import Rotation

from lidardistill.datasets.nuscenes.lidarseg_classes import RAW_CLASSES
from lidardistill.synthetic.render.rig import make_rig
from lidardistill.synthetic.write.recording import (
    AnnotatedBox,
    CameraImage,
    GroundMap,
    Keyframe,
    LidarScan,
    SceneRecording,
)

KEYFRAMES = 5
KEYFRAME_US = 500_000
SWEEP_US = 50_000
NUM_SWEEPS = 3
"""Before every keyframe but the first."""

POLE_XY = np.array([12.0, 6.0])
"""Global, metres; its points are of the class `static.manmade`."""

OBJECTS: tuple[tuple[str, str | None, tuple[float, float, float], float], ...] = (
    ("vehicle.car", "vehicle.moving", (4.5, 1.9, 1.7), 3.0),
    ("vehicle.car", "vehicle.parked", (4.4, 1.8, 1.5), 0.0),
    ("vehicle.truck", "vehicle.parked", (7.0, 2.5, 3.0), 0.0),
    ("vehicle.construction", "vehicle.parked", (6.0, 2.8, 3.1), 0.0),
    ("vehicle.bus.bendy", "vehicle.moving", (12.0, 2.9, 3.4), 4.0),
    ("vehicle.trailer", "vehicle.parked", (10.0, 2.4, 3.8), 0.0),
    ("movable_object.barrier", None, (0.5, 2.0, 1.0), 0.0),
    ("vehicle.motorcycle", "cycle.with_rider", (2.1, 0.8, 1.5), 5.0),
    ("vehicle.bicycle", "cycle.without_rider", (1.7, 0.6, 1.2), 0.0),
    ("human.pedestrian.child", "pedestrian.moving", (0.6, 0.5, 1.2), 1.0),
    ("movable_object.trafficcone", None, (0.4, 0.4, 0.9), 0.0),
    ("animal", None, (0.8, 0.4, 0.6), 1.0),
    ("static_object.bicycle_rack", None, (3.0, 1.0, 1.0), 0.0),
)
"""Category, attribute, length width height in metres, speed along the heading."""

ONCE, APART, GAP, EMPTY = 20, 21, 22, 23
"""Cars seen in keyframe 2 only; in the first and the last (2 s apart); in 1 and 3 (1 s apart); always,
without a point."""


def ego2global(seconds: float) -> np.ndarray:
    """(4, 4): a left-hand bend on a road that leans and climbs."""
    yaw = 0.4 + 0.5 * seconds
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("ZYX", [yaw, -0.03, 0.02]).as_matrix()
    pose[:3, 3] = 12 * (np.sin(yaw) - np.sin(0.4)), 12 * (np.cos(0.4) - np.cos(yaw)), 0.2 * seconds
    return pose


def placed(seconds: float, keyframe: int | None = None) -> Iterator[AnnotatedBox]:
    """The objects at a time; with a number of a keyframe, those that are annotated in it."""
    for number, (category, attribute, (length, width, height), speed) in enumerate(OBJECTS):
        angle = 2 * np.pi * number / len(OBJECTS)
        centre = np.array([4.0 + 18 * np.cos(angle), 6.0 + 18 * np.sin(angle), 1.0])
        centre[:2] += speed * seconds * np.array([np.cos(angle + 1.0), np.sin(angle + 1.0)])
        size = np.array([width, length, height])
        yield AnnotatedBox(number, category, attribute, centre, size, angle + 1.0, 6 + number, 1 + number % 4)
    cars = {ONCE: (2,), APART: (0, 4), GAP: (1, 3), EMPTY: range(KEYFRAMES)}
    for number, present in cars.items():
        if keyframe is None or keyframe in present:
            centre = np.array([4.0 + number % 7 - 3, -20.0 - 3 * (number - ONCE), 1.0])
            points = 0 if number == EMPTY else 8
            size = np.array([1.9, 4.4, 1.6])
            yield AnnotatedBox(
                number, "vehicle.car", "vehicle.stopped", centre, size, 0.1 * number, points, 4
            )


def record_detection(
    name: str, seed: int, *, keyframes: int, image_size: tuple[int, int], palette: str
) -> SceneRecording:
    """A `synthetic.Recorder`."""
    rig = make_rig(image_size)
    start_us = 1_500_000_000_000_000 + seed % 1000 * 10_000_000

    def scan(time_us: int, rng: np.random.Generator, keyframe: int | None = None) -> LidarScan:
        seconds = (time_us - start_us) * 1e-6
        parts, labels = [], []
        for box in placed(seconds, keyframe):
            width, length, height = box.size_wlh
            local = rng.uniform(-0.48, 0.48, (box.num_lidar_pts, 3)) * [length, width, height]
            turn = Rotation.from_euler("z", box.yaw_rad).as_matrix()
            parts.append(local @ turn.T + box.center)
            labels += [RAW_CLASSES.index(box.category)] * box.num_lidar_pts
        pole = np.concatenate([np.tile(POLE_XY, (30, 1)), rng.uniform(0.5, 4.0, (30, 1))], axis=1)
        lidar2global = ego2global(seconds) @ rig.lidar2ego
        near = np.concatenate([rng.uniform(-0.9, 0.9, (20, 2)), rng.uniform(-1.5, 0, (20, 1))], axis=1)
        road = np.concatenate([rng.uniform(-40, 40, (300, 2)), rng.uniform(-9, -6, (300, 1))], axis=1)
        in_global = np.concatenate([*parts, pole])
        inverse = np.linalg.inv(lidar2global)
        points = np.concatenate([in_global @ inverse[:3, :3].T + inverse[:3, 3], near, road])
        labels += [RAW_CLASSES.index("static.manmade")] * 30 + [RAW_CLASSES.index("vehicle.ego")] * 20
        labels += [RAW_CLASSES.index("flat.driveable_surface")] * 300
        columns = np.c_[points, rng.uniform(0, 255, len(points)), rng.integers(0, 32, len(points))]
        return LidarScan(time_us, ego2global(seconds), columns.astype(np.float32), np.array(labels, np.uint8))

    def stream() -> Iterator[Keyframe]:
        rng = np.random.default_rng(seed)
        for number in range(keyframes):
            time_us = start_us + number * KEYFRAME_US
            images = tuple(
                CameraImage(
                    channel,
                    time_us - 5_000 * (1 + view),
                    ego2global((time_us - start_us) * 1e-6 - 5e-3 * (1 + view)),
                    rng.integers(0, 256, (*image_size, 3), dtype=np.uint8),
                )
                for view, channel in enumerate(rig.channels)
            )
            sweeps = [scan(time_us - back * SWEEP_US, rng) for back in range(NUM_SWEEPS, 0, -1)]
            boxes = tuple(placed((time_us - start_us) * 1e-6, number))
            yield Keyframe(scan(time_us, rng, number), images, boxes, tuple(sweeps) if number else ())

    ground = GroundMap(np.ones((60, 60), dtype=bool), np.array([0.0, 0.0]), 1.0)
    return SceneRecording(name, "one object of each class", rig, ground, stream())
