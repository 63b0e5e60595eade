"""Masks of the map: nuscenes-devkit's, cell by cell, but for the half cell that it is off."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest

from lidardistill.datasets.nuscenes.labels.map_expansion import MapExpansion, locations
from lidardistill.datasets.nuscenes.labels.map_masks import (
    CLASS_LAYERS,
    CLASSES,
    MapMasks,
    draw_masks,
    global2lidar,
)
from lidardistill.datasets.nuscenes.source import NuScenesIndex

pytest.importorskip("shapely", reason="maps are read with shapely")
pytest.importorskip("cv2", reason="maps are drawn with opencv")

VERSION, CITY = "v1.0-mini", "boston-seaport"
AREAS = [name for name in CLASSES if name != "divider"]


@pytest.fixture(scope="module")
def city(tiny_world, tmp_path_factory):
    """The map of one scene under a name that NuScenesMap accepts."""
    api = pytest.importorskip("nuscenes.map_expansion.map_api")
    root = tmp_path_factory.mktemp("city")
    (root / "maps" / "expansion").mkdir(parents=True)
    shutil.copy(tiny_world / "maps/expansion/synthetic-scene-0103.json", root / f"maps/expansion/{CITY}.json")
    return api.NuScenesMap(str(root), CITY)


@pytest.fixture(scope="module")
def place(tiny_world) -> MapExpansion:
    return MapExpansion.open(tiny_world, "synthetic-scene-0103")


def pose(yaw: float, x: float, y: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    matrix[:3, 3] = x, y, 1.8
    return matrix


def to_cells(lidar2global: np.ndarray, half_m: float, cell: float) -> np.ndarray:
    cells = np.diag([1 / cell, 1 / cell, 1.0])
    cells[:2, 2] = half_m / cell
    return cells @ global2lidar(lidar2global)


def on_a_border(mask: np.ndarray) -> np.ndarray:
    """Cells that have a neighbour of the other kind, or lie at the edge of the patch."""
    padded = np.pad(mask, 1, constant_values=False)
    around = [
        padded[1 + r : 1 + r + mask.shape[0], 1 + c : 1 + c + mask.shape[1]]
        for r in (-1, 0, 1)
        for c in (-1, 0, 1)
    ]
    border = np.any([a != mask for a in around], axis=0)
    border[[0, -1]] = border[:, [0, -1]] = True
    return border


# The map's origin is (-20, -20) of the recording.
@pytest.mark.parametrize(
    ("yaw", "x", "y"), [(0.0, 22.13, 21.37), (0.3, 20.0, 22.0), (-1.27, 24.0, 19.0), (2.9, 30.0, 25.0)]
)
@pytest.mark.parametrize("half_m", [15.0, 50.0, 120.0])
def test_areas_are_the_devkits_but_for_half_a_cell(city, place, yaw, x, y, half_m):
    cell = 0.5
    cells = round(2 * half_m / cell)
    lidar2global = pose(yaw, x, y)
    ours = draw_masks(place, to_cells(lidar2global, half_m, cell), (cells, cells), AREAS)
    # The devkit rounds where we take the cell: looked at from half a cell further, it finds the same.
    centre = lidar2global[:2, 3] + lidar2global[:2, :2] @ [cell / 2, cell / 2]
    patch = (*centre, 2 * half_m, 2 * half_m)
    theirs = city.get_map_mask(patch, np.degrees(yaw), AREAS, (cells, cells)).astype(bool)
    for mine, other, name in zip(ours, theirs, AREAS, strict=True):
        assert mine.any() or (half_m == 15.0 and name == "carpark_area"), name
        different = mine != other
        # Only an edge that leaves the patch, which ours and theirs cut half a cell apart, may come out one
        # cell aside.
        assert different.mean() < 0.02, name
        assert on_a_border(mine)[different].all(), name
        if half_m == 120.0 and name in ("ped_crossing", "stop_line", "carpark_area"):  # whole inside
            assert not different.any(), name


@pytest.mark.parametrize(("yaw", "x", "y"), [(0.0, 22.0, 21.0), (0.3, 20.0, 22.0), (2.9, 30.0, 25.0)])
def test_lines_are_the_devkits(city, place, yaw, x, y):
    ours = draw_masks(place, to_cells(pose(yaw, x, y), 130.0, 0.5), (520, 520), ["divider"])[0]
    theirs = city.get_map_mask(
        (x, y, 260, 260), np.degrees(yaw), ["road_divider", "lane_divider"], (520, 520)
    )
    assert ours.sum() > 500
    assert (ours != theirs.any(axis=0)).sum() <= 0.01 * ours.sum()


def test_a_line_in_two_pieces_is_drawn_whole(city, place):
    """NuScenesMap of devkit 1.2 cannot draw what shapely 2 calls a MultiLineString."""
    lidar2global = pose(0.0, 26.0, 20.0)
    with pytest.raises(TypeError, match="not iterable"):
        city.get_map_mask((26.0, 20.0, 40, 40), 0.0, ["lane_divider"], (80, 80))
    ours = draw_masks(place, to_cells(lidar2global, 20.0, 0.5), (80, 80), ["divider"])[0]
    columns = np.flatnonzero(ours[:30].any(axis=0))  # below the road divider
    assert columns.min() < 25
    assert columns.max() > 60


def test_a_hole_takes_away_what_stood_before_it_in_the_file():
    shapely = pytest.importorskip("shapely")
    ring = shapely.Polygon([(0, 0), (9, 0), (9, 9), (0, 9)], [[(3, 3), (6, 3), (6, 6), (3, 6)]])
    middle = shapely.box(4, 4, 5, 5)
    middles = [shapely.box(20 + 3 * k, 20, 21 + 3 * k, 21) for k in range(40)]  # the tree has leaves of ten
    none = np.empty(0, dtype=object)

    def drawn(*pieces) -> np.ndarray:
        layer = np.empty(len(pieces), dtype=object)
        layer[:] = pieces
        layers = {name: none for names in CLASS_LAYERS.values() for name in names} | {"walkway": layer}
        return draw_masks(MapExpansion(layers), np.eye(3), (10, 10), ["walkway"])[0]

    assert drawn(ring, *middles, middle)[4, 4]
    assert not drawn(middle, *middles, ring)[4, 4]


def test_a_cell_of_an_area_holds_its_corner(tiny_world):
    masks = MapMasks(tiny_world, VERSION, bev_range=(-8, -8, 8, 8), cell_size=1.0, classes=["ped_crossing"])
    # Recording x 12..15, y -4..7 is x 32..35, y 16..27 of the map.
    mask = masks.read("scene-0103", pose(0.0, 33.4, 20.4))[0]
    rows, columns = np.nonzero(mask)
    # From the sensor it spans x -1.4..1.6 and y -4.4..6.6; cell c covers [c - 8, c - 7).
    assert (columns.min(), columns.max()) == (6, 9)
    assert (rows.min(), rows.max()) == (3, 14)
    assert mask[3:15, 6:10].all()


def test_masks_follow_the_augmentation(tiny_world):
    masks = MapMasks(tiny_world, VERSION, bev_range=(-30, -30, 30, 30), cell_size=0.5)
    lidar2global = pose(0.4, 24.0, 20.0)
    plain = masks.read("scene-0103", lidar2global)
    assert plain.shape == (6, 120, 120)
    flip_x = masks.read("scene-0103", lidar2global, np.diag([-1.0, 1, 1, 1]))
    turned = np.eye(4)
    turned[:2, :2] = [[0, -1], [1, 0]]
    quarter = masks.read("scene-0103", lidar2global, turned)
    shifted = np.eye(4)
    shifted[:2, 3] = 2.0, -1.0
    moved = masks.read("scene-0103", lidar2global, shifted)
    for number, name in enumerate(CLASSES):
        # A corner exactly between two cells may fall to either side of a mirror: no more than borders may
        # differ.
        expected = plain[number][:, ::-1]
        assert (flip_x[number] != expected).sum() <= on_a_border(expected).sum() / 2 + 8, name
        assert (flip_x[number] & expected).sum() > 0.6 * expected.sum(), name
        expected = np.rot90(plain[number], -1)  # row 0 is the smallest y
        assert (quarter[number] & expected).sum() > 0.6 * expected.sum(), name
        there, before = moved[number][:-8, 8:], plain[number][2:-6, 4:-4]  # 4 columns on, 2 rows back
        assert on_a_border(before)[there != before].all(), name
        assert (there & before).sum() > 0.85 * before.sum(), name


def test_points_fall_into_the_cells_of_their_area(tiny_world):
    """A point moves with the cloud; its cell must move with the map."""
    masks = MapMasks(
        tiny_world, VERSION, bev_range=(-30, -30, 30, 30), cell_size=0.25, classes=["carpark_area"]
    )
    rng = np.random.default_rng(0)
    # In the middle of the car park (recording -15, 13), seen from anywhere, however the cloud is turned.
    for _ in range(20):
        lidar2global = pose(rng.uniform(-3, 3), *rng.uniform(12, 25, 2))
        old2new = np.eye(4)
        angle = rng.uniform(0, 6)
        old2new[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        old2new[:2] *= rng.choice([-1, 1], 2)[:, None]
        here = old2new @ np.linalg.inv(lidar2global) @ np.array([5.0, 33.0, 0, 1])
        column, row = np.floor((here[:2] + 30) / 0.25).astype(int)
        mask = masks.read("scene-0103", lidar2global, old2new)[0]
        assert mask[row, column]
        assert 0.5 * 110 < mask.sum() * 0.0625 < 130


def test_tilt_is_ignored(tiny_world):
    masks = MapMasks(tiny_world, VERSION)
    tilted = pose(0.4, 24.0, 20.0)
    pitch = np.eye(4)
    pitch[1:3, 1:3] = [[np.cos(0.05), -np.sin(0.05)], [np.sin(0.05), np.cos(0.05)]]
    np.testing.assert_array_equal(masks.read("scene-0103", tilted @ pitch), masks.read("scene-0103", tilted))


def test_a_pickled_reader_reads(tiny_world):
    masks = MapMasks(tiny_world, VERSION)
    index = NuScenesIndex.open(tiny_world, VERSION)
    frame = index.frame(0)
    before = masks.read(frame.scene_name, frame.ego2global @ frame.lidar2ego)
    again = pickle.loads(pickle.dumps(masks))
    assert again._maps == {}
    np.testing.assert_array_equal(again.read(frame.scene_name, frame.ego2global @ frame.lidar2ego), before)
    assert before[CLASSES.index("drivable_area")].sum() > 1000


def test_every_scene_has_its_place(tiny_world):
    assert locations(tiny_world, VERSION)["scene-0916"] == "synthetic-scene-0916"
    assert {layer for layers in CLASS_LAYERS.values() for layer in layers} <= set(
        MapExpansion.open(tiny_world, "synthetic-scene-0916").layers
    )


def test_polygons_that_cross_themselves(tiny_world, tmp_path):
    shutil.copytree(tiny_world / "maps", tmp_path / "maps")
    path = tmp_path / "maps/expansion/synthetic-scene-0103.json"
    content = json.loads(path.read_text())
    for polygon in content["polygon"]:
        ring = polygon["exterior_node_tokens"]
        ring[1], ring[2] = ring[2], ring[1]  # a bow tie
    path.write_text(json.dumps(content))
    spoiled = MapExpansion.open(tmp_path, "synthetic-scene-0103")
    assert len(spoiled.layers["walkway"]) == len(spoiled.layers["carpark_area"]) == 0
    assert len(spoiled.layers["drivable_area"]) == 2
    drawn = draw_masks(spoiled, to_cells(pose(0, 22, 21), 50.0, 0.5), (200, 200), CLASSES)
    assert drawn[0].any()


def test_what_cannot_be_read(tiny_world, tmp_path):
    with pytest.raises(ValueError, match=r"expected some of drivable_area.*got canal"):
        MapMasks(tiny_world, VERSION, classes=["walkway", "canal"])
    with pytest.raises(ValueError, match=r"whole number of 0\.7 m cells"):
        MapMasks(tiny_world, VERSION, cell_size=0.7)
    with pytest.raises(ValueError, match=r"holds no scene 'scene-0001'"):
        MapMasks(tiny_world, VERSION).read("scene-0001", np.eye(4))
    with pytest.raises(ValueError, match=r"holds no scene 'scene-0001'"):
        MapMasks(tiny_world, VERSION).open_maps(["scene-0103", "scene-0001"])
    with pytest.raises(FileNotFoundError, match=r"scene\.json is missing"):
        MapMasks(tmp_path, VERSION)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json is missing.*map expansion pack"):
        MapExpansion.open(tiny_world, "nowhere")
    (tmp_path / "maps/expansion").mkdir(parents=True)
    (tmp_path / "maps/expansion/old.json").write_text('{"node": []}')
    with pytest.raises(ValueError, match=r"expected version 1\.3 .* got 1\.0"):
        MapExpansion.open(tmp_path, "old")
