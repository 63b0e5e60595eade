"""Boxes of a keyframe: tight around the meshes, with LiDAR points counted and visibility traced."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from lidardistill.synthetic.place.world import Actor, World
from lidardistill.synthetic.write.recording import AnnotatedBox, Rig

MARGIN_M = 0.03
"""Boxes are this much larger than the mesh on each side, for the range noise."""
RANGE_M = 75.0


def actor_pose(world: World, actor: Actor, time_s: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Centre (3,) in the world, size (3,) along x, y, z, and yaw of an actor's box."""
    position, yaw = actor.motion.pose(world.course, time_s)
    middle = 0.5 * (actor.low + actor.high).astype(np.float64)
    c, s = np.cos(yaw), np.sin(yaw)
    centre = position + np.array([c * middle[0] - s * middle[1], s * middle[0] + c * middle[1], middle[2]])
    return centre, (actor.high - actor.low).astype(np.float64) + 2 * MARGIN_M, yaw


def inside_box(points: np.ndarray, centre: np.ndarray, size: np.ndarray, yaw: float) -> np.ndarray:
    """(N,) bool: which (N, 3) points lie in a box with sizes along its own x, y, z."""
    local = points - centre
    c, s = np.cos(yaw), np.sin(yaw)
    x, y = c * local[:, 0] + s * local[:, 1], -s * local[:, 0] + c * local[:, 1]
    return (
        (np.abs(x) <= 0.5 * size[0]) & (np.abs(y) <= 0.5 * size[1]) & (np.abs(local[:, 2]) <= 0.5 * size[2])
    )


def annotate(
    world: World,
    rig: Rig,
    world2global: np.ndarray,
    points_world: np.ndarray,
    time_s: float,
    camera_times_s: Sequence[float],
) -> tuple[AnnotatedBox, ...]:
    """Boxes of every actor near the ego car that the LiDAR hit, as nuScenes keeps them.

    Args:
        world: the world.
        rig: sensors, for visibility.
        world2global: (4, 4) float64.
        points_world: (N, 3) LiDAR points in the world.
        time_s: LiDAR time.
        camera_times_s: (V,) time of each camera.
    """
    ego = world.ego_pose(time_s)[:3, 3]
    turn = float(np.arctan2(world2global[1, 0], world2global[0, 0]))
    near = []
    for actor in world.actors:
        centre, size, yaw = actor_pose(world, actor, time_s)
        if np.hypot(*(centre - ego)[:2]) > RANGE_M:
            continue
        near.append((actor, centre, size, yaw))
    counts = _count_inside(
        points_world,
        np.array([f[1] for f in near]).reshape(-1, 3),
        np.array([f[2] for f in near]).reshape(-1, 3),
        np.array([f[3] for f in near], dtype=np.float64),
    )
    hit = [(*f, int(count)) for f, count in zip(near, counts, strict=True) if count > 0]
    shares = visible_shares(world, rig, [f[0] for f in hit], camera_times_s)
    return tuple(
        AnnotatedBox(
            actor.instance, actor.category, actor.attribute,
            world2global[:3, :3] @ centre + world2global[:3, 3],
            np.array([size[1], size[0], size[2]]),
            float((yaw + turn + np.pi) % (2 * np.pi) - np.pi), count,
            1 + int(np.searchsorted([0.4, 0.6, 0.8], share, side="right")),
        )
        for (actor, centre, size, yaw, count), share in zip(hit, shares, strict=True)
    )  # fmt: skip


def visible_shares(world: World, rig: Rig, actors: Sequence[Actor], times_s: Sequence[float]) -> np.ndarray:
    """(len(actors),) largest share, over the cameras, of the probes on an object's front that a camera sees.

    Probes are centres of triangles. Triangles have no winding, so the half nearer to the camera is its front.
    """
    best = np.zeros(len(actors))
    if not actors:
        return best
    height, width = rig.image_size
    probes = np.stack([a.probes for a in actors])
    poses = np.array([a.pose for a in actors])
    numbers = np.array([a.instance for a in actors])
    for k, time_s in enumerate(times_s):
        at = world.placement(time_s)
        cam2world = world.ego_pose(time_s) @ rig.cam2ego[k]
        rays = np.einsum("apk,ajk->apj", probes, at.rotation[poses].astype(np.float64))
        rays += (at.shift[poses] - cam2world[:3, 3])[:, None]
        local = rays @ cam2world[:3, :3]
        uv = local[..., :2] / np.maximum(local[..., 2:], 1e-6) @ rig.intrinsics[k][:2, :2].T
        uv += rig.intrinsics[k][:2, 2]
        inside = (
            (local[..., 2] > 0.3) & (uv > -0.5).all(axis=2) & (uv < (width - 0.5, height - 0.5)).all(axis=2)
        )
        length = np.sqrt((rays * rays).sum(axis=2))
        front = length <= np.median(length, axis=1, keepdims=True)
        who, which = np.nonzero(inside & front)
        if len(who) == 0:
            continue
        far = length[who, which]
        direction = (rays[who, which] / far[:, None]).astype(np.float32)
        hits = world.tracer.intersect(
            np.tile(cam2world[:3, 3].astype(np.float32), (len(who), 1)), direction, at
        )
        seen = (world.faces.thing[hits.face] == numbers[who]) | (hits.distance > far - 0.02)
        best = np.maximum(best, np.bincount(who[seen], minlength=len(actors)) / front.sum(axis=1))
    return best


@njit(cache=True, nogil=True)
def _count_inside(points: np.ndarray, centre: np.ndarray, size: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """(B,) points inside each box, as `inside_box` tells one by one."""
    count = np.zeros(len(centre), dtype=np.int64)
    for b in range(len(centre)):
        c, s = np.cos(yaw[b]), np.sin(yaw[b])
        for i in range(len(points)):
            z = points[i, 2] - centre[b, 2]
            if abs(z) > 0.5 * size[b, 2]:
                continue
            x, y = points[i, 0] - centre[b, 0], points[i, 1] - centre[b, 1]
            if abs(c * x + s * y) <= 0.5 * size[b, 0] and abs(-s * x + c * y) <= 0.5 * size[b, 1]:
                count[b] += 1
    return count
