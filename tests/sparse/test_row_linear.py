"""A linear layer over voxels, against nn.Linear."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lidardistill.sparse.row_linear import RowLinear


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(0, 8, 5), (1, 3, 1), (777, 48, 32), (64, 17, 33)])
def test_equal_to_a_linear_layer_with_the_same_state(
    rows: int, inputs: int, outputs: int, bias: bool
) -> None:
    plain, ours = (
        nn.Linear(inputs, outputs, bias=bias).double(),
        RowLinear(inputs, outputs, bias=bias).double(),
    )
    ours.load_state_dict(plain.state_dict())
    x = torch.randn(rows, inputs, dtype=torch.float64)
    weight, found = torch.randn(rows, outputs, dtype=torch.float64), []
    for layer in (plain, ours):
        rows_in = x.clone().requires_grad_()
        out = layer(rows_in)
        (out * weight).sum().backward()
        found.append([out, rows_in.grad, *(p.grad for p in layer.parameters())])
    torch.testing.assert_close(found[1], found[0], rtol=1e-10, atol=1e-10)


def test_autocast_and_its_dtype() -> None:
    layer, x = RowLinear(8, 4), torch.randn(10, 8)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), layer(x), rtol=0.02, atol=0.02)
