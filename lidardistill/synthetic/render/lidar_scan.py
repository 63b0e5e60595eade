"""One turn of a 32-beam spinning LiDAR like nuScenes' HDL-32E.

The turn is taken at one instant: nuScenes' clouds are compensated for the ego car's motion, and what other
objects move in 50 ms is left out.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lidardistill.datasets.nuscenes.lidarseg_classes import RAW_CLASSES
from lidardistill.synthetic.matter.meshes import join
from lidardistill.synthetic.matter.shapes import box
from lidardistill.synthetic.matter.textures import LEVEL_START, atlas
from lidardistill.synthetic.place.world import World
from lidardistill.synthetic.render.face_table import reflectivity, surface_points
from lidardistill.synthetic.render.raycast import FAR_M, Tree
from lidardistill.synthetic.write.recording import LidarScan

NUM_RINGS = 32
NUM_AZIMUTHS = 1090
# Source: Velodyne HDL-32E manual: 32 beams from -30.67 to +10.67 degrees, 1.33 apart.
ELEVATION_DEG: np.ndarray = np.linspace(-30.67, 10.67, NUM_RINGS)
MAX_RANGE_M = 100.0
MIN_RANGE_M = 0.4
RANGE_NOISE_M = 0.02
EGO_LABEL = RAW_CLASSES.index("vehicle.ego")
_EGO_REFLECTIVITY = 0.3


@lru_cache(maxsize=1)
def _ego_car() -> Tree:
    """The carrier's own body, ego frame; only the LiDAR sees it."""
    parts = [
        box((4.05, 1.70, 0.58), (1.40, 0, 0.62), 0),
        box((2.2, 1.30, 0.45), (0.85, 0, 1.18), 0, taper=0.80),
    ]
    return Tree(join(parts).corners)


@lru_cache(maxsize=1)
def _beams() -> np.ndarray:
    """(NUM_AZIMUTHS, NUM_RINGS, 3) float64 unit directions in the LiDAR frame (x right, y forward)."""
    azimuth = -2 * np.pi * np.arange(NUM_AZIMUTHS) / NUM_AZIMUTHS
    elevation = np.radians(ELEVATION_DEG)
    flat = np.cos(elevation)[None, :]
    return np.stack(
        [
            flat * np.sin(azimuth)[:, None],
            flat * np.cos(azimuth)[:, None],
            np.broadcast_to(np.sin(elevation), (NUM_AZIMUTHS, NUM_RINGS)),
        ],
        axis=2,
    )


def scan(
    world: World, ego2world: np.ndarray, lidar2ego: np.ndarray, time_s: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One turn at one time.

    Args:
        world: the world.
        ego2world: (4, 4) float64 at that time.
        lidar2ego: (4, 4) float64.
        time_s: seconds since the drive began.
        rng: noise.

    Returns:
        points (N, 5) float32: x, y, z (LiDAR frame, metres), intensity 0..255, ring; labels (N,) uint8 raw
        class. In firing order; rays without return are left out.
    """
    lidar2world = ego2world @ lidar2ego
    turn = rng.uniform(0, 2 * np.pi / NUM_AZIMUTHS)
    c, s = np.cos(turn), np.sin(turn)
    beams = _beams().reshape(-1, 3) @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    count = len(beams)
    ring = np.tile(np.arange(NUM_RINGS), NUM_AZIMUTHS)
    directions = np.ascontiguousarray(beams @ lidar2world[:3, :3].T, dtype=np.float32)
    origin = lidar2world[:3, 3].astype(np.float32)
    at = world.placement(time_s)
    hits = world.tracer.intersect(np.tile(origin, (count, 1)), directions, at)

    inside = np.ascontiguousarray(beams @ lidar2ego[:3, :3].T, dtype=np.float32)
    own = _ego_car().intersect(np.tile(lidar2ego[:3, 3].astype(np.float32), (count, 1)), inside)
    ego_hit = (own.face >= 0) & (own.distance < hits.distance)

    points, normals = np.zeros_like(directions), np.zeros_like(directions)
    surface_points(
        origin,
        directions,
        hits.distance,
        hits.face,
        world.faces.table,
        world.faces.pose,
        at.rotation,
        points,
        normals,
    )
    albedo, glass = np.zeros(count, dtype=np.float32), np.zeros(count, dtype=np.float32)
    reflectivity(
        hits.face,
        hits.u,
        hits.v,
        world.faces.table,
        world.faces.material,
        world.materials.values,
        world.materials.texture,
        atlas()[1],
        LEVEL_START,
        albedo,
        glass,
    )
    incidence = np.clip(-np.einsum("nk,nk->n", normals, directions), 0.02, 1.0).astype(np.float64)
    incidence[ego_hit] = 0.5
    distance = np.where(ego_hit, own.distance, hits.distance).astype(np.float64)
    albedo = np.where(ego_hit, _EGO_REFLECTIVITY, albedo).astype(np.float64)
    glass = np.where(ego_hit, 0.0, glass).astype(np.float64)

    # Returns fade with distance, grazing angle and darkness; glass throws most light elsewhere.
    signal = (albedo * incidence + 0.002) * (60.0 / np.maximum(distance, 1.0)) ** 2
    chance = (
        signal / (signal + 0.012) * (1.0 - 0.75 * np.minimum(glass * 8.0, 1.0) * (1 - incidence**8)) * 0.995
    )
    kept = (rng.random(count) < chance) & (distance < min(MAX_RANGE_M, FAR_M)) & (distance > MIN_RANGE_M)
    kept &= (hits.face >= 0) | ego_hit
    noise = rng.normal(0.0, RANGE_NOISE_M, count)
    light = 95.0 * albedo * incidence**0.35 * np.exp(-distance / 130.0) * rng.normal(
        1.0, 0.08, count
    ) + rng.normal(0.0, 0.8, count)
    intensity = np.clip(np.round(light), 0, 255)
    xyz = beams * (distance + noise)[:, None]
    out = np.concatenate([xyz, intensity[:, None], ring[:, None]], axis=1).astype(np.float32)
    label = np.where(ego_hit, EGO_LABEL, world.faces.label[hits.face]).astype(np.uint8)
    return out[kept], label[kept]


def lidar_scan(
    world: World,
    ego2world: np.ndarray,
    ego2global: np.ndarray,
    lidar2ego: np.ndarray,
    time_s: float,
    timestamp_us: int,
    rng: np.random.Generator,
) -> LidarScan:
    """`scan` with its time and pose."""
    points, labels = scan(world, ego2world, lidar2ego, time_s, rng)
    return LidarScan(timestamp_us, ego2global, points, labels)
