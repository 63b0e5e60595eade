"""BatchNorm and ReLU in one function, against torch's own operations."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from lidardistill.models.voxel_norm import VoxelBatchNorm, norm_relu, norm_relu_torch


def made(channels: int, dtype: torch.dtype = torch.float32) -> VoxelBatchNorm:
    norm = VoxelBatchNorm(channels, momentum=0.3).to(dtype)
    with torch.no_grad():
        norm.weight.uniform_(-2, 2)
        norm.bias.normal_()
        norm.running_mean.normal_()
    return norm


def both(norm: VoxelBatchNorm, x: Tensor, shortcut: Tensor | None) -> list[list[Tensor]]:
    """Result, gradients and statistics of the function and of its twin."""
    weight, found = torch.randn_like(x), []
    for function, layer in ((norm_relu, norm), (norm_relu_torch, copy.deepcopy(norm))):
        inputs = [a.clone().requires_grad_() for a in (x, shortcut) if a is not None]
        out = function(layer, *inputs)
        (out * weight).sum().backward()
        found.append(
            [out.detach(), *(a.grad for a in inputs), layer.weight.grad, layer.bias.grad, *layer.buffers()]
        )
    return found


@pytest.mark.parametrize("with_shortcut", [False, True])
@pytest.mark.parametrize(("rows", "channels"), [(2, 5), (301, 16), (1000, 48)])
def test_equal_to_torch_in_value_gradient_and_statistics(
    rows: int, channels: int, with_shortcut: bool
) -> None:
    x = 3 * torch.randn(rows, channels, dtype=torch.float64) + 5
    shortcut = torch.randn_like(x) if with_shortcut else None
    ours, theirs = both(made(channels, torch.float64), x, shortcut)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_float32_is_as_exact_as_torch_where_the_mean_is_large() -> None:
    x, norm = torch.randn(5000, 8) + 300, made(8)
    exact = norm_relu_torch(copy.deepcopy(norm).double(), x.double())
    ours, theirs = ((out[0] - exact).abs().max() for out in both(norm, x, None))
    assert ours < 2 * theirs


def test_gradcheck() -> None:
    norm = made(3, torch.float64)
    x, shortcut = torch.randn(2, 9, 3, dtype=torch.float64).requires_grad_().unbind(0)
    assert torch.autograd.gradcheck(lambda *inputs: norm_relu(norm, *inputs), (x, shortcut))


def test_rows_in_another_layout() -> None:
    norm, x = made(4), torch.randn(4, 50).t()
    shortcut = torch.randn(4, 50).t()
    ours, theirs = both(norm, x, shortcut)
    torch.testing.assert_close(ours[:3], theirs[:3], rtol=1e-5, atol=1e-5)


def test_a_nan_stays_one() -> None:
    x = torch.randn(10, 2)
    x[3, 1] = torch.nan
    out = norm_relu(made(2), x)
    assert not out[:, 0].isnan().any()
    assert out[:, 1].isnan().all()


@pytest.mark.parametrize("rows", [0, 1])
def test_one_voxel_and_none_leave_the_statistics_alone(rows: int) -> None:
    norm = made(3)
    before = [b.clone() for b in norm.buffers()]
    x = torch.randn(rows, 3)
    torch.testing.assert_close(norm_relu(norm, x), norm_relu_torch(norm, x))
    assert all(torch.equal(a, b) for a, b in zip(before, norm.buffers(), strict=True))


def test_what_is_not_plain_goes_through_the_module() -> None:
    x, norm = torch.randn(20, 3), made(3)
    seen: list[nn.Module] = []
    norm.register_forward_hook(lambda module, *_: seen.append(module))
    norm_relu(norm, x)
    assert seen == [norm], "a hook must be called"
    evaluated = made(3).eval()
    torch.testing.assert_close(norm_relu(evaluated, x), evaluated(x).relu())
    averaging = made(3)
    averaging.momentum = None
    ours, theirs = both(averaging, x, None)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    other = nn.LayerNorm(3)
    torch.testing.assert_close(norm_relu(other, x), other(x).relu())
    with torch.autocast("cpu", torch.bfloat16):
        assert norm_relu(made(3), x.bfloat16()).dtype == torch.bfloat16
