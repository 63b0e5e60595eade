"""Features on the ground: every implementation against a loop, in value and gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lidardistill.ops.frustum import FrustumCells
from lidardistill.ops.kernels import lift_splat_torch as lift_splat_torch
from lidardistill.ops.lift_splat import lift_splat

PIXELS, DEPTHS, CHANNELS, CELLS = 7, 9, 5, 6
FAST = ("numba", "torch")


def inputs(
    dtype: torch.dtype = torch.float64, pixels: int = PIXELS, cells: int = CELLS, channels: int = CHANNELS
) -> tuple[Tensor, Tensor, FrustumCells]:
    """Samples that stay in a cell for some depths, leave the grid, and come back to it."""
    draw = torch.Generator().manual_seed(0)
    depth = torch.rand(pixels, DEPTHS, generator=draw, dtype=torch.float64).softmax(1).to(dtype)
    context = torch.randn(pixels, channels, generator=draw, dtype=torch.float64).to(dtype)
    cell = torch.randint(cells, (pixels, DEPTHS // 3 + 1), generator=draw).repeat_interleave(3, 1)[:, :DEPTHS]
    mask = torch.rand(pixels, DEPTHS, generator=draw) < 0.7
    return depth, context, FrustumCells(torch.where(mask, cell, 0).int(), mask)


def loop(depth: Tensor, context: Tensor, places: FrustumCells, num_cells: int) -> Tensor:
    """One sample at a time."""
    rows = [torch.zeros(context.shape[1], dtype=context.dtype) for _ in range(num_cells)]
    for p in range(depth.shape[0]):
        for d in range(depth.shape[1]):
            if places.mask[p, d]:
                rows[int(places.cell[p, d])] = rows[int(places.cell[p, d])] + depth[p, d] * context[p]
    return torch.stack(rows)


def gradients(way, depth, context, places, num_cells=CELLS):  # type: ignore[no-untyped-def]
    leaves = [depth.clone().requires_grad_(), context.clone().requires_grad_()]
    bev = way(*leaves, places, num_cells)
    weight = torch.linspace(-1, 2, bev.numel(), dtype=bev.dtype).view_as(bev)
    return bev.detach(), *torch.autograd.grad((bev * weight).sum(), leaves)


def by(implementation: str):  # type: ignore[no-untyped-def]
    return lambda *arguments: lift_splat(*arguments, implementation=implementation)


@pytest.mark.parametrize("implementation", [*FAST, "outer", "auto"])
def test_it_equals_the_loop_in_value_and_gradient(implementation: str) -> None:
    found, expected = gradients(by(implementation), *inputs()), gradients(loop, *inputs())
    assert all(e.abs().max() > 0.1 for e in expected)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("implementation", FAST)
def test_the_written_gradient_is_the_derivative(implementation: str) -> None:
    depth, context, places = inputs()
    leaves = (depth.requires_grad_(), context.requires_grad_())
    assert torch.autograd.gradcheck(lambda d, c: by(implementation)(d, c, places, CELLS), leaves)


@pytest.mark.parametrize("implementation", FAST)
def test_in_float32_it_stays_close_to_the_outer_product_in_float64(implementation: str) -> None:
    depth, context, places = inputs(pixels=4000, cells=300, channels=32)
    found = gradients(by(implementation), depth.float(), context.float(), places, 300)
    for ours, theirs in zip(found, gradients(by("outer"), depth, context, places, 300), strict=True):
        # Some 80 samples a cell: a relative error of 80 half-ulps of float32 at most, over the largest sum.
        assert (ours - theirs).abs().max() < 80 * 6e-8 * theirs.abs().max()
        assert ours.dtype == torch.float32


@pytest.mark.parametrize("implementation", [*FAST, "outer"])
def test_what_lies_under_the_mask_is_not_looked_at(implementation: str) -> None:
    depth, context, places = inputs()
    clean = gradients(by(implementation), torch.where(places.mask, depth, 0.0), context, places)
    dirty = gradients(by(implementation), torch.where(places.mask, depth, torch.nan), context, places)
    for a, b in zip(dirty, clean, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("implementation", [*FAST, "outer"])
@pytest.mark.parametrize("case", ["no pixel", "nothing inside", "no channel"])
def test_nothing_to_see_is_zero_with_a_gradient(implementation: str, case: str) -> None:
    depth, context, (cell, mask) = inputs()
    if case == "no pixel":
        depth, context, cell, mask = depth[:0], context[:0], cell[:0], mask[:0]
    elif case == "nothing inside":
        mask = torch.zeros_like(mask)
    else:
        context = context[:, :0]
    bev, *grads = gradients(by(implementation), depth, context, FrustumCells(cell, mask))
    assert bev.shape == (CELLS, context.shape[1])
    assert [g.shape for g in grads] == [depth.shape, context.shape]
    assert not any(t.any() for t in (bev, *grads))


def test_half_precision_is_summed_in_float32() -> None:
    """4096 times 2^-12 times 1 is 1; bfloat16 stops counting long before."""
    depth = torch.full((4096, 1), 2.0**-12, dtype=torch.bfloat16)
    context = torch.ones(4096, 2, dtype=torch.bfloat16)
    places = FrustumCells(torch.zeros(4096, 1, dtype=torch.int32), torch.ones(4096, 1, dtype=torch.bool))
    for implementation in (*FAST, "outer"):
        bev = lift_splat(depth, context, places, 1, implementation=implementation)
        assert bev.dtype == torch.float32
        assert bev.tolist() == [[1.0, 1.0]]


def test_channels_in_pieces_are_the_channels_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gradients(by("torch"), *inputs())
    monkeypatch.setattr(lift_splat_torch, "_ROWS_AT_ONCE", 80)  # two channels of some 40 samples
    for a, b in zip(gradients(by("torch"), *inputs()), whole, strict=True):
        assert torch.equal(a, b)


@pytest.mark.gpu
def test_on_a_gpu_it_is_what_it_is_on_a_cpu_and_repeats(device: torch.device) -> None:
    depth, context, places = inputs(torch.float32, pixels=4000, cells=300, channels=32)
    expected = gradients(by("numba"), depth, context, places, 300)
    there = (depth.to(device), context.to(device), FrustumCells(*(t.to(device) for t in places)))

    def step():  # type: ignore[no-untyped-def]
        leaves = [there[0].clone().requires_grad_(), there[1].clone().requires_grad_()]
        bev = lift_splat(*leaves, there[2], 300)
        weight = torch.linspace(-1, 2, bev.numel()).view(bev.shape).to(device)
        return bev.detach(), *torch.autograd.grad((bev * weight).sum(), leaves)

    first, second = step(), step()
    for a, b, c in zip(first, second, expected, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a.cpu(), c, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": torch.zeros(3, 2)}, r"depth \(P, D\) and context \(P, C\)"),
        ({"places": FrustumCells(torch.zeros(7, 2).int(), torch.ones(7, 2).bool())}, "shape of depth"),
        ({"num_cells": 3}, r"lift_splat: cell must lie in 0\.\.2"),
        ({"implementation": "triton"}, "implementation must be one of auto, numba, torch, outer"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict, message: str) -> None:
    depth, context, places = inputs()
    arguments = {"depth": depth, "context": context, "places": places, "num_cells": CELLS, **change}
    with pytest.raises(ValueError, match=message):
        lift_splat(**arguments)
