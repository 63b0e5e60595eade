"""Bird's-eye-view maps: scattering, sampling and warping keep to one rule of cells."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lidardistill.ops import BevGrid, bev_occupied, bev_sample, bev_scatter, bev_warp
from lidardistill.ops.bev_grid import move_xy

GRID = BevGrid.of_range((-2.0, -3.0, 4.0, 1.0), 0.5)  # 8 rows, 12 columns, not centred
SQUARE = BevGrid.of_range((-4.0, -4.0, 4.0, 4.0), 1.0)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def all_centres(grid: BevGrid) -> Tensor:
    return grid.centres(torch.arange(grid.num_cells))


def motion(yaw: float = 0.0, x: float = 0.0, y: float = 0.0, flip: bool = False) -> Tensor:
    """(1, 3, 3) float64: flip y, turn, then shift."""
    c, s = math.cos(yaw), math.sin(yaw)
    sign = -1.0 if flip else 1.0
    return torch.tensor([[[c, -s * sign, x], [s, c * sign, y], [0, 0, 1]]], dtype=torch.float64)


def zeros(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.int64)


def slow_sample(bev: Tensor, xy: Tensor, batch_idx: Tensor, grid: BevGrid, mask: Tensor, missing: str):
    """One point, one cell at a time."""
    values, valid = [], []
    for (x, y), b in zip(xy.tolist(), batch_idx.tolist(), strict=True):
        total, weights = torch.zeros(bev.shape[1], dtype=bev.dtype), 0.0
        for row in range(grid.height):
            for column in range(grid.width):
                across = 1 - abs(x - (grid.x_min + (column + 0.5) * grid.cell_size)) / grid.cell_size
                along = 1 - abs(y - (grid.y_min + (row + 0.5) * grid.cell_size)) / grid.cell_size
                if across > 0 and along > 0 and mask[b, row, column]:
                    total = total + across * along * bev[b, :, row, column]
                    weights += across * along
        if missing == "skip" and weights > 0:
            total = total / weights
        values.append(total)
        valid.append(weights > 0)
    return torch.stack(values), torch.tensor(valid)


def slow_scatter(values: Tensor, xy: Tensor, batch_idx: Tensor, grid: BevGrid, batch_size: int):
    bev = torch.zeros(batch_size, values.shape[1], grid.height, grid.width, dtype=values.dtype)
    count = torch.zeros(batch_size, grid.height, grid.width)
    for value, (x, y), b in zip(values, xy.tolist(), batch_idx.tolist(), strict=True):
        column, row = (
            math.floor((x - grid.x_min) / grid.cell_size),
            math.floor((y - grid.y_min) / grid.cell_size),
        )
        if 0 <= column < grid.width and 0 <= row < grid.height:
            bev[b, :, row, column] += value
            count[b, row, column] += 1
    return bev / count.clamp(min=1)[:, None].to(values.dtype), count > 0


def points(count: int = 60, seed: int = 0) -> tuple[Tensor, Tensor]:
    """xy in and around `GRID` and the map of each."""
    generator = draw(seed)
    xy = torch.rand(count, 2, generator=generator, dtype=torch.float64) * torch.tensor([8.0, 6.0]) - 3.5
    return xy, torch.randint(2, (count,), generator=generator)


def test_a_cell_is_half_open_and_its_centre_is_half_way():
    edge = torch.tensor(
        [[-2.0, -3.0], [3.999, 0.999], [4.0, 0.0], [0.0, 1.0], [-2.001, 0.0], [math.nan, 0.0]]
    )
    cell, inside = GRID.cells(edge)
    assert cell.tolist() == [0, 95, 0, 0, 0, 0]
    assert inside.tolist() == [True, True, False, False, False, False]
    cells = torch.arange(GRID.num_cells)
    assert GRID.cells(all_centres(GRID))[0].tolist() == cells.tolist()
    assert GRID.centres(torch.tensor([0, 95])).tolist() == [[-1.75, -2.75], [3.75, 0.75]]
    assert (GRID.height, GRID.width) == (8, 12)


@pytest.mark.parametrize(
    ("bounds", "size"), [((0, 0, 1, 1.2), 0.5), ((0, 0, 0, 1), 0.5), ((0, 0, 1), 0.5), ((0, 0, 1, 1), -1.0)]
)
def test_a_range_that_holds_no_whole_cells_is_refused(bounds, size):
    with pytest.raises(ValueError, match=r"whole number|x_min y_min"):
        BevGrid.of_range(bounds, size)


@pytest.mark.parametrize("missing", ["skip", "zero"])
def test_sampling_equals_the_loop_in_value_and_gradient(missing):
    xy, batch_idx = points()
    bev = torch.randn(2, 3, 8, 12, generator=draw(), dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 8, 12, generator=draw(1)) < 0.6
    ours, valid = bev_sample(bev, xy, batch_idx, GRID, mask=mask, missing=missing)
    theirs, expected = slow_sample(bev, xy, batch_idx, GRID, mask, missing)
    torch.testing.assert_close(ours, theirs)
    assert torch.equal(valid, expected)
    assert 10 < int(valid.sum()) < len(xy) - 10
    weight = torch.randn(ours.shape, generator=draw(2), dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad((ours * weight).sum(), bev)[0],
        torch.autograd.grad((theirs * weight).sum(), bev)[0],
    )


def test_scattering_equals_the_loop_in_value_and_gradient():
    xy, batch_idx = points(200)
    values = torch.randn(200, 3, generator=draw(), dtype=torch.float64, requires_grad=True)
    ours, occupied = bev_scatter(values, xy, batch_idx, GRID, 2)
    theirs, expected = slow_scatter(values, xy, batch_idx, GRID, 2)
    torch.testing.assert_close(ours, theirs)
    assert torch.equal(occupied, expected)
    weight = torch.randn(ours.shape, generator=draw(2), dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad((ours * weight).sum(), values)[0],
        torch.autograd.grad((theirs * weight).sum(), values)[0],
    )


def test_gradcheck():
    xy, batch_idx = points(12)
    values = torch.randn(12, 2, generator=draw(), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: bev_scatter(v, xy, batch_idx, GRID, 2)[0], values)
    bev = torch.randn(1, 2, 8, 8, generator=draw(), dtype=torch.float64, requires_grad=True)
    mask = torch.rand(1, 8, 8, generator=draw(1)) < 0.7
    for missing in ("skip", "zero"):
        assert torch.autograd.gradcheck(
            lambda m, missing=missing: bev_warp(
                m, motion(0.4, 1.3, -0.2), SQUARE, mask=mask, missing=missing
            )[0],
            bev,
        )


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3))
@settings(max_examples=20, deadline=None)
def test_affine_maps_are_exact_at_centres_and_between_them(coefficients):
    centres = all_centres(GRID)
    plane = torch.tensor(coefficients, dtype=torch.float64)

    def height(xy: Tensor) -> Tensor:
        return plane[0] + xy @ plane[1:]

    bev = height(centres).view(1, 1, 8, 12)
    at_centres, valid = bev_sample(bev, centres, zeros(96), GRID)
    torch.testing.assert_close(at_centres[:, 0], height(centres), atol=1e-10, rtol=0)
    assert valid.all()
    within = torch.rand(50, 2, generator=draw(), dtype=torch.float64) * torch.tensor(
        [5.5, 3.5]
    ) - torch.tensor([1.75, 2.75])
    between, _ = bev_sample(bev, within, zeros(50), GRID, missing="zero")
    torch.testing.assert_close(between[:, 0], height(within), atol=1e-10, rtol=0)


def test_the_last_row_and_column_are_read_up_to_their_outer_edge():
    bev = torch.arange(96, dtype=torch.float64).view(1, 1, 8, 12)
    xy = torch.tensor(
        [[3.75, 0.75], [3.99, 0.99], [-1.99, -2.99], [3.99, -2.75], [4.26, 0.0]], dtype=torch.float64
    )
    values, valid = bev_sample(bev, xy, zeros(5), GRID)
    torch.testing.assert_close(values[:, 0], torch.tensor([95.0, 95.0, 0.0, 11.0, 0.0], dtype=torch.float64))
    assert valid.tolist() == [True, True, True, True, False]
    shaded, _ = bev_sample(bev, xy, zeros(5), GRID, missing="zero")
    assert shaded[0, 0] == 95.0
    assert shaded[1, 0] < 0.5 * 95


def test_points_far_away_or_nowhere_are_not_valid():
    xy = torch.tensor([[1e30, 0.0], [math.nan, 0.0], [0.0, -math.inf], [0.0, 0.0]])
    values, valid = bev_sample(torch.ones(1, 1, 8, 12), xy, zeros(4), GRID)
    assert valid.tolist() == [False, False, False, True]
    assert values.flatten().tolist() == [0.0, 0.0, 0.0, 1.0]


def test_cells_outside_the_mask_may_hold_anything():
    bev = torch.full((1, 1, 8, 12), math.nan)
    bev[0, 0, 3, 3] = 7.0
    bev.requires_grad_()
    mask = ~bev.detach()[:, 0].isnan()
    values, valid = bev_sample(bev, GRID.centres(torch.arange(96)).float() + 0.2, zeros(96), GRID, mask=mask)
    assert torch.equal(values[:, 0], torch.where(valid, 7.0, 0.0))
    assert int(valid.sum()) == 4
    values.sum().backward()
    assert bev.grad.sum().item() == pytest.approx(4.0)


@pytest.mark.parametrize("grid", [SQUARE, BevGrid.of_range((-1.0, -2.5, 4.0, 2.5), 1.0)])
def test_warping_is_torchs_affine_grid_and_grid_sample(grid):
    b2a = torch.cat([motion(0.4, 1.3, -0.2), motion(-2.0, -0.6, 2.0), motion()])
    bev = torch.randn(
        3, 5, grid.height, grid.width, generator=draw(), dtype=torch.float64, requires_grad=True
    )
    half = grid.cell_size * grid.width / 2
    middle = torch.tensor([grid.x_min, grid.y_min], dtype=torch.float64) + half
    turn = b2a[:, :2, :2]
    shift = (turn @ middle + b2a[:, :2, 2] - middle) / half  # the grid's middle is (0, 0), its edge 1
    theta = torch.cat([turn, shift[:, :, None]], dim=2)
    flow = F.affine_grid(theta, list(bev.shape), align_corners=False)
    theirs = F.grid_sample(bev, flow, mode="bilinear", padding_mode="zeros", align_corners=False)
    ours, _ = bev_warp(bev, b2a, grid)
    torch.testing.assert_close(ours, theirs)
    weight = torch.randn(ours.shape, generator=draw(2), dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad((ours * weight).sum(), bev)[0],
        torch.autograd.grad((theirs * weight).sum(), bev)[0],
    )


QUARTER = math.pi / 2


@pytest.mark.parametrize(
    ("a2b", "of_map"),
    [
        (motion(QUARTER), lambda m: m.rot90(-1, (2, 3))),  # x to y: columns become rows
        (motion(2 * QUARTER), lambda m: m.rot90(2, (2, 3))),
        (motion(flip=True), lambda m: m.flip(2)),
        (motion(2 * QUARTER, flip=True), lambda m: m.flip(3)),
        (motion(x=2.0, y=-1.0), lambda m: F.pad(m, (2, -2, -1, 1))),
    ],
)
def test_maps_move_as_their_points_do(a2b, of_map):
    xy = torch.rand(80, 2, generator=draw(), dtype=torch.float64) * 8 - 4
    values = torch.randn(80, 3, generator=draw(1), dtype=torch.float64)
    before, occupied_before = bev_scatter(values, xy, zeros(80), SQUARE, 1)
    after, occupied = bev_scatter(values, move_xy(a2b, xy, zeros(80)), zeros(80), SQUARE, 1)
    torch.testing.assert_close(after, of_map(before))
    warped, valid = bev_warp(before, torch.linalg.inv(a2b), SQUARE, mask=occupied_before)
    torch.testing.assert_close(warped, after)
    # A quarter turn lands on centres up to rounding, which may give a neighbour a weight of 1e-16.
    assert bool((occupied <= valid).all())


@given(st.floats(-3.1, 3.1), st.floats(-3, 3), st.floats(-3, 3))
@settings(max_examples=25, deadline=None)
def test_a_plane_seen_from_elsewhere_is_the_moved_plane(yaw, x, y):
    b2a = motion(yaw, x, y)
    bev = (all_centres(SQUARE) @ torch.tensor([2.0, -1.0], dtype=torch.float64) + 0.5).view(1, 1, 8, 8)
    warped, valid = bev_warp(bev, b2a, SQUARE)
    there = move_xy(b2a, all_centres(SQUARE), zeros(64))
    wholly = (there.abs() <= 3.5).all(1)  # all four cells around it are on the map
    assert bool(valid.flatten()[wholly].all())
    expected = there @ torch.tensor([2.0, -1.0], dtype=torch.float64) + 0.5
    torch.testing.assert_close(warped.flatten()[wholly], expected[wholly])


def test_gradients_repeat_bit_by_bit_on_two_threads():
    many = 30_000
    xy = (torch.rand(many, 2, generator=draw()) * 8 - 4).float()
    values = torch.randn(many, 8, generator=draw(1), requires_grad=True)

    def gradient() -> Tensor:
        bev, occupied = bev_scatter(values, xy, zeros(many), SQUARE, 1)
        sampled, _ = bev_sample(bev, xy.flip(0), zeros(many), SQUARE, mask=occupied)
        return torch.autograd.grad((sampled * torch.randn(many, 8, generator=draw(2))).sum(), values)[0]

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first, *others = (gradient() for _ in range(4))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(first, other) for other in others)


def test_nothing_to_scatter_or_sample():
    values = torch.zeros(0, 3, requires_grad=True)
    bev, occupied = bev_scatter(values, torch.zeros(0, 2), zeros(0), GRID, 2)
    sampled, valid = bev_sample(bev, torch.zeros(0, 2), zeros(0), GRID, mask=occupied)
    sampled.sum().backward()
    assert bev.shape == (2, 3, 8, 12)
    assert not occupied.any()
    assert sampled.shape == (0, 3)
    assert valid.shape == (0,)


def test_occupied_cells_are_those_that_scattering_fills():
    xy = torch.rand(60, 2, generator=draw()) * 10 - 5
    xy[:3] = torch.tensor([[math.nan, 0.0], [math.inf, 0.0], [3.99, 0.99]])
    batch_idx = torch.arange(60) % 3
    occupied = bev_occupied(xy, batch_idx, GRID, 3)
    assert torch.equal(occupied, bev_scatter(torch.ones(60, 1), xy, batch_idx, GRID, 3)[1])
    assert occupied[2, 7, 11]
    assert 0 < occupied.sum() < occupied.numel()
    assert not bev_occupied(torch.zeros(0, 2), zeros(0), GRID, 2).any()
    with pytest.raises(ValueError, match=r"bev_occupied: expected xy \(N, 2\) .* got \(60, 2\) and \(3,\)"):
        bev_occupied(xy, zeros(3), GRID, 3)


def test_half_precision_is_summed_in_float32_and_rows_can_be_masked():
    values = torch.full((5000, 1), 0.5, dtype=torch.float16)
    values[::2] = math.nan
    mask = torch.arange(5000) % 2 == 1
    bev, _ = bev_scatter(values, torch.zeros(5000, 2), zeros(5000), GRID, 1, mask=mask)
    assert bev.dtype == torch.float32
    assert bev.max().item() == 0.5
    assert bev_sample(bev.half(), torch.zeros(1, 2), zeros(1), GRID)[0].dtype == torch.float32


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"map \(B, C, 8, 12\), got \(1, 1, 12, 8\)"):
        bev_sample(torch.zeros(1, 1, 12, 8), torch.zeros(1, 2), zeros(1), GRID)
    with pytest.raises(ValueError, match="expected mask"):
        bev_sample(torch.zeros(1, 1, 8, 12), torch.zeros(1, 2), zeros(1), GRID, mask=torch.ones(8, 12))
    with pytest.raises(ValueError, match="expected xy"):
        bev_sample(torch.zeros(1, 1, 8, 12), torch.zeros(1, 3), zeros(1), GRID)
    with pytest.raises(ValueError, match=r"b2a \(1, 3, 3\)"):
        bev_warp(torch.zeros(1, 1, 8, 12), torch.zeros(2, 3, 3), GRID)
    with pytest.raises(ValueError, match=r"expected xy \(2, 2\)"):
        bev_scatter(torch.zeros(2, 1), torch.zeros(3, 2), zeros(2), GRID, 1)
