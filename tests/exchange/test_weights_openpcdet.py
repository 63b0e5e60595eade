"""Names of OpenPCDet's detectors: complete, one to one, and back the same."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lidardistill.exchange.openpcdet import from_openpcdet, to_openpcdet
from tests.support.backbones import lidar_bev

BN = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def conv_bn(name, conv="0", norm="1"):
    return {f"{name}.{conv}.weight"} | {f"{name}.{norm}.{part}" for part in BN}


def two_d(blocks, count):
    """BaseBEVBackbone: a ZeroPad2d is the first layer of each block."""
    names = set()
    for i, layers in enumerate(blocks):
        for j in range(layers + 1):
            names |= conv_bn(f"backbone_2d.blocks.{i}", f"{3 * j + 1}", f"{3 * j + 2}")
    for i in range(count):
        names |= conv_bn(f"backbone_2d.deblocks.{i}")
    return names


def residual_names():
    names = conv_bn("backbone_3d.conv_input") | conv_bn("backbone_3d.conv_out")
    for stage in range(1, 5):
        first = 0 if stage == 1 else 1
        if first:
            names |= conv_bn(f"backbone_3d.conv{stage}.0")
        for block in (first, first + 1):
            for k in (1, 2):
                names |= conv_bn(f"backbone_3d.conv{stage}.{block}", f"conv{k}", f"bn{k}")
                names.add(f"backbone_3d.conv{stage}.{block}.conv{k}.bias")
    return names


def plain_names():
    names = conv_bn("backbone_3d.conv_input") | conv_bn("backbone_3d.conv_out")
    for stage, count in zip(range(1, 5), (1, 3, 3, 3), strict=True):
        for place in range(count):
            names |= conv_bn(f"backbone_3d.conv{stage}.{place}")
    return names


EXPECTED = {
    "voxelnet01": residual_names() | two_d((5, 5), 2),
    "second01": plain_names() | two_d((5, 5), 2),
    "pillars02": {"vfe.pfn_layers.0.linear.weight"}
    | {f"vfe.pfn_layers.0.norm.{part}" for part in BN}
    | two_d((3, 5, 5), 3),
}


@pytest.mark.parametrize("preset", EXPECTED)
def test_every_name_is_theirs_and_every_name_of_theirs_is_there(preset):
    assert set(to_openpcdet(lidar_bev(preset, 5).state_dict())) == EXPECTED[preset]


@pytest.mark.parametrize("layout", ["mmcv", "spconv2"])
@pytest.mark.parametrize("preset", [*EXPECTED, "voxelnet_mini", "pillars_mini"])
def test_there_and_back_is_the_same(preset, layout):
    state = lidar_bev(preset, 5).state_dict()
    theirs = to_openpcdet(state, layout) | {"dense_head.conv_cls.weight": torch.zeros(1, 1, 1, 1)}
    back = from_openpcdet(theirs)
    assert set(back) == set(state)
    assert all(torch.equal(back[key], value) for key, value in state.items())


def test_shapes_and_the_transposed_convolution_of_factor_one():
    state = lidar_bev("second01", 5).state_dict()
    theirs = to_openpcdet(state)
    assert tuple(theirs["backbone_3d.conv2.0.0.weight"].shape) == (32, 3, 3, 3, 16)
    assert tuple(theirs["backbone_3d.conv_out.0.weight"].shape) == (128, 3, 1, 1, 64)
    bev = torch.randn(1, 128, 3, 4)
    ours = F.conv2d(bev, state["neck.deblocks.0.0.weight"])
    transposed = F.conv_transpose2d(bev, theirs["backbone_2d.deblocks.0.0.weight"])
    torch.testing.assert_close(transposed, ours, rtol=1e-4, atol=1e-4)
    up = "deblocks.1.0.weight"
    assert torch.equal(theirs[f"backbone_2d.{up}"], state[f"neck.{up}"])


def test_what_cannot_come_back_is_named():
    theirs = to_openpcdet(lidar_bev("voxelnet_mini", 5).state_dict())
    key = "backbone_3d.conv2.1.conv2.bias"
    assert not theirs[key].any()
    with pytest.raises(ValueError, match=rf"{key}: our residual blocks have no bias"):
        from_openpcdet(theirs | {key: torch.ones_like(theirs[key])})
    with pytest.raises(ValueError, match=r"no LiDAR encoder.*got names like conv1.weight"):
        from_openpcdet({"conv1.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"head\.weight has no counterpart"):
        to_openpcdet(lidar_bev("voxelnet_mini", 5).state_dict() | {"head.weight": torch.zeros(1)})


def test_a_deeper_encoder_is_refused():
    theirs = to_openpcdet(lidar_bev("voxelnet_mini", 5).state_dict())
    with pytest.raises(ValueError, match=r"1 tensors have no counterpart here, such as backbone_3d\.conv2\.4\.conv1\.weight"):
        from_openpcdet(theirs | {"backbone_3d.conv2.4.conv1.weight": torch.zeros(16, 3, 3, 3, 16)})
