"""A drive with random contents, for tests that need a data set quickly.

Casts no rays and compiles nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lidardistill.datasets.nuscenes.lidarseg_classes import RAW_CLASSES
from lidardistill.synthetic.render.rig import make_rig
from lidardistill.synthetic.write.recording import CameraImage, GroundMap, Keyframe, LidarScan, SceneRecording

_POINTS = 2000
_FAR_M = 25.0
_PATCH_PX = 25
_KEYFRAME_US = 500_000
_START_US = 1_532_402_900_000_000


def record_noise(
    name: str, seed: int, *, keyframes: int, image_size: tuple[int, int], palette: str
) -> SceneRecording:
    """A standing car among random points, with pictures of random patches (`synthetic.dataset.Recorder`).

    Args:
        name: scene name, such as `scene-0061`.
        seed: any int >= 0.
        keyframes: annotated instants, 0.5 s apart; no boxes, no sweeps.
        image_size: height, width in pixels.
        palette: has no meaning here.
    """
    rig = make_rig(image_size)
    rng = np.random.default_rng(seed)

    def record() -> Iterator[Keyframe]:
        for k in range(keyframes):
            stamp = _START_US + k * _KEYFRAME_US
            images = (
                CameraImage(channel, stamp, np.eye(4), _patches(rng, image_size)) for channel in rig.channels
            )
            yield Keyframe(_scan(rng, stamp), tuple(images), (), ())

    ground = GroundMap(np.ones((8, 8), dtype=np.bool_), np.zeros(2), 1.0)
    return SceneRecording(name, f"Noise, seed {seed}", rig, ground, record())


def _scan(rng: np.random.Generator, stamp: int) -> LidarScan:
    """Points all around, between the road and a lorry's roof, each of a class of its own."""
    angle, distance = rng.uniform(0, 2 * np.pi, _POINTS), rng.uniform(3.0, _FAR_M, _POINTS)
    columns = [
        distance * np.cos(angle),
        distance * np.sin(angle),
        rng.uniform(-1.8, 2.0, _POINTS),
        rng.uniform(0, 255, _POINTS),
        rng.integers(0, 32, _POINTS),
    ]
    labels = rng.integers(1, len(RAW_CLASSES), _POINTS, dtype=np.uint8)
    return LidarScan(stamp, np.eye(4), np.stack(columns, axis=1).astype(np.float32), labels)


def _patches(rng: np.random.Generator, image_size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 squares of one colour each, so that there is something to segment."""
    height, width = image_size
    coarse = rng.integers(0, 256, (-(-height // _PATCH_PX), -(-width // _PATCH_PX), 3), dtype=np.uint8)
    return coarse.repeat(_PATCH_PX, axis=0).repeat(_PATCH_PX, axis=1)[:height, :width]
