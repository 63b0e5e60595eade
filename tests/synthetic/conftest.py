"""A recording made of a few boxes and noise, for what does not need the ray-caster."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from lidardistill.datasets.nuscenes.lidarseg_classes import RAW_CLASSES
from lidardistill.datasets.nuscenes.tables import CAMERAS
from lidardistill.synthetic.write.recording import (
    AnnotatedBox,
    CameraImage,
    GroundMap,
    Keyframe,
    LidarScan,
    Rig,
    SceneRecording,
)

KEYFRAME_US = 500_000
EGO_SPEED = 5.0
CAR_VELOCITY = np.array([3.0, 1.0, 0.0])
OBJECTS = (
    ("vehicle.car", "vehicle.moving"),
    ("vehicle.truck", "vehicle.parked"),
    ("vehicle.bus.rigid", "vehicle.stopped"),
    ("vehicle.trailer", "vehicle.parked"),
    ("vehicle.construction", "vehicle.parked"),
    ("human.pedestrian.adult", "pedestrian.standing"),
    ("vehicle.motorcycle", "cycle.without_rider"),
    ("vehicle.bicycle", "cycle.with_rider"),
    ("movable_object.trafficcone", None),
    ("movable_object.barrier", None),
)
"""One object of each class of the detection task; the car moves."""


def turn(yaw: float, translation: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:2, :2] = [[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]]
    matrix[:3, 3] = translation
    return matrix


def make_rig(image_size: tuple[int, int]) -> Rig:
    height, width = image_size
    optical = np.eye(4)  # camera x right, y down, z forward, seen from the ego frame
    optical[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    yaws = np.radians([0, -55, -110, 180, 110, 55])
    return Rig(
        lidar2ego=turn(-math.pi / 2, (0.94, 0.0, 1.84)),
        channels=CAMERAS,
        cam2ego=np.stack([turn(yaw, (1.5, 0.1, 1.5)) @ optical for yaw in yaws]),
        intrinsics=np.tile([[0.8 * width, 0, width / 2], [0, 0.8 * width, height / 2], [0, 0, 1]], (6, 1, 1)),
        image_size=image_size,
    )


def fake_record(
    name: str, seed: int, *, keyframes: int, image_size: tuple[int, int], palette: str
) -> SceneRecording:
    rig = make_rig(image_size)
    start_us = 1_500_000_000_000_000 + seed % 1000 * 10_000_000

    def ego2global(time_us: int) -> np.ndarray:
        travelled = EGO_SPEED * (time_us - start_us) * 1e-6
        return turn(0.3, (4.0 + travelled * math.cos(0.3), -7.0 + travelled * math.sin(0.3), 0.0))

    def boxes(time_us: int) -> list[AnnotatedBox]:
        seconds = (time_us - start_us) * 1e-6
        placed = []
        for number, (category, attribute) in enumerate(OBJECTS):
            angle = 2 * math.pi * number / len(OBJECTS)
            center = np.array([6.0 + 20 * math.cos(angle), -6.0 + 20 * math.sin(angle), 0.9])
            if number == 0:
                center = center + CAR_VELOCITY * seconds
            size = np.array([1.9, 4.5, 1.7]) if category.startswith("vehicle") else np.array([0.7, 0.6, 1.2])
            placed.append(
                AnnotatedBox(number, category, attribute, center, size, angle, 3 + number, 1 + number % 4)
            )
        return placed

    def scan(time_us: int, rng: np.random.Generator) -> LidarScan:
        global2lidar = np.linalg.inv(ego2global(time_us) @ rig.lidar2ego)
        parts, labels = [], []
        for box in boxes(time_us):
            width, length, height = box.size_wlh
            inside = rng.uniform(-0.49, 0.49, (box.num_lidar_pts, 3)) * [length, width, height]
            world = inside @ turn(box.yaw_rad, (0, 0, 0))[:3, :3].T + box.center
            parts.append(world @ global2lidar[:3, :3].T + global2lidar[:3, 3])
            labels += [RAW_CLASSES.index(box.category)] * box.num_lidar_pts
        noise = rng.uniform(-40, 40, (300, 3))
        noise[:, 2] = rng.uniform(-20, -10, 300)  # far below every box
        points = np.concatenate([*parts, noise])
        extra = np.stack([rng.uniform(0, 255, len(points)), rng.integers(0, 32, len(points))], axis=1)
        labels += list(rng.integers(0, 32, 300))
        return LidarScan(
            time_us,
            ego2global(time_us),
            np.concatenate([points, extra], axis=1).astype(np.float32),
            np.array(labels, dtype=np.uint8),
        )

    def stream() -> Iterator[Keyframe]:
        rng = np.random.default_rng(seed)
        for number in range(keyframes):
            time_us = start_us + number * KEYFRAME_US
            images = tuple(
                CameraImage(
                    channel,
                    time_us - 7_000 - view,
                    ego2global(time_us - 7_000 - view),
                    rng.integers(0, 255, (*image_size, 3), dtype=np.uint8),
                )
                for view, channel in enumerate(rig.channels)
            )
            sweeps = tuple(scan(time_us - back, rng) for back in (100_000, 50_000)) if number else ()
            yield Keyframe(scan(time_us, rng), images, tuple(boxes(time_us)), sweeps)

    mask = np.zeros((80, 120), dtype=bool)
    mask[30:50, :] = True
    return SceneRecording(
        name, "boxes and noise", rig, GroundMap(mask, np.array([-20.0, -30.0]), 0.5), stream()
    )


@pytest.fixture(scope="session")
def recorder() -> Callable[..., SceneRecording]:
    return fake_record


@pytest.fixture(scope="session")
def fake_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three train scenes and both validation scenes of boxes and noise."""
    from lidardistill.synthetic.write.dataset import write_world

    return write_world(
        tmp_path_factory.mktemp("worlds") / "fake",
        train_scenes=3,
        keyframes=4,
        image_size=(30, 52),
        workers=1,
        record=fake_record,
    )


def digest_of_tree(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@pytest.fixture(scope="session")
def tree_digest() -> Callable[[Path], str]:
    return digest_of_tree
