"""Pictures of pairs, and the strokes they are drawn with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lidardistill.data.images import read_image
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.geometry.projection import pair_points
from lidardistill.geometry.views import Pairing
from lidardistill.report.draw.cameras import borders, splat, view_order
from lidardistill.report.draw.encode import png_bytes, reduce_colors, save_png
from lidardistill.report.draw.overview import MAX_BYTES, overview_png
from lidardistill.report.draw.pairs import depth_rgb, draw_pairs
from lidardistill.report.draw.palette import scalar_rgb
from lidardistill.report.scene import Scene


def pairing_of(points: int, views: int) -> Pairing:
    rng = np.random.default_rng(1)
    places = np.column_stack([np.sort(rng.integers(0, views, points)), rng.integers(0, 30, (points, 2))])
    return Pairing(np.arange(points), places, rng.uniform(2, 50, points).astype(np.float32))


def test_pairs_of_the_real_keyframe(nuscenes_one: Path, tmp_path: Path) -> None:
    frame = NuScenesIndex.open(nuscenes_one, "v1.0-mini").frame(0)
    pairing = pair_points(frame.points, frame.lidar2cam, frame.cam2img, frame.image_size)
    picture = draw_pairs([read_image(path) for path in frame.image_paths], frame.channels, pairing, width=320)
    assert picture.dtype == np.uint8
    assert picture.shape[1] == 3 * 320 + 2 * 6
    assert picture.shape[0] > 2 * 180
    colored = np.ptp(picture.astype(int), axis=2) > 80
    assert 0.05 < colored[:366].mean() < 0.6  # points are seen, and so is what lies behind them
    assert not colored[22:40, 480:620].any()  # the sky of the front camera holds none
    save_png(picture, tmp_path / "deep" / "pairs.png")
    assert np.array_equal(np.array(Image.open(tmp_path / "deep" / "pairs.png")), picture)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["pairs.png"]


def test_a_view_without_points_and_other_cameras() -> None:
    images = [np.full((40, 60, 3), 90, np.uint8)] * 4
    picture = draw_pairs(images, ["a", "b", "c", "d"], pairing_of(20, 2), width=120)
    assert picture.shape[1] == 3 * 120 + 2 * 6
    with pytest.raises(ValueError, match="one name for each image"):
        draw_pairs(images, ["a"], pairing_of(20, 2))


def test_cameras_stand_as_one_looks_around() -> None:
    channels = (
        "CAM_FRONT",
        "CAM_FRONT_RIGHT",
        "CAM_BACK_RIGHT",
        "CAM_BACK",
        "CAM_BACK_LEFT",
        "CAM_FRONT_LEFT",
    )
    shown = [channels[view].removeprefix("CAM_") for view in view_order(channels)]
    assert shown == ["FRONT_LEFT", "FRONT", "FRONT_RIGHT", "BACK_LEFT", "BACK", "BACK_RIGHT"]
    assert view_order(("image_2",)) == [0]


def test_a_later_point_covers_an_earlier_one() -> None:
    image = np.zeros((9, 9, 3), np.uint8)
    colors = np.array([[255, 0, 0], [0, 255, 0]], np.uint8)
    splat(image, np.array([4, 4]), np.array([4, 5]), colors, np.array([2, 0]))
    assert tuple(image[4, 5]) == (0, 255, 0)
    assert tuple(image[4, 6]) == (255, 0, 0)
    assert tuple(image[2, 2]) == (0, 0, 0)  # a disc, not a square
    assert tuple(image[2, 4]) == (255, 0, 0)
    splat(image, np.array([0]), np.array([8]), colors[:1], 3)  # over the edge
    assert tuple(image[0, 8]) == (255, 0, 0)
    assert tuple(image[0, 0]) == (0, 0, 0)


def test_borders_lie_between_labels() -> None:
    labels = np.zeros((4, 6), int)
    labels[:, 3:] = 1
    expected = np.zeros((4, 6), bool)
    expected[:, 2] = True
    assert np.array_equal(borders(labels), expected)


def test_near_is_brighter_than_far() -> None:
    light = depth_rgb(np.array([3.0, 5, 10, 20, 40, 60])).astype(float).sum(axis=1)
    assert (np.diff(light) < 0).all()
    assert np.array_equal(scalar_rgb(np.array([-9.0, 9]), 0, 1), scalar_rgb(np.array([0.0, 1]), 0, 1))


def test_fewer_colours_keep_small_dots() -> None:
    picture = np.full((60, 60, 3), 255, np.uint8)
    picture[:, :30] = np.random.default_rng(0).integers(100, 140, (60, 30, 3))
    picture[10, 50] = (213, 94, 0)
    reduced = reduce_colors(picture, 126, rare=True)
    assert len(np.unique(reduced.reshape(-1, 3), axis=0)) <= 126
    assert np.abs(reduced[10, 50].astype(int) - (213, 94, 0)).max() < 40
    assert (reduced[30:, 40:] == 255).all()
    picture[20, 40:50] = 107  # a grey line keeps its grey
    assert np.ptp(reduce_colors(picture, 126, rare=True)[20, 45].astype(int)) == 0
    assert len(png_bytes(picture, 16)) < len(png_bytes(picture))


def test_the_readme_picture_is_small(make_showcase: Callable[..., Path], tmp_path: Path) -> None:
    data = overview_png(Scene.read(make_showcase(tmp_path / "showcase.npz")))
    assert data.startswith(b"\x89PNG")
    assert len(data) < MAX_BYTES
