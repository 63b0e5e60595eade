"""Heads: unit length, zeros included."""

from __future__ import annotations

import torch

from lidardistill.methods.heads import ImageHead, PointHead, ProjectionHead


def test_point_head_gives_unit_rows():
    out = PointHead(5, 3)(torch.randn(7, 5))
    torch.testing.assert_close(out.norm(dim=1), torch.ones(7))
    assert PointHead(5, 3, normalize=False)(torch.randn(7, 5)).norm(dim=1).std() > 0


def test_a_zero_row_is_zero_with_zero_gradient():
    head = PointHead(2, 2)
    with torch.no_grad():
        head.linear.weight.copy_(torch.eye(2))
        head.linear.bias.zero_()
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    out = head(x)
    assert out.tolist() == [[0, 0], [0.6000000238418579, 0.800000011920929]]
    out.sum().backward()
    assert x.grad[0].tolist() == [0, 0]
    assert x.grad[1].abs().max() > 0


def test_point_head_gradient():
    head = PointHead(4, 3).double()
    assert torch.autograd.gradcheck(head, torch.randn(5, 4, dtype=torch.float64, requires_grad=True))


def test_point_head_is_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert PointHead(5, 3)(torch.randn(7, 5)).dtype == torch.float32


def test_no_rows():
    assert PointHead(5, 3)(torch.zeros(0, 5)).shape == (0, 3)


def test_projection_head_is_two_layers_with_batchnorm_between():
    head, x = ProjectionHead(5, 7, 3), 4 * torch.randn(9, 5) + 1
    hidden = x @ head.linear.weight.T
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
    expected = torch.nn.functional.normalize(head.head.linear(hidden.clamp(min=0)), dim=1)
    torch.testing.assert_close(head(x), expected)
    head.eval()
    assert not torch.allclose(head(x), expected, atol=1e-3)


def test_projection_head_takes_one_row_and_none_and_stays_float32():
    head = ProjectionHead(5, 7, 3)
    for rows in (0, 1, 2):
        out = head(torch.randn(rows, 5, requires_grad=True))
        assert out.shape == (rows, 3)
        out.sum().backward()
    with torch.autocast("cpu", torch.bfloat16):
        assert head(torch.randn(4, 5)).dtype == torch.float32


def test_image_head_is_the_same_on_maps_and_rows():
    head, maps = ImageHead(5, 3), torch.randn(2, 5, 4, 6)
    rows = maps.permute(0, 2, 3, 1).reshape(-1, 5)
    torch.testing.assert_close(head(maps).permute(0, 2, 3, 1).reshape(-1, 3), head.rows(rows))
