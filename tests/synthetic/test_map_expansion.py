"""What is written is a map expansion to nuscenes-devkit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lidardistill.synthetic.write.map_expansion import write_map_expansion
from lidardistill.synthetic.write.recording import MapLayers, MapPolygon
from lidardistill.synthetic.write.static_tables import make_token

CITY = "boston-seaport"  # NuScenesMap opens only what bears the name of one of its cities
SQUARE = np.array([[10.0, 20.0], [18.0, 20.0], [18.0, 26.0], [10.0, 26.0]])
HOLE = np.array([[12.0, 22.0], [13.0, 22.0], [13.0, 23.0]])
SHIFT = np.array([-5.0, -8.0])
LINE = np.array([[11.0, 21.0], [12.5, 24.0], [17.0, 25.0]])


def write(root, layers: MapLayers, location: str = CITY):
    return write_map_expansion(
        root,
        location,
        layers,
        shift=SHIFT,
        canvas_edge_m=(30.0, 40.0),
        token=lambda *parts: make_token(0, *parts),
    )


@pytest.fixture
def layers() -> MapLayers:
    pieces = {
        "drivable_area": (MapPolygon(SQUARE, (HOLE,)), MapPolygon(SQUARE + 10)),
        "ped_crossing": (MapPolygon(SQUARE / 2),),
        "stop_line": (MapPolygon(SQUARE / 4),),
    }
    return MapLayers(pieces, {"lane_divider": (LINE,), "road_divider": (LINE + 1, LINE + 2)})


def test_the_devkit_opens_it(layers, tmp_path):
    api = pytest.importorskip("nuscenes.map_expansion.map_api")
    write(tmp_path, layers)
    city = api.NuScenesMap(str(tmp_path), CITY)
    assert city.canvas_edge == [30.0, 40.0]
    areas = [
        city.extract_polygon(token) for record in city.drivable_area for token in record["polygon_tokens"]
    ]
    assert [area.area for area in areas] == pytest.approx([48 - 0.5, 48])
    np.testing.assert_allclose(areas[0].exterior.coords[:4], SQUARE + SHIFT)
    np.testing.assert_allclose(areas[0].interiors[0].coords[:3], HOLE + SHIFT)
    lines = [city.extract_line(record["line_token"]) for record in city.road_divider]
    np.testing.assert_allclose(lines[1].coords, LINE + 2 + SHIFT)
    assert city.stop_line[0]["cue"] == city.ped_crossing
    assert city.walkway == []
    assert (
        city.layers_on_point(6.0, 13.0, ["drivable_area"])["drivable_area"] == city.drivable_area[0]["token"]
    )


def test_a_place_without_layers_opens_too(tmp_path):
    api = pytest.importorskip("nuscenes.map_expansion.map_api")
    write(tmp_path, MapLayers({}, {}))
    assert api.NuScenesMap(str(tmp_path), CITY).node == []


def test_tokens_are_unique(layers, tmp_path):
    content = json.loads(write(tmp_path, layers).read_text())
    tables = [
        table
        for table in content.values()
        if isinstance(table, list) and table and isinstance(table[0], dict)
    ]
    tokens = [record["token"] for table in tables for record in table]
    assert len(tokens) == len(set(tokens)) > 20


def test_a_layer_that_nuscenes_does_not_know(tmp_path):
    with pytest.raises(ValueError, match=r"unknown map layers canal, tramway; nuScenes has drivable_area"):
        write(tmp_path, MapLayers({"canal": ()}, {"tramway": ()}))
    assert not (tmp_path / "maps").exists()
