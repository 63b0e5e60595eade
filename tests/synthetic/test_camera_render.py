"""Pictures: what the LiDAR hits is where the cameras show it, and shortcuts change nearly nothing."""

from __future__ import annotations

import numpy as np
import pytest

from lidardistill.geometry.rigid import invert_rigid
from lidardistill.synthetic.place.world import World, build_scene
from lidardistill.synthetic.render.camera_render import render
from lidardistill.synthetic.render.lidar_scan import EGO_LABEL, scan
from lidardistill.synthetic.render.rig import make_rig

pytestmark = pytest.mark.slow

SIZE = (90, 160)
TIME_S = 0.5


@pytest.fixture(scope="module")
def world() -> World:
    return build_scene(3, duration_s=1.0)


def test_lidar_points_land_on_their_class_in_the_pictures(world: World) -> None:
    """At one common time, points that the camera sees (by its depth) project onto pixels of their own
    class.
    """
    rig = make_rig(SIZE)
    ego = world.ego_pose(TIME_S)
    points, labels = scan(world, ego, rig.lidar2ego, TIME_S, np.random.default_rng(0))
    points, labels = points[labels != EGO_LABEL], labels[labels != EGO_LABEL]
    total, agree = 0, 0
    for cam2ego, k in zip(rig.cam2ego, rig.intrinsics, strict=True):
        view = render(world, ego @ cam2ego, k, SIZE, TIME_S)
        local = points[:, :3] @ (invert_rigid(cam2ego) @ rig.lidar2ego)[:3, :3].T
        local = local + (invert_rigid(cam2ego) @ rig.lidar2ego)[:3, 3]
        depth = local[:, 2]
        uv = local[:, :2] / np.maximum(depth[:, None], 1e-6) * k.diagonal()[:2] + k[:2, 2]
        column, row = np.round(uv).astype(int).T
        inside = (depth > 1) & (row >= 0) & (row < SIZE[0]) & (column >= 0) & (column < SIZE[1])
        shown = view.depth[row[inside], column[inside]]
        visible = np.abs(shown - depth[inside]) < 0.03 * depth[inside] + 0.15
        assert visible.mean() > 0.6
        total += visible.sum()
        agree += (view.label[row[inside], column[inside]] == labels[inside])[visible].sum()
    assert total > 5000
    assert agree / total > 0.9


def test_moving_objects_are_drawn_where_they_are(world: World) -> None:
    """A mover's pixels follow it from one time to another, at the place its pose projects to."""
    rig = make_rig(SIZE)
    checked = 0
    for time_s in (0.3, 0.7):
        for cam2ego, k in zip(rig.cam2ego, rig.intrinsics, strict=True):
            cam2world = world.ego_pose(time_s) @ cam2ego
            view = render(world, cam2world, k, SIZE, time_s, smooth_edges=False)
            for actor in world.actors:
                pixels = np.argwhere(view.thing == actor.instance)
                if not actor.moving or len(pixels) < 60:
                    continue
                position, yaw = actor.motion.pose(world.course, time_s)
                corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
                corners = actor.low + corners * (actor.high - actor.low)
                c, s = np.cos(yaw), np.sin(yaw)
                corners = corners @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T + position
                local = (corners - cam2world[:3, 3]) @ cam2world[:3, :3]
                if local[:, 2].min() < 0.5:
                    continue
                uv = local[:, :2] / local[:, 2:] * k.diagonal()[:2] + k[:2, 2]
                low, high = uv.min(axis=0) - 1, uv.max(axis=0) + 1
                assert (pixels[:, ::-1] >= low).all()
                assert (pixels[:, ::-1] <= high).all()
                checked += 1
    assert checked >= 3


def test_tracing_where_neighbours_disagree_gives_nearly_what_tracing_all_gives(world: World) -> None:
    rig = make_rig((180, 320))
    for v in (0, 2):
        pose = world.ego_pose(TIME_S) @ rig.cam2ego[v]
        fast = render(world, pose, rig.intrinsics[v], (180, 320), TIME_S)
        slow = render(world, pose, rig.intrinsics[v], (180, 320), TIME_S, exact=True)
        assert (fast.label == slow.label).mean() > 0.995
        assert (fast.thing == slow.thing).mean() > 0.995
        same = np.isfinite(fast.depth) & np.isfinite(slow.depth)
        close = np.abs(fast.depth[same] - slow.depth[same]) < 0.01 * slow.depth[same]
        assert close.mean() > 0.99
        difference = np.abs(fast.image.astype(int) - slow.image.astype(int)).max(axis=2)
        assert (difference > 12).mean() < 0.02


def test_pictures_are_pictures(world: World) -> None:
    """Neither black nor white nor flat, and smoothing changes edges only."""
    rig = make_rig(SIZE)
    pose = world.ego_pose(TIME_S) @ rig.cam2ego[0]
    view = render(world, pose, rig.intrinsics[0], SIZE, TIME_S)
    rough = render(world, pose, rig.intrinsics[0], SIZE, TIME_S, smooth_edges=False)
    assert view.image.shape == (*SIZE, 3)
    assert view.image.dtype == np.uint8
    assert 50 < view.image.mean() < 200
    assert view.image.std() > 25
    assert len(np.unique(view.image.reshape(-1, 3), axis=0)) > 2000
    changed = (view.image != rough.image).any(axis=2)
    assert 0.02 < changed.mean() < 0.5
    assert (view.depth[view.label == 0] == np.inf).all()
