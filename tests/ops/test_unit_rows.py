"""Rows of unit length, against torch's normalize."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lidardistill.ops.unit_rows import unit_rows


def test_equal_to_normalize_in_value_and_gradient() -> None:
    x, weight = torch.randn(2, 50, 7, dtype=torch.float64)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    (unit_rows(ours) * weight).sum().backward()
    (F.normalize(theirs, dim=1) * weight).sum().backward()
    torch.testing.assert_close(unit_rows(x), F.normalize(x, dim=1), rtol=0, atol=1e-15)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-14)


def test_gradcheck() -> None:
    assert torch.autograd.gradcheck(unit_rows, torch.randn(5, 3, dtype=torch.float64, requires_grad=True))


def test_a_zero_row_gives_zeros_both_ways_and_a_nan_is_not_hidden() -> None:
    x = torch.tensor([[0.0, 0.0], [1e-9, 0.0], [3.0, 4.0], [torch.nan, 1.0]], requires_grad=True)
    out = unit_rows(x)
    assert out[:2].tolist() == [[0, 0], [0, 0]]
    assert out[3, 0].isnan()
    out[:3].sum().backward()
    assert x.grad[:2].tolist() == [[0, 0], [0, 0]]
