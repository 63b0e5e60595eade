"""Maps as colours lie under the scan they belong to, and regions keep their colours."""

from __future__ import annotations

import numpy as np
import pytest

from lidardistill.report.bev_scene import BevScene
from lidardistill.report.draw.bev_maps import FORWARD_M, SIDE_M, bev_maps_picture
from lidardistill.report.draw.clusters import clusters_picture, region_rgb

SENSOR = np.array([[0.0, 1, 0, 0.5], [-1, 0, 0, 0], [0, 0, 1, 1.8], [0, 0, 0, 1]])
"""nuScenes' own: x to the right, y ahead."""


def scene(**changes):
    arrays = {
        "lidar2ego": SENSOR,
        "points": np.zeros((0, 4), np.float32),
        "maps": np.full((1, 32, 32, 3), 250, np.uint8),
        "map_names": np.array(["a map"]),
        "occupied": np.ones((32, 32), bool),
        "grid": np.array([-32.0, -32.0, 2.0, 32, 32]),
        "parity_r2": np.zeros(3),
        "region": np.zeros(0, np.int32),
        "region_mask": np.zeros(0, bool),
        "ground_mask": np.zeros(0, bool),
        "images": np.zeros((1, 4, 4, 3), np.uint8),
    }
    return {**arrays, **changes}


def test_a_cell_lies_where_its_points_do():
    """A cell 20 m ahead and 10 m to the left, in LiDAR's y and -x, lights up there in a picture that drives right."""
    maps = np.full((1, 32, 32, 3), 250, np.uint8)
    row, col = int((20 + 32) / 2), int((-10 + 32) / 2)
    maps[0, row, col] = 255, 0, 0
    arrays = scene(maps=maps)
    picture = BevScene(arrays, np.zeros((0, 3))).maps_picture()
    right = picture[:, picture.shape[1] // 2 :]
    rows, cols = np.nonzero((right[..., 0] > 200) & (right[..., 1] < 60))
    assert len(rows)
    height, width = right.shape[:2]
    assert cols.mean() / width == pytest.approx(0.5 + (21 + 0.5) / (2 * FORWARD_M), abs=0.03)
    assert rows.mean() / height == pytest.approx(0.5 - 9 / (2 * SIDE_M), abs=0.04)


def test_cells_without_points_are_paler():
    maps = np.full((32, 32, 3), 0, np.uint8)
    occupied = np.arange(32)[:, None].repeat(32, 1) < 16
    corners = np.stack(np.meshgrid(np.linspace(-32, 32, 33), np.linspace(-32, 32, 33)), axis=-1)
    picture = bev_maps_picture(np.zeros((0, 3)), [("a", maps)], occupied, corners)
    right = picture[:, picture.shape[1] // 2 :]
    dark, pale = (right < 20).all(axis=2).mean(), (np.abs(right.astype(int) - 140) < 8).all(axis=2).mean()
    assert dark == pytest.approx(pale, rel=0.15)
    assert dark > 0.2


def test_a_region_has_its_own_colour():
    colors = region_rgb(np.array([4, 0, 4, 1, 2, 3]))
    assert (colors[0] == colors[2]).all()
    assert len({tuple(color) for color in colors.tolist()}) == 5
    assert colors.max(axis=1).min() < 256
    assert (np.ptp(colors.astype(int), axis=1) > 60).all()  # never the grey of what is in no region
    assert region_rgb(np.zeros(0, np.int32)).shape == (0, 3)


def test_regions_are_drawn_and_an_empty_sweep_is_a_picture():
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-15, 15, (400, 3))
    region = np.arange(400, dtype=np.int32) % 5
    mask, ground = np.arange(400) < 200, np.arange(400) >= 300
    picture = clusters_picture(xyz, region, mask, ground)
    colored = np.ptp(picture[60:].astype(int), axis=2) > 60
    assert colored.mean() > 0.002
    nothing = clusters_picture(xyz, region, np.zeros(400, bool), ground)
    assert not (np.ptp(nothing[60:].astype(int), axis=2) > 60).any()
    clusters_picture(np.zeros((0, 3)), region[:0], mask[:0], ground[:0])


def test_a_file_that_is_none(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="cannot be read as a showcase of maps"):
        BevScene.read(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", **{k: v for k, v in scene().items() if k != "occupied"})
    with pytest.raises(ValueError, match="is no showcase of maps: it lacks occupied"):
        BevScene.read(tmp_path / "y.npz")
