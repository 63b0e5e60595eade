"""Pixels at depths come to lie where a camera would have seen them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lidardistill.ops import BevGrid
from lidardistill.ops.frustum import cells_in_view, frustum_cells

GRID = BevGrid.of_range((-8.0, -8.0, 8.0, 8.0), 0.5)
Z_RANGE = (-3.0, 3.0)


def camera(yaw: float = 0.0, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Tensor:
    """(4, 4) float64 lidar2img: a level camera at x, y, z that looks along `yaw`; f = 40, centre (31.5,
    23.5).
    """
    forward = torch.tensor([math.cos(yaw), math.sin(yaw), 0.0], dtype=torch.float64)
    right = torch.tensor([math.sin(yaw), -math.cos(yaw), 0.0], dtype=torch.float64)
    down = torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64)
    lidar2cam = torch.eye(4, dtype=torch.float64)
    lidar2cam[:3, :3] = torch.stack([right, down, forward])
    lidar2cam[:3, 3] = -lidar2cam[:3, :3] @ torch.tensor([x, y, z], dtype=torch.float64)
    cam2img = torch.eye(4, dtype=torch.float64)
    cam2img[0, 0] = cam2img[1, 1] = 40.0
    cam2img[0, 2], cam2img[1, 2] = 31.5, 23.5
    return cam2img @ lidar2cam


ROWS, COLUMNS = torch.arange(6.0) * 8 + 3.5, torch.arange(8.0) * 8 + 3.5  # stride 8 of a picture of 48 x 64
DEPTHS = torch.arange(1.0, 7.0) + 0.03  # no sample on a border, where rounding decides
VIEWS = torch.stack([camera(0.3, 0.2, -0.1, 1.0), camera(-2.0), camera(1.4, 3.0)])
SAMPLE = torch.tensor([0, 0, 1])


def places(**options: object):  # type: ignore[no-untyped-def]
    return frustum_cells(VIEWS, SAMPLE, ROWS, COLUMNS, DEPTHS, GRID, Z_RANGE, **options)  # type: ignore[arg-type]


def test_every_sample_lies_where_the_loop_puts_it() -> None:
    cell, mask = places()
    pixels = len(ROWS) * len(COLUMNS)
    assert cell.shape == mask.shape == (3 * pixels, len(DEPTHS))
    assert cell.dtype == torch.int32
    checked = 0
    for view in range(3):
        inverse = torch.linalg.inv(VIEWS[view])
        for r, v in enumerate(ROWS.tolist()):
            for c, u in enumerate(COLUMNS.tolist()):
                for d, depth in enumerate(DEPTHS.tolist()):
                    pixel = torch.tensor([u * depth, v * depth, depth, 1.0], dtype=torch.float64)
                    x, y, z, _ = (inverse @ pixel).tolist()
                    column, row = math.floor((x + 8) / 0.5), math.floor((y + 8) / 0.5)
                    inside = 0 <= column < 32 and 0 <= row < 32 and -3.0 <= z < 3.0
                    p = view * pixels + r * len(COLUMNS) + c
                    assert bool(mask[p, d]) == inside
                    expected = int(SAMPLE[view]) * GRID.num_cells + row * 32 + column if inside else 0
                    assert int(cell[p, d]) == expected
                    checked += inside
    assert checked > 100
    assert not mask.all()


def test_a_known_point_lands_in_its_known_cell() -> None:
    """The camera looks along x from the origin.

    u - 31.5 = 20 at f = 40 is half a metre to the right a metre ahead.
    """
    rows, columns, depth = torch.tensor([23.5]), torch.tensor([51.5]), torch.tensor([4.1])
    cell, mask = frustum_cells(camera()[None], SAMPLE[:1], rows, columns, depth, GRID, Z_RANGE)
    assert mask.all()
    # The point is (4.1, -2.05, 0): column floor(12.1 / 0.5), row floor(5.95 / 0.5).
    assert cell.item() == 11 * 32 + 24


def test_half_a_pixel_decides_the_cell() -> None:
    """A pixel is centred at whole u: at 4 m one pixel is 0.1 m wide, and y = 0 is a border of cells."""
    just_left, just_right = torch.tensor([31.0]), torch.tensor([32.0])
    for columns, row in ((just_left, 16), (just_right, 15)):
        cell, _ = frustum_cells(
            camera()[None], SAMPLE[:1], ROWS[:1], columns, torch.tensor([4.0]), GRID, Z_RANGE
        )
        assert cell.item() // 32 == row


def test_a_masked_view_is_not_looked_at() -> None:
    broken = VIEWS.clone()
    broken[1] = math.nan
    view_mask = torch.tensor([True, False, True])
    cell, mask = frustum_cells(broken, SAMPLE, ROWS, COLUMNS, DEPTHS, GRID, Z_RANGE, view_mask=view_mask)
    whole = places()
    first = slice(0, 48)
    assert torch.equal(cell[first], whole.cell[first])
    assert mask[first].any()
    assert not mask[48:96].any()
    assert torch.equal(mask[96:], whole.mask[96:])


def seen_cells(views: Tensor = VIEWS, **options: object) -> Tensor:
    heights = torch.tensor([-1.0, 0.0, 1.0])
    return cells_in_view(views, SAMPLE, (48, 64), (1.0, 7.0), GRID, heights, 2, **options)  # type: ignore[arg-type]


def test_cells_in_view_are_those_whose_centre_a_camera_projects_inside() -> None:
    found = seen_cells()
    expected = torch.zeros_like(found)
    for cell in range(GRID.num_cells):
        x, y = GRID.centres(torch.tensor(cell)).tolist()
        for z in (-1.0, 0.0, 1.0):
            for view in range(3):
                u, v, depth, _ = (VIEWS[view] @ torch.tensor([x, y, z, 1.0]).double()).tolist()
                if 1.0 <= depth <= 7.0 and -0.5 <= u / depth < 63.5 and -0.5 <= v / depth < 47.5:
                    expected[int(SAMPLE[view]), cell // 32, cell % 32] = True
    assert torch.equal(found, expected)
    assert 100 < int(found[0].sum()) < 900


def test_a_masked_view_sees_no_cell() -> None:
    """Its matrix is a good one: the mask alone keeps it out."""
    only = seen_cells(view_mask=torch.tensor([True, False, True]))
    assert torch.equal(only[1], seen_cells()[1])
    assert 0 < only[0].sum() < seen_cells()[0].sum()
    assert not seen_cells(view_mask=torch.zeros(3, dtype=torch.bool)).any()


def test_heights_outside_the_range_are_left_out() -> None:
    low = frustum_cells(VIEWS, SAMPLE, ROWS, COLUMNS, DEPTHS, GRID, (-3.0, 0.0)).mask
    high = frustum_cells(VIEWS, SAMPLE, ROWS, COLUMNS, DEPTHS, GRID, (0.0, 3.0)).mask
    assert torch.equal(low ^ high, places().mask)
    assert low.any()
    assert high.any()


def test_no_view_gives_no_sample() -> None:
    cell, mask = frustum_cells(VIEWS[:0], SAMPLE[:0], ROWS, COLUMNS, DEPTHS, GRID, Z_RANGE)
    assert cell.shape == mask.shape == (0, len(DEPTHS))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lidar2img": VIEWS[:, :3]}, "lidar2img"),
        ({"view_sample": SAMPLE[:2]}, "view_sample"),
        ({"view_mask": torch.ones(2, dtype=torch.bool)}, "view_mask"),
        ({"z_range": (1.0, 1.0)}, "z_range"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict, message: str) -> None:
    arguments = {
        "lidar2img": VIEWS, "view_sample": SAMPLE, "rows_px": ROWS, "columns_px": COLUMNS, "depth_m": DEPTHS,
        "grid": GRID, "z_range": Z_RANGE,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        frustum_cells(**{**arguments, **change})
