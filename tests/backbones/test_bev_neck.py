"""SECOND's 2D backbone and pyramid against their layers written out; names as in mmdet3d."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lidardistill.backbones.lidar_bev.bev_neck import BevBackbone, BevNeck


def norm_relu(x, state, name):
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
    weight, bias = (state[f"{name}.{part}"][None, :, None, None] for part in ("weight", "bias"))
    return ((x - mean) / (var + 1e-3).sqrt() * weight + bias).relu()


def test_values_and_gradients_are_those_of_the_layers_written_out():
    torch.manual_seed(0)
    backbone = BevBackbone(3, (4, 5, 6), (1, 0, 2), (2, 2, 2)).double()
    neck = BevNeck((4, 5, 6), (2, 3, 4), (0.5, 1, 2)).double()
    bev = torch.randn(2, 3, 16, 24, dtype=torch.float64, requires_grad=True)
    found = neck(backbone(bev))

    a, b = dict(backbone.named_parameters()), dict(neck.named_parameters())
    one = norm_relu(F.conv2d(bev, a["blocks.0.0.weight"], stride=2, padding=1), a, "blocks.0.1")
    one = norm_relu(F.conv2d(one, a["blocks.0.3.weight"], padding=1), a, "blocks.0.4")
    two = norm_relu(F.conv2d(one, a["blocks.1.0.weight"], stride=2, padding=1), a, "blocks.1.1")
    three = norm_relu(F.conv2d(two, a["blocks.2.0.weight"], stride=2, padding=1), a, "blocks.2.1")
    three = norm_relu(F.conv2d(three, a["blocks.2.3.weight"], padding=1), a, "blocks.2.4")
    three = norm_relu(F.conv2d(three, a["blocks.2.6.weight"], padding=1), a, "blocks.2.7")
    wanted = torch.cat(
        [
            norm_relu(F.conv2d(one, b["deblocks.0.0.weight"], stride=2), b, "deblocks.0.1"),
            norm_relu(F.conv2d(two, b["deblocks.1.0.weight"]), b, "deblocks.1.1"),
            norm_relu(F.conv_transpose2d(three, b["deblocks.2.0.weight"], stride=2), b, "deblocks.2.1"),
        ],
        1,
    )
    assert found.shape == (2, 9, 4, 6)
    torch.testing.assert_close(found, wanted)
    inputs = [bev, *a.values(), *b.values()]
    weight = torch.randn_like(found)
    for ours, twin in zip(
        torch.autograd.grad((found * weight).sum(), inputs),
        torch.autograd.grad((wanted * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, twin)


def test_centerpoints_two_stages():
    """Shapes as mmdet3d prints them for centerpoint_voxel01_second_secfpn."""
    backbone = BevBackbone(256, (128, 256), (5, 5), (1, 2))
    neck = BevNeck((128, 256), (256, 256), (1, 2))
    shapes = {k: tuple(v.shape) for k, v in [*backbone.named_parameters(), *neck.named_parameters()]}
    assert shapes["blocks.0.0.weight"] == (128, 256, 3, 3)
    assert shapes["blocks.0.15.weight"] == (128, 128, 3, 3)
    assert shapes["blocks.1.0.weight"] == (256, 128, 3, 3)
    assert shapes["blocks.1.16.bias"] == (256,)
    assert shapes["deblocks.0.0.weight"] == (256, 128, 1, 1)
    assert shapes["deblocks.1.0.weight"] == (256, 256, 2, 2)
    assert len(shapes) == 2 * 6 * 3 + 2 * 3
    norms = [m for net in (backbone, neck) for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}
    assert neck.out_channels == 512


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="one length"):
        BevBackbone(3, (4, 5), (1,), (1, 2))
    with pytest.raises(ValueError, match="one length"):
        BevNeck((4, 5), (4,), (1, 2))
    for factor in (1.5, 0.4):
        with pytest.raises(ValueError, match="n or 1 / n"):
            BevNeck((4,), (4,), (factor,))
    neck = BevNeck((2, 2), (2, 2), (1, 2))
    with pytest.raises(ValueError, match="multiples of all strides"):
        neck([torch.zeros(1, 2, 9, 8), torch.zeros(1, 2, 5, 4)])
