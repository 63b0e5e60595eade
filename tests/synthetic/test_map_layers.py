"""The map of a world says what its ground is: checked against the labels of its own LiDAR scans."""

from __future__ import annotations

import numpy as np
import pytest

from lidardistill.datasets.nuscenes.lidarseg_classes import RAW_CLASSES
from lidardistill.synthetic.ground.ground import zebra_starts
from lidardistill.synthetic.ground.map_layers import map_layers, open_stretches
from lidardistill.synthetic.place.world import World, build_scene
from lidardistill.synthetic.render.lidar_scan import scan
from lidardistill.synthetic.render.rig import make_rig
from lidardistill.synthetic.write.recording import MapLayers

shapely = pytest.importorskip("shapely", reason="polygons are checked with shapely")


def outline(layers: MapLayers, name: str):
    pieces = [shapely.Polygon(p.outline, p.holes) for p in layers.polygons[name]]
    assert all(piece.is_valid for piece in pieces), name
    return shapely.union_all(pieces)


@pytest.fixture(scope="module", params=[0, 5])
def world(request) -> World:
    return build_scene(request.param, duration_s=2.0)


@pytest.fixture(scope="module")
def layers(world: World) -> MapLayers:
    return map_layers(world.course, world.profile, world.plan, np.eye(4))


def test_points_lie_on_the_layer_of_their_label(world, layers):
    lidar2ego = make_rig((45, 80)).lidar2ego
    places, labels = [], []
    for time_s in (0.5, 1.5):
        pose = world.ego_pose(time_s)
        points, label = scan(world, pose, lidar2ego, time_s, np.random.default_rng(0))
        to_world = pose @ lidar2ego
        places.append(points[:, :3] @ to_world[:2, :3].T + to_world[:2, 3])
        labels.append(label)
    xy, label = np.concatenate(places), np.concatenate(labels)

    def share(name: str, layer: str) -> float:
        mine = xy[label == RAW_CLASSES.index(name)]
        assert len(mine) > 200, name
        return float(shapely.contains_xy(outline(layers, layer), mine[:, 0], mine[:, 1]).mean())

    assert share("flat.driveable_surface", "drivable_area") > 0.98
    assert share("flat.driveable_surface", "walkway") < 0.01
    assert share("flat.sidewalk", "walkway") > 0.5  # the others are kerb stones
    assert share("flat.sidewalk", "drivable_area") < 0.2
    assert share("flat.terrain", "drivable_area") < 0.01
    assert share("static.manmade", "drivable_area") < 0.2
    assert share("vehicle.car", "drivable_area") > 0.9


def test_islands_are_not_drivable(world, layers):
    drivable = outline(layers, "drivable_area")
    for s0, s1, d0, d1 in world.plan.islands:
        x, y, _ = world.course.at(0.5 * (s0 + s1), 0.5 * (d0 + d1))
        assert not drivable.contains(shapely.Point(x, y))
        x, y, _ = world.course.at(s0 - 0.3, 0.5 * (d0 + d1))
        assert drivable.contains(shapely.Point(x, y))


def test_the_drive_stays_on_the_drivable_area_and_off_the_car_park(world, layers):
    for time_s in np.linspace(0, 2, 9):
        here = shapely.Point(*world.ego_pose(time_s)[:2, 3])
        assert outline(layers, "drivable_area").contains(here)
        assert not outline(layers, "carpark_area").contains(here)


def test_cars_stop_before_the_crossings(world, layers):
    crossings, stops = (
        [shapely.Polygon(p.outline) for p in layers.polygons[n]] for n in ("ped_crossing", "stop_line")
    )
    width = world.profile.kerb(0) + world.profile.kerb(1)
    junction = shapely.Point(*(float(v) for v in world.course.at(world.plan.side_street, 0.0)[:2]))
    for crossing, stop, s in zip(crossings, stops, zebra_starts(world.plan.side_street), strict=True):
        assert crossing.area == pytest.approx(3.0 * width, rel=0.1)
        assert crossing.distance(stop) < 0.01
        assert crossing.intersection(stop).area < 0.01
        assert stop.distance(junction) > crossing.distance(junction) + 1
        x, y, _ = world.course.at(s + 1.5, 0.0)
        assert crossing.contains(shapely.Point(x, y))


def test_dividers_run_between_directions_and_lanes(world, layers):
    profile = world.profile
    for line in layers.lines["road_divider"]:
        assert len(line) > 2
    assert len(layers.lines["lane_divider"]) == 2 * 2 * (profile.lanes - 1)
    assert len(layers.lines["road_divider"]) == 2 * (1 if profile.median == 0 else 2)
    junction = shapely.Polygon(layers.polygons["drivable_area"][1].outline)
    for lines in layers.lines.values():
        assert all(not shapely.LineString(line).intersects(junction) for line in lines)


def test_the_frame_of_the_map(world, layers):
    moved = np.eye(4)
    moved[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    moved[:2, 3] = 100.0, -20.0
    there = map_layers(world.course, world.profile, world.plan, moved)
    for before, after in zip(layers.polygons["drivable_area"], there.polygons["drivable_area"], strict=True):
        np.testing.assert_allclose(after.outline[:, 0], 100 - before.outline[:, 1])
        np.testing.assert_allclose(after.outline[:, 1], -20 + before.outline[:, 0])


@pytest.mark.parametrize(
    ("closed", "left"),
    [
        ([], [(0, 10)]),
        ([(3, 4)], [(0, 3), (4, 10)]),
        ([(5, 6), (-3, 1), (5.5, 7)], [(1, 5), (7, 10)]),
        ([(1, 8), (2, 3)], [(0, 1), (8, 10)]),
        ([(-1, 11)], []),
        ([(9, 12)], [(0, 9)]),
        ([(20, 30)], [(0, 10)]),
    ],
)
def test_open_stretches(closed, left):
    assert open_stretches(0, 10, closed) == left
