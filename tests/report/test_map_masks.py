"""A map in the picture lies where the car sees it."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lidardistill.report.draw.encode import figure_picture
from lidardistill.report.draw.map_masks import MAP_COLORS, maps_picture, painted_masks
from lidardistill.report.draw.palette import hex_rgb

CLASSES = ("drivable_area", "ped_crossing", "walkway")
RANGE = np.array([-10.0, -10.0, 10.0, 10.0])


def drawn(masks, probabilities, bev_range=RANGE):
    figure = Figure(figsize=(2, 2))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-10, 10)
    axes.set_ylim(-10, 10)
    axes.axis("off")
    painted_masks(masks, probabilities, CLASSES, bev_range)(axes)
    return figure_picture(figure, dpi=100)


def test_ahead_is_to_the_right_and_left_is_up():
    masks = np.zeros((3, 20, 20), dtype=bool)
    masks[0, 15:, :5] = True  # y 5..10 m: ahead; x -10..-5 m: to the left
    picture = drawn(masks, masks)
    color = hex_rgb(MAP_COLORS["drivable_area"])
    rows, columns = np.nonzero((picture == color).all(axis=2))
    assert rows.max() < 60
    assert columns.min() > 140
    assert len(rows) > 2000


def test_a_range_that_is_not_centred():
    masks = np.ones((3, 20, 10), dtype=bool)  # x -10..0 m: the left alone
    picture = drawn(masks, masks, np.array([-10.0, -10.0, 0.0, 10.0]))
    assert (picture[10:90, 10:190] < 255).any(axis=2).all()
    assert (picture[110:190] == 255).all()


def test_the_likelier_of_road_and_walkway_is_shown_and_crossings_over_both():
    masks = np.ones((3, 20, 20), dtype=bool)
    masks[1, :, :10] = False  # no crossing on the left
    probabilities = np.full((3, 20, 20), 0.5)
    probabilities[0, :10] = 0.6  # behind: road
    picture = drawn(masks, probabilities)
    assert tuple(picture[50, 50]) == hex_rgb(MAP_COLORS["drivable_area"])
    assert tuple(picture[50, 150]) == hex_rgb(MAP_COLORS["walkway"])
    assert tuple(picture[150, 50]) == hex_rgb(MAP_COLORS["ped_crossing"])
    assert masks[2].all()  # what was given is left alone


def test_a_class_without_a_threshold_is_not_found(tmp_path):
    masks = np.ones((1, 3, 20, 20), dtype=bool)
    np.savez(
        tmp_path / "maps.npz",
        sample_tokens=np.array(["0123456789abcdef"]),
        probabilities=np.full(masks.shape, 0.9, np.float16),
        masks=masks,
        classes=np.array(CLASSES),
        bev_range=RANGE,
    )
    picture = maps_picture(
        tmp_path / "maps.npz", {"drivable_area": 0.5, "ped_crossing": None, "walkway": None}
    )
    half = picture.shape[1] // 2
    crossing, road = (hex_rgb(MAP_COLORS[name]) for name in ("ped_crossing", "drivable_area"))
    count = [
        [(part[:-70] == color).all(axis=2).sum() for color in (crossing, road)]
        for part in (picture[:, :half], picture[:, half:])
    ]
    assert count[0][0] > 1000 * max(count[0][1] / 1000, 1) or count[0][1] == 0
    assert count[1][0] == 0
    assert count[1][1] > 10_000
