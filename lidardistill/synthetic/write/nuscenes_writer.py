"""Writes a recorded drive as nuScenes does: files of every sensor, and the rows that describe them.

Source: the nuScenes schema (nuscenes-devkit, docs/schema_nuscenes.md) and nuScenes-lidarseg.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from lidardistill.datasets.nuscenes.lidarseg_classes import RAW_CLASSES
from lidardistill.datasets.nuscenes.tables import CAMERAS, LIDAR
from lidardistill.geometry.rigid import rotation_to_quaternion
from lidardistill.synthetic.write.map_expansion import write_map_expansion
from lidardistill.synthetic.write.recording import (
    AnnotatedBox,
    CameraImage,
    GroundMap,
    Keyframe,
    LidarScan,
    MapLayers,
    SceneRecording,
)
from lidardistill.synthetic.write.static_tables import (
    ATTRIBUTES,
    TABLE_NAMES,
    VERSION,
    VISIBILITIES,
    Table,
    Tables,
    make_token,
)

JPEG_QUALITY = 92

MAP_METRES_PER_PIXEL = 0.1
"""The devkit's MapMask takes every map at this resolution, whatever it is told."""


def write_scene(
    root: Path,
    recording: SceneRecording,
    *,
    seed: int,
    on_keyframe: Callable[[], None] | None = None,
) -> Tables:
    """Writes the files of one drive and returns its rows; `write_tables` puts those on disk.

    The global frame is moved so that the lower left corner of the map is its origin, because the devkit's
    MapMask has no origin of its own.

    Args:
        root: dataroot; folders are created as needed.
        recording: the drive; its keyframes are taken one at a time.
        seed: seed of the world; part of every token.
        on_keyframe: called after each keyframe has been written.

    Returns:
        Rows by table name; the tables that do not depend on the drive are empty.

    Raises:
        ValueError: if the recording contradicts itself or names what nuScenes does not know.
    """
    return _SceneWriter(root, recording, seed).write(on_keyframe)


def rasterize_map(ground_map: GroundMap) -> np.ndarray:
    """Brings the drivable area to the devkit's resolution by nearest neighbour.

    Args:
        ground_map: the drivable area.

    Returns:
        (H, W) uint8, 255 where drivable; the lower left corner of the last row is `origin_xy`.
    """
    height, width = ground_map.mask.shape
    scale = ground_map.metres_per_pixel / MAP_METRES_PER_PIXEL

    def source(size: int) -> np.ndarray:
        # 1e-9: 40 pixels of 0.28 m come to 112.00000000000001, which shall not become 113.
        centres = (np.arange(math.ceil(size * scale - 1e-9)) + 0.5) / scale
        return np.minimum(centres.astype(np.int64), size - 1)

    from_below = ground_map.mask[::-1][source(height)[:, None], source(width)[None, :]]
    return np.where(from_below[::-1], np.uint8(255), np.uint8(0))


