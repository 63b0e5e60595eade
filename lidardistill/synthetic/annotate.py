"""Boxes of a keyframe: tight around the meshes, with LiDAR points counted and visibility traced."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lidardistill.synthetic.recording import AnnotatedBox, Rig
from lidardistill.synthetic.world import Actor, World

MARGIN_M = 0.03
"""Boxes are this much larger than the mesh on each side, for the range noise."""
RANGE_M = 75.0
_PROBES = 48


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
    boxes = []
    for actor in world.actors:
        centre, size, yaw = actor_pose(world, actor, time_s)
        if np.hypot(*(centre - ego)[:2]) > RANGE_M:
            continue
        count = int(inside_box(points_world, centre, size, yaw).sum())
        if count == 0:
            continue
        share = _visible_share(world, rig, actor, camera_times_s)
        level = 1 + int(np.searchsorted([0.4, 0.6, 0.8], share, side="right"))
        boxes.append(
            AnnotatedBox(
                actor.instance, actor.category, actor.attribute,
                world2global[:3, :3] @ centre + world2global[:3, 3],
                np.array([size[1], size[0], size[2]]),
                float((yaw + turn + np.pi) % (2 * np.pi) - np.pi), count, level,
            )
        )  # fmt: skip
    return tuple(boxes)


def _visible_share(world: World, rig: Rig, actor: Actor, times_s: Sequence[float]) -> float:
    """The largest share, over the cameras, of probes on the object's front that a camera sees."""
    rows = np.flatnonzero(world.faces.thing == actor.instance)
    rows = rows[:: max(1, len(rows) // (2 * _PROBES))]
    corners = world.faces.corners[rows].astype(np.float64)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    middle = corners.mean(axis=1)
    height, width = rig.image_size
    best = 0.0
    for k, time_s in enumerate(times_s):
        at = world.placement(time_s)
        pose = world.faces.pose[rows[0]]
        probes = middle @ at.rotation[pose].T.astype(np.float64) + at.shift[pose]
        facing = normal @ at.rotation[pose].T.astype(np.float64)
        cam2world = world.ego_pose(time_s) @ rig.cam2ego[k]
        ray = probes - cam2world[:3, 3]
        local = ray @ cam2world[:3, :3]
        inside = local[:, 2] > 0.3
        uv = (
            local[:, :2] / np.maximum(local[:, 2:3], 1e-6) @ rig.intrinsics[k][:2, :2].T
            + rig.intrinsics[k][:2, 2]
        )
        inside &= (uv[:, 0] > -0.5) & (uv[:, 0] < width - 0.5) & (uv[:, 1] > -0.5) & (uv[:, 1] < height - 0.5)
        if not inside.any():
            continue
        length = np.linalg.norm(ray, axis=1)
        # Triangles have no winding: those nearer than the object's middle count as its front.
        front = length < np.median(length) + 1e-3
        del facing
        use = np.flatnonzero(inside & front)
        if len(use) == 0:
            continue
        direction = np.ascontiguousarray(ray[use] / length[use, None], dtype=np.float32)
        origin = np.tile(cam2world[:3, 3].astype(np.float32), (len(use), 1))
        hits = world.tracer.intersect(origin, direction, at)
        same = (hits.face >= 0) & (world.faces.thing[hits.face] == actor.instance)
        best = max(best, float(same.sum()) / max(int(front.sum()), 1))
    return best
