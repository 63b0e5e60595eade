"""`lidardistill bench projection`: six cameras in one call against the frame-by-frame chain of nuScenes'
devkit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lidardistill.bench.harness.timing import alternate
from lidardistill.geometry import Pairing, intrinsics_to_cam2img, invert_rigid, pair_points
from lidardistill.geometry.rigid import rigid

CHANNELS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")
NUM_POINTS = 34_688  # of the real keyframe that the project was measured on


@dataclass(frozen=True)
class Rig:
    """One keyframe with its frames kept apart, as the devkit's chain needs them.

    Attributes:
        points: (N, 5) float32 LiDAR frame, metres; intensity and ring behind.
        lidar2ego: (4, 4) float64.
        ego2global: (4, 4) float64 at LiDAR time.
        cam2ego: (V, 4, 4) float64.
        cam_ego2global: (V, 4, 4) float64 at each camera's time.
        intrinsics: (V, 3, 3) float64 pixels.
        image_size: height, width in pixels.
    """

    points: np.ndarray
    lidar2ego: np.ndarray
    ego2global: np.ndarray
    cam2ego: np.ndarray
    cam_ego2global: np.ndarray
    intrinsics: np.ndarray
    image_size: tuple[int, int]

    def lidar2cam(self) -> np.ndarray:
        """(V, 4, 4) float64, composed."""
        lidar2global = self.ego2global @ self.lidar2ego
        return invert_rigid(self.cam2ego) @ invert_rigid(self.cam_ego2global) @ lidar2global


def run(rounds: int = 7, dataroot: Path | None = None) -> dict[str, Any]:
    """Alternates `pair_points` and `devkit_chain` in one process on one thread.

    Args:
        rounds: of five calls each.
        dataroot: a nuScenes root, whose first keyframe is used; None for a made-up sweep.

    Returns:
        What `alternate` returns, `input`, and `quality`: whether the pairs equal the numpy twin's to the bit,
        their number, and how many the baseline's float32 moves.
    """
    rig = synthetic_rig() if dataroot is None else read_rig(Path(dataroot))
    lidar2cam, cam2img = rig.lidar2cam(), intrinsics_to_cam2img(rig.intrinsics)

    def product(implementation: Any = "numba") -> Pairing:
        return pair_points(rig.points, lidar2cam, cam2img, rig.image_size, implementation=implementation)

    pairing, twin, baseline = product(), product("numpy"), devkit_chain(rig)
    figures = alternate(product, lambda: devkit_chain(rig), rounds)
    figures["baseline"]["name"] = "nuscenes-devkit's chain, float32, one camera at a time"
    return {
        "name": "projection",
        **figures,
        "input": {"source": str(dataroot or "synthetic"), "points": len(rig.points), "views": len(lidar2cam)},
        "quality": {
            "bit_equal_to_numpy_float64": all(
                np.array_equal(a, b) for a, b in zip(pairing, twin, strict=True)
            ),
            "pairs": len(pairing.pairing_points),
            "pairs_of_baseline": len(baseline[0]),
            "pairs_that_baseline_moves": num_differing_pairs(pairing[:2], baseline),
        },
    }


def devkit_chain(rig: Rig) -> tuple[np.ndarray, np.ndarray]:
    """The arithmetic, types and memory layout of nuScenes' devkit, which SLidR calls once a camera.

    The devkit keeps the points of a file as the transposed view of an (N, 4) float32 array, copies them for
    each camera, moves them through ego, global and ego frame in place, one coordinate row after the other,
    and projects in float64 with a padded camera matrix. Poses are given as matrices here, so reading tables
    costs it nothing.

    Args:
        rig: the keyframe.

    Returns:
        pairing_points (P,) int64 and pairing_images (P, 3) int64.
    """
    height, width = rig.image_size
    from_file = rig.points[:, :4].T
    rows, pixels = [], []
    for view in range(len(rig.intrinsics)):
        points = from_file.copy(order="K")
        for forward in (rig.lidar2ego, rig.ego2global):
            points[:3] = np.dot(forward[:3, :3], points[:3])
            for axis in range(3):
                points[axis] = points[axis] + forward[axis, 3]
        for backward in (rig.cam_ego2global[view], rig.cam2ego[view]):
            for axis in range(3):
                points[axis] = points[axis] - backward[axis, 3]
            points[:3] = np.dot(backward[:3, :3].T, points[:3])
        depth = points[2]
        padded = np.eye(4)
        padded[:3, :3] = rig.intrinsics[view]
        homogeneous = np.dot(padded, np.concatenate([points[:3], np.ones((1, points.shape[1]))]))[:3]
        uv = homogeneous / homogeneous[2:3].repeat(3, 0).reshape(3, -1)
        keep = (depth > 1.0) & (uv[0] > 0) & (uv[0] < width - 1) & (uv[1] > 0) & (uv[1] < height - 1)
        row_col = np.round(np.flip(uv[:2].T[keep], axis=1)).astype(np.int64)
        rows.append(np.flatnonzero(keep))
        pixels.append(np.concatenate([np.full((len(row_col), 1), view), row_col], axis=1))
    return np.concatenate(rows), np.concatenate(pixels)


def num_differing_pairs(ours: tuple[np.ndarray, np.ndarray], theirs: tuple[np.ndarray, np.ndarray]) -> int:
    """How many of our pairs (point, view, row, col) the other list does not hold."""
    as_sets = [set(map(tuple, np.column_stack(pairs).tolist())) for pairs in (ours, theirs)]
    return len(as_sets[0] - as_sets[1])


def read_rig(dataroot: Path) -> Rig:
    """The first keyframe of a nuScenes root, frames apart, read from the JSON tables.

    Args:
        dataroot: holds one folder `v1.0-*` with the tables.

    Returns:
        The keyframe.

    Raises:
        FileNotFoundError: no tables there.
    """
    tables = sorted(Path(dataroot).glob("v1.0-*/sample_data.json"))
    if not tables:
        raise FileNotFoundError(f"no nuScenes tables under {dataroot}: expected v1.0-*/sample_data.json")

    def table(name: str) -> list[dict[str, Any]]:
        return json.loads((tables[0].parent / f"{name}.json").read_bytes())

    sample = table("sample")[0]["token"]
    poses = {row["token"]: row for row in table("ego_pose")}
    sensors = {row["token"]: row["channel"] for row in table("sensor")}
    calibrations = {row["token"]: row for row in table("calibrated_sensor")}
    of_channel = {}
    for row in table("sample_data"):
        if row["sample_token"] == sample and row["is_key_frame"]:
            calibration = calibrations[row["calibrated_sensor_token"]]
            of_channel[sensors[calibration["sensor_token"]]] = (
                row,
                calibration,
                poses[row["ego_pose_token"]],
            )

    def pose(record: dict[str, Any]) -> np.ndarray:
        return rigid(record["rotation"], record["translation"])

    lidar, lidar_calibration, lidar_pose = of_channel["LIDAR_TOP"]
    cameras = [of_channel[channel] for channel in CHANNELS]
    return Rig(
        points=np.fromfile(Path(dataroot) / lidar["filename"], dtype=np.float32).reshape(-1, 5),
        lidar2ego=pose(lidar_calibration),
        ego2global=pose(lidar_pose),
        cam2ego=np.stack([pose(calibration) for _, calibration, _ in cameras]),
        cam_ego2global=np.stack([pose(ego) for _, _, ego in cameras]),
        intrinsics=np.array([calibration["camera_intrinsic"] for _, calibration, _ in cameras]),
        image_size=(cameras[0][0]["height"], cameras[0][0]["width"]),
    )


def synthetic_rig(num_points: int = NUM_POINTS, seed: int = 0) -> Rig:
    """A sweep of 32 beams over a road and a ring of walls, and six cameras placed about as on nuScenes' cars.

    Args:
        num_points: N, written column by column as the sensor fires.
        seed: of the walls' distances.

    Returns:
        The keyframe.
    """
    rng = np.random.default_rng(seed)
    column, beam = np.divmod(np.arange(num_points), 32)
    azimuth = -2 * np.pi * column / (column[-1] + 1)
    elevation = np.radians(np.linspace(-30.67, 10.67, 32))[beam]
    walls = np.repeat(rng.uniform(8.0, 60.0, size=72), -(-(column[-1] + 1) // 72))[column]
    road = np.where(elevation < -0.01, 1.84 / np.maximum(np.sin(-elevation), 1e-9), np.inf)
    distance = np.minimum(walls / np.cos(elevation), road) + rng.normal(0, 0.02, num_points)
    ray = [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    others = [rng.uniform(0, 255, num_points), beam]
    points = np.stack([*(axis * distance for axis in ray), *others], axis=1).astype(np.float32)

    yaws = np.radians([0.0, -55.0, -110.0, 180.0, 110.0, 55.0])
    # Camera z to the front, x to the right, y down, then turned about the vertical by the yaw.
    forward = np.array([0.5, -0.5, 0.5, -0.5])
    turns = np.stack([np.cos(yaws / 2), 0 * yaws, 0 * yaws, np.sin(yaws / 2)], axis=1)
    mounts = np.stack([0.9 + 0.8 * np.cos(yaws), 0.5 * np.sin(yaws), np.full(6, 1.5)], axis=1)
    focal = np.array([1266.0, 1266.0, 1266.0, 809.0, 1266.0, 1266.0])
    intrinsics = np.zeros((6, 3, 3))
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
    intrinsics[:, :, 2] = [816.0, 491.0, 1.0]
    # Kilometres from the origin of the map, and some centimetres of driving between the exposures.
    position = np.array([411.3, 1180.9, 0.0]) + np.linspace(-0.2, 0.1, 7)[:, None] * [0.8, 0.6, 0.0]
    heading = np.array([np.cos(0.32), 0.0, 0.0, np.sin(0.32)])
    ego2global = rigid(np.tile(heading, (7, 1)), position)
    return Rig(
        points=points,
        lidar2ego=rigid([np.sqrt(0.5), 0, 0, -np.sqrt(0.5)], [0.94, 0.0, 1.84]),
        ego2global=ego2global[-1],
        cam2ego=rigid(turns, mounts) @ rigid(np.tile(forward, (6, 1)), np.zeros((6, 3))),
        cam_ego2global=ego2global[:-1],
        intrinsics=intrinsics,
        image_size=(900, 1600),
    )