class _SceneWriter:
    """Rows of one drive while they grow, and the links between them."""

    def __init__(self, root: Path, recording: SceneRecording, seed: int) -> None:
        self.root = root
        self.recording = recording
        self.seed = seed
        self.scene = recording.name
        self.logfile = f"lidardistill-{recording.name}"
        self.location = f"synthetic-{recording.name}"
        self.tables: Tables = {name: [] for name in TABLE_NAMES}
        self.shift = np.zeros(3)
        self.shift[:2] = -np.asarray(recording.ground_map.origin_xy, dtype=np.float64)
        self.last_of_channel: dict[str, dict[str, Any]] = {}
        self.instances: dict[int, Table] = {}
        self.category_of: dict[int, str] = {}

    def token(self, *parts: str | int) -> str:
        return make_token(self.seed, self.scene, *parts)

    def write(self, on_keyframe: Callable[[], None] | None) -> Tables:
        channels = self.recording.rig.channels
        unknown = sorted(set(channels) - set(CAMERAS))
        if unknown:
            raise ValueError(f"{self.scene}: unknown cameras {unknown}; nuScenes has {', '.join(CAMERAS)}")
        for channel in (*channels, LIDAR):
            (self.root / "samples" / channel).mkdir(parents=True, exist_ok=True)
        for folder in (f"sweeps/{LIDAR}", f"lidarseg/{VERSION}", "maps"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)

        self._add_log_and_map()
        self._add_calibration()
        for number, keyframe in enumerate(self.recording.keyframes):
            self._add_keyframe(number, keyframe)
            if on_keyframe is not None:
                on_keyframe()
        self._add_scene()
        self._add_instances()
        return self.tables

    def _add_log_and_map(self) -> None:
        log = self.token("log")
        name = f"maps/{self.token('map')}.png"
        Image.fromarray(rasterize_map(self.recording.ground_map)).save(self.root / name)
        write_map_expansion(
            self.root,
            self.location,
            self.recording.map_layers or MapLayers({}, {}),
            shift=self.shift[:2],
            canvas_edge_m=_extent(self.recording.ground_map),
            token=self.token,
        )
        self.tables["log"].append(
            {
                "token": log,
                "logfile": self.logfile,
                "vehicle": "lidardistill",
                "date_captured": "2018-01-01",
                "location": self.location,
            }
        )
        self.tables["map"].append(
            {
                "token": self.token("map"),
                "log_tokens": [log],
                "category": "semantic_prior",
                "filename": name,
            }
        )

    def _add_calibration(self) -> None:
        rig = self.recording.rig
        sensors: list[tuple[str, np.ndarray, list[list[float]]]] = [(LIDAR, rig.lidar2ego, [])]
        for channel, cam2ego, intrinsics in zip(rig.channels, rig.cam2ego, rig.intrinsics, strict=True):
            sensors.append((channel, cam2ego, np.asarray(intrinsics, dtype=np.float64).tolist()))
        for channel, sensor2ego, camera_intrinsic in sensors:
            self.tables["calibrated_sensor"].append(
                {
                    "token": self.token("calibrated_sensor", channel),
                    "sensor_token": make_token(self.seed, "sensor", channel),
                    **_pose(sensor2ego),
                    "camera_intrinsic": camera_intrinsic,
                }
            )

    def _add_keyframe(self, number: int, keyframe: Keyframe) -> None:
        sample = self.token("sample", number)
        previous = self.tables["sample"][-1] if self.tables["sample"] else None
        if previous is not None:
            previous["next"] = sample
        self.tables["sample"].append(
            {
                "token": sample,
                "timestamp": int(keyframe.lidar.timestamp_us),
                "prev": previous["token"] if previous is not None else "",
                "next": "",
                "scene_token": self.token("scene"),
            }
        )
        for sweep in keyframe.sweeps:
            self._add_scan(sample, sweep, is_key_frame=False)
        scan = self._add_scan(sample, keyframe.lidar, is_key_frame=True)
        self._add_labels(scan, keyframe.lidar.labels)

        recorded = [image.channel for image in keyframe.images]
        if sorted(recorded) != sorted(self.recording.rig.channels):
            raise ValueError(
                f"{self.scene}, keyframe {number}: one image of each camera of the rig "
                f"({', '.join(self.recording.rig.channels)}) is needed, got {', '.join(recorded)}"
            )
        for image in keyframe.images:
            self._add_image(sample, image)
        for box in keyframe.boxes:
            self._add_box(sample, number, box)

    def _add_scan(self, sample: str, scan: LidarScan, *, is_key_frame: bool) -> str:
        points = np.asarray(scan.points)
        if points.dtype != np.float32 or points.ndim != 2 or points.shape[1] != 5:
            raise ValueError(
                f"{self.scene}: points at {scan.timestamp_us} us must be (N, 5) float32 x y z intensity "
                "ring, "
                f"got {points.shape} {points.dtype}"
            )
        if scan.labels.shape != points.shape[:1] or scan.labels.dtype != np.uint8:
            raise ValueError(
                f"{self.scene}: labels at {scan.timestamp_us} us must be ({len(points)},) uint8, "
                f"got {scan.labels.shape} {scan.labels.dtype}"
            )
        row = self._sample_data(
            sample, LIDAR, scan.timestamp_us, scan.ego2global, is_key_frame, "pcd", (0, 0)
        )
        (self.root / row["filename"]).write_bytes(points.astype("<f4", copy=False).tobytes())
        return row["token"]

    def _add_labels(self, scan_token: str, labels: np.ndarray) -> None:
        if labels.size and labels.max() >= len(RAW_CLASSES):
            raise ValueError(f"{self.scene}: raw labels are 0..{len(RAW_CLASSES) - 1}, got {labels.max()}")
        name = f"lidarseg/{VERSION}/{scan_token}_lidarseg.bin"
        (self.root / name).write_bytes(labels.tobytes())
        self.tables["lidarseg"].append(
            {"token": scan_token, "sample_data_token": scan_token, "filename": name}
        )

    def _add_image(self, sample: str, image: CameraImage) -> None:
        height, width = self.recording.rig.image_size
        if image.image.shape != (height, width, 3) or image.image.dtype != np.uint8:
            raise ValueError(
                f"{self.scene}: the image of {image.channel} must be ({height}, {width}, 3) uint8, "
                f"got {image.image.shape} {image.image.dtype}"
            )
        row = self._sample_data(
            sample, image.channel, image.timestamp_us, image.ego2global, True, "jpg", (height, width)
        )
        jpeg = simplejpeg.encode_jpeg(
            np.ascontiguousarray(image.image), quality=JPEG_QUALITY, colorspace="RGB", colorsubsampling="420"
        )
        (self.root / row["filename"]).write_bytes(jpeg)

    def _sample_data(
        self,
        sample: str,
        channel: str,
        timestamp_us: int,
        ego2global: np.ndarray,
        is_key_frame: bool,
        fileformat: str,
        size: tuple[int, int],
    ) -> dict[str, Any]:
        """Adds a row to sample_data, linked to the one before it on this channel, and its own ego pose."""
        # The file is named after its time, and the chain is the order of time: both need it to grow.
        previous = self.last_of_channel.get(channel)
        if previous is not None and timestamp_us <= previous["timestamp"]:
            raise ValueError(
                f"{self.scene}: {channel} at {timestamp_us} us follows {previous['timestamp']} us; "
                "the times of a channel must grow"
            )
        token = self.token("sample_data", channel, int(timestamp_us))
        ending = "pcd.bin" if fileformat == "pcd" else fileformat
        folder = "samples" if is_key_frame else "sweeps"
        row = {
            "token": token,
            "sample_token": sample,
            "ego_pose_token": token,
            "calibrated_sensor_token": self.token("calibrated_sensor", channel),
            "timestamp": int(timestamp_us),
            "fileformat": fileformat,
            "is_key_frame": is_key_frame,
            "height": size[0],
            "width": size[1],
            "filename": f"{folder}/{channel}/{self.logfile}__{channel}__{int(timestamp_us)}.{ending}",
            "prev": "" if previous is None else previous["token"],
            "next": "",
        }
        if previous is not None:
            previous["next"] = token
        self.last_of_channel[channel] = row
        self.tables["sample_data"].append(row)
        self.tables["ego_pose"].append(
            {"token": token, "timestamp": int(timestamp_us), **_pose(ego2global, self.shift)}
        )
        return row

    def _add_box(self, sample: str, number: int, box: AnnotatedBox) -> None:
        if box.category not in RAW_CLASSES:
            raise ValueError(f"{self.scene}: {box.category!r} is not a nuScenes category")
        if box.attribute is not None and box.attribute not in ATTRIBUTES:
            raise ValueError(
                f"{self.scene}: {box.attribute!r} is no nuScenes attribute; they are {ATTRIBUTES}"
            )
        if str(box.visibility) not in VISIBILITIES:
            raise ValueError(f"{self.scene}: visibility must be 1..4, got {box.visibility}")
        if self.category_of.setdefault(box.instance, box.category) != box.category:
            raise ValueError(
                f"{self.scene}: instance {box.instance} was {self.category_of[box.instance]} and is now "
                f"{box.category}; an object keeps its category"
            )
        chain = self.instances.setdefault(box.instance, [])
        row = {
            "token": self.token("sample_annotation", box.instance, number),
            "sample_token": sample,
            "instance_token": self.token("instance", box.instance),
            "visibility_token": str(box.visibility),
            "attribute_tokens": []
            if box.attribute is None
            else [make_token(self.seed, "attribute", box.attribute)],
            "translation": (np.asarray(box.center, dtype=np.float64) + self.shift).tolist(),
            "size": np.asarray(box.size_wlh, dtype=np.float64).tolist(),
            "rotation": [math.cos(box.yaw_rad / 2), 0.0, 0.0, math.sin(box.yaw_rad / 2)],
            "prev": "",
            "next": "",
            "num_lidar_pts": int(box.num_lidar_pts),
            "num_radar_pts": 0,
        }
        if chain:
            if chain[-1]["sample_token"] == sample:
                raise ValueError(
                    f"{self.scene}, keyframe {number}: instance {box.instance} stands there twice"
                )
            row["prev"] = chain[-1]["token"]
            chain[-1]["next"] = row["token"]
        chain.append(row)
        self.tables["sample_annotation"].append(row)

    def _add_scene(self) -> None:
        samples = self.tables["sample"]
        if not samples:
            raise ValueError(f"{self.scene}: a scene needs at least one keyframe, got none")
        self.tables["scene"].append(
            {
                "token": self.token("scene"),
                "log_token": self.token("log"),
                "nbr_samples": len(samples),
                "first_sample_token": samples[0]["token"],
                "last_sample_token": samples[-1]["token"],
                "name": self.scene,
                "description": self.recording.description,
            }
        )

    def _add_instances(self) -> None:
        for instance, chain in self.instances.items():
            self.tables["instance"].append(
                {
                    "token": self.token("instance", instance),
                    "category_token": make_token(self.seed, "category", self.category_of[instance]),
                    "nbr_annotations": len(chain),
                    "first_annotation_token": chain[0]["token"],
                    "last_annotation_token": chain[-1]["token"],
                }
            )


def _extent(ground_map: GroundMap) -> tuple[float, float]:
    """Width and height of the map, metres."""
    height, width = ground_map.mask.shape
    return width * ground_map.metres_per_pixel, height * ground_map.metres_per_pixel


def _pose(matrix: np.ndarray, shift: np.ndarray | float = 0.0) -> dict[str, list[float]]:
    """Splits a (4, 4) rigid matrix into nuScenes' quaternion (w, x, y, z) and translation in metres."""
    matrix = np.asarray(matrix, dtype=np.float64)
    return {
        "translation": (matrix[:3, 3] + shift).tolist(),
        "rotation": np.asarray(rotation_to_quaternion(matrix[:3, :3]), dtype=np.float64).tolist(),
    }
