"""What the embedded world's sensors saw, between the ray-caster and the nuScenes writer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rig:
    """Where the sensors sit on the car.

    Attributes:
        lidar2ego: (4, 4) float64.
        channels: V camera names, nuScenes' order.
        cam2ego: (V, 4, 4) float64.
        intrinsics: (V, 3, 3) float64 for `image_size`.
        image_size: height, width in pixels.
    """

    lidar2ego: np.ndarray
    channels: tuple[str, ...]
    cam2ego: np.ndarray
    intrinsics: np.ndarray
    image_size: tuple[int, int]


@dataclass(frozen=True)
class LidarScan:
    """One turn of the LiDAR.

    Attributes:
        timestamp_us: microseconds.
        ego2global: (4, 4) float64 at that time.
        points: (N, 5) float32 x, y, z (LiDAR frame, metres), intensity 0..255, ring 0..31.
        labels: (N,) uint8 raw nuScenes-lidarseg class, 0..31.
    """

    timestamp_us: int
    ego2global: np.ndarray
    points: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class CameraImage:
    """One picture.

    Attributes:
        channel: camera name.
        timestamp_us: microseconds; the camera clock differs from the LiDAR's.
        ego2global: (4, 4) float64 at that time.
        image: (H, W, 3) uint8 RGB.
    """

    channel: str
    timestamp_us: int
    ego2global: np.ndarray
    image: np.ndarray


@dataclass(frozen=True)
class AnnotatedBox:
    """One object in one keyframe, in the global frame at LiDAR time.

    Attributes:
        instance: number of the object, unique inside its scene and the same in every keyframe.
        category: nuScenes category name, such as `vehicle.car`.
        attribute: nuScenes attribute name, such as `vehicle.moving`, or None.
        center: (3,) float64 metres.
        size_wlh: (3,) float64 metres.
        yaw_rad: heading, counter-clockwise from global x.
        num_lidar_pts: LiDAR points inside the box.
        visibility: 1..4, share of the object visible in the cameras: 0-40, 40-60, 60-80, 80-100 percent.
    """

    instance: int
    category: str
    attribute: str | None
    center: np.ndarray
    size_wlh: np.ndarray
    yaw_rad: float
    num_lidar_pts: int
    visibility: int


@dataclass(frozen=True)
class Keyframe:
    """Everything recorded at one annotated instant; `sweeps` lead up to it."""

    lidar: LidarScan
    images: tuple[CameraImage, ...]
    boxes: tuple[AnnotatedBox, ...]
    sweeps: tuple[LidarScan, ...]


@dataclass(frozen=True)
class GroundMap:
    """Drivable area seen from above.

    Attributes:
        mask: (H, W) bool, row 0 at the largest global y, as an image.
        origin_xy: (2,) float64 global metres of the lower left corner.
        metres_per_pixel: size of a pixel.
    """

    mask: np.ndarray
    origin_xy: np.ndarray
    metres_per_pixel: float


@dataclass(frozen=True)
class MapPolygon:
    """A piece of ground: (n, 2) float64 corners in global metres, and those of its holes."""

    outline: np.ndarray
    holes: tuple[np.ndarray, ...] = ()


@dataclass(frozen=True)
class MapLayers:
    """What nuScenes' map expansion knows of the ground.

    Attributes:
        polygons: layer name, such as `walkway`, to its pieces.
        lines: layer name, such as `lane_divider`, to its (n, 2) float64 lines in global metres.
    """

    polygons: dict[str, tuple[MapPolygon, ...]]
    lines: dict[str, tuple[np.ndarray, ...]]


@dataclass(frozen=True)
class SceneRecording:
    """One drive. `keyframes` may be a generator, so that a scene never lies in memory whole.

    `map_layers` is None where only the drivable area is known.
    """

    name: str
    description: str
    rig: Rig
    ground_map: GroundMap
    keyframes: Iterable[Keyframe]
    map_layers: MapLayers | None = None
