"""Options and fixtures that every test may use."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.run_folders import make_arm, make_showcase
from tests.support.small_root import small_root
from tests.support.tiny_configs import configs, pretrained

__all__ = ["configs", "make_arm", "make_showcase", "pretrained", "small_root"]

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device", default="cpu", choices=["cpu", "cuda"], help="where the GPU-marked tests run"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--device") == "cuda":
        return
    skip = pytest.mark.skip(reason="needs a GPU: run with --device cuda")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("--device"))


@pytest.fixture(scope="session", autouse=True)
def one_thread_for_fixtures() -> None:
    """Fixtures of a session or module run on one thread, as the tests do."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks run on one thread; a test that sets another number does not change the next test."""
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(1)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """torch works on two threads until the test ends."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def nuscenes_one() -> Path:
    """The real nuScenes keyframe that stands beside the repository."""
    root = SHARED / "data" / "nuscenes-one"
    if not root.is_dir():
        pytest.skip(f"the real nuScenes keyframe is not here: {root}")
    return root


@pytest.fixture(scope="session")
def kitti_one() -> Path:
    """The real KITTI frame that stands beside the repository."""
    root = SHARED / "data" / "kitti-one"
    if not root.is_dir():
        pytest.skip(f"the real KITTI frame is not here: {root}")
    return root


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training and two validation scenes of two keyframes, 600 points, pictures of coloured patches,
    labels.

    Session-wide: a test that spoils files copies it first.
    """
    from lidardistill.synthetic.write.dataset import write_world

    return write_world(
        tmp_path_factory.mktemp("tiny") / "world",
        train_scenes=2,
        keyframes=2,
        image_size=(45, 80),
        workers=1,
        record=record_tiny,
    )


@pytest.fixture(scope="session")
def detection_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training and two validation scenes of five keyframes with boxes of every detection class and
    sweeps.

    Session-wide: a test that spoils files copies it first. See `tests.support.detection_world`.
    """
    from lidardistill.synthetic.write.dataset import write_world
    from tests.support.detection_world import KEYFRAMES, record_detection

    return write_world(
        tmp_path_factory.mktemp("detection") / "world",
        train_scenes=2,
        keyframes=KEYFRAMES,
        image_size=(45, 80),
        workers=1,
        record=record_detection,
    )


def record_tiny(name: str, seed: int, *, keyframes: int, image_size: tuple[int, int], palette: str):  # type: ignore[no-untyped-def]
    """A street of points without objects, for whatever does not need the ray-caster
    (`synthetic.Recorder`)."""
    from lidardistill.datasets.nuscenes.lidarseg_classes import RAW_CLASSES
    from lidardistill.datasets.nuscenes.tables import CAMERAS
    from lidardistill.synthetic.write.recording import (
        CameraImage,
        GroundMap,
        Keyframe,
        LidarScan,
        MapLayers,
        MapPolygon,
        Rig,
        SceneRecording,
    )

    def pose(yaw: float, x: float, y: float, z: float) -> np.ndarray:
        matrix = np.eye(4)
        matrix[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
        matrix[:3, 3] = x, y, z
        return matrix

    height, width = image_size
    optical = np.eye(4)  # camera x right, y down, z forward
    optical[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    yaws = np.radians([0, -55, -110, 180, 110, 55])
    intrinsics = np.array([[0.8 * width, 0, width / 2], [0, 0.8 * width, height / 2], [0, 0, 1]])
    rig = Rig(
        lidar2ego=pose(-np.pi / 2, 0.9, 0, 1.8),
        channels=CAMERAS,
        cam2ego=np.stack([pose(yaw, 1.5, 0, 1.5) @ optical for yaw in yaws]),
        intrinsics=np.tile(intrinsics, (len(CAMERAS), 1, 1)),
        image_size=image_size,
    )
    start_us = 1_500_000_000_000_000 + seed % 1000 * 10_000_000
    classes = [
        RAW_CLASSES.index(c) for c in ("flat.driveable_surface", "static.vegetation", "static.manmade")
    ]

    def stream():  # type: ignore[no-untyped-def]
        rng = np.random.default_rng(seed)
        for number in range(keyframes):
            time_us = start_us + 500_000 * number
            ego2global = pose(0.3, 2.0 * number, 1.0, 0.0)
            angle, distance = rng.uniform(0, 2 * np.pi, 600), rng.uniform(3, 25, 600)
            z = np.where(rng.random(600) < 0.5, -1.8, rng.uniform(-1.8, 2.0, 600))
            labels = np.array(classes, dtype=np.uint8)[(z > -1.7).astype(int) + (z > 0.5)]
            columns = [distance * np.cos(angle), distance * np.sin(angle), z, 40.0 * labels % 255, 0 * z]
            scan = LidarScan(time_us, ego2global, np.stack(columns, 1).astype(np.float32), labels)
            images = []
            for view, channel in enumerate(CAMERAS):
                patches = rng.integers(0, 256, (3, 5, 3), dtype=np.uint8)
                picture = patches.repeat(-(-height // 3), 0)[:height].repeat(-(-width // 5), 1)[:, :width]
                images.append(CameraImage(channel, time_us - 5_000 - view, ego2global, picture))
            yield Keyframe(scan, tuple(images), (), ())

    def piece(*corners: tuple[float, float], holes: tuple = ()) -> MapPolygon:  # type: ignore[type-arg]
        return MapPolygon(
            np.array(corners, dtype=float), tuple(np.array(hole, dtype=float) for hole in holes)
        )

    island = [(3.0, 2.0), (9.0, 2.0), (9.0, 4.0), (3.0, 4.0)]
    layers = MapLayers(
        {
            # The street leaves every patch on both sides; the side street is concave with its pavement.
            "drivable_area": (
                piece((-90, -4), (90, -4), (90, 7), (-90, 7), holes=(island,)),
                piece((-9, 7), (-3, 7), (-3, 20), (5, 20), (5, 25), (-9, 25)),
            ),
            "ped_crossing": (piece((12, -4), (15, -4), (15, 7), (12, 7)),),
            "walkway": (piece((-90, -7), (90, -7), (90, -4), (-90, -4)),),
            "stop_line": (piece((10, -4), (12, -4), (12, 1.5), (10, 1.5)),),
            "carpark_area": (piece((-20, 7), (-10, 8), (-10, 18), (-21, 19)),),
        },
        {
            "road_divider": (np.array([(-90.0, 1.5), (90.0, 1.5)]),),
            # Out of the patch and in again: two pieces of one line.
            "lane_divider": (np.array([(-10.0, -2.0), (0.0, -120.0), (20.0, -2.0), (25.0, -2.0)]),),
        },
    )
    ground = GroundMap(np.ones((40, 40), dtype=bool), np.array([-20.0, -20.0]), 1.0)
    return SceneRecording(name, "patches", rig, ground, stream(), layers)
