"""Names, layouts and axes of mmdet3d's detectors: complete, one to one, and back the same."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lidardistill.exchange.layout import reverse_axes
from lidardistill.exchange.mmdet3d import from_mmdet3d, to_mmdet3d
from lidardistill.export.head_mmdet3d import head_from_mmdet3d, head_to_mmdet3d
from lidardistill.tasks.detect.center.head import CenterHead
from lidardistill.weights import load_matching
from tests.support.backbones import lidar_bev

BN = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def conv_bn(name, conv="0", norm="1"):
    return {f"{name}.{conv}.weight"} | {f"{name}.{norm}.{part}" for part in BN}


def two_d(blocks, count):
    names = set()
    for i, layers in enumerate(blocks):
        for j in range(layers + 1):
            names |= conv_bn(f"pts_backbone.blocks.{i}", f"{3 * j}", f"{3 * j + 1}")
    for i in range(count):
        names |= conv_bn(f"pts_neck.deblocks.{i}")
    return names


def residual_names():
    """SparseEncoder with block_type basicblock, as its state dict lists them."""
    root = "pts_middle_encoder"
    names = conv_bn(f"{root}.conv_input") | conv_bn(f"{root}.conv_out")
    for stage in range(1, 5):
        layer = f"{root}.encoder_layers.encoder_layer{stage}"
        for block in range(2):
            for k in (1, 2):
                names |= conv_bn(f"{layer}.{block}", f"conv{k}", f"bn{k}")
        if stage < 4:
            names |= conv_bn(f"{layer}.2")
    return names


def plain_names():
    root = "pts_middle_encoder"
    names = conv_bn(f"{root}.conv_input") | conv_bn(f"{root}.conv_out")
    for stage, count in zip(range(1, 5), (1, 3, 3, 3), strict=True):
        for place in range(count):
            names |= conv_bn(f"{root}.encoder_layers.encoder_layer{stage}.{place}")
    return names


EXPECTED = {
    "voxelnet01": residual_names() | two_d((5, 5), 2),
    "second01": plain_names() | two_d((5, 5), 2),
    "pillars02": {"pts_voxel_encoder.pfn_layers.0.linear.weight"}
    | {f"pts_voxel_encoder.pfn_layers.0.norm.{part}" for part in BN}
    | two_d((3, 5, 5), 3),
}


@pytest.mark.parametrize("preset", EXPECTED)
def test_every_name_is_theirs_and_every_name_of_theirs_is_there(preset):
    assert set(to_mmdet3d(lidar_bev(preset, 5).state_dict())) == EXPECTED[preset]


@pytest.mark.parametrize("layout", ["mmcv", "spconv2"])
@pytest.mark.parametrize("detector", ["centerpoint", "bevfusion"])
@pytest.mark.parametrize("preset", [*EXPECTED, "voxelnet_mini", "pillars_mini"])
def test_there_and_back_is_the_same(preset, detector, layout):
    net = lidar_bev(preset, 5)
    state = net.state_dict()
    if detector == "bevfusion" and preset.startswith("pillars"):
        with pytest.raises(ValueError, match="BEVFusion has no pillars"):
            to_mmdet3d(state, layout, detector)
        return
    theirs = to_mmdet3d(state, layout, detector)
    assert len(theirs) == len(state)
    theirs["pts_bbox_head.shared_conv.conv.weight"] = torch.zeros(64, 512, 3, 3)
    theirs["img_backbone.conv1.weight"] = torch.zeros(64, 3, 7, 7)
    for given in (None, layout):
        back = from_mmdet3d(theirs, given)
        assert set(back) == set(state)
        assert all(torch.equal(back[key], value) for key, value in state.items())
    fresh = lidar_bev(preset, 5)
    assert not load_matching(fresh, back).missing
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), net.parameters(), strict=True))


def test_layouts_of_the_sparse_convolutions():
    """Shapes as mmcv's ops (z, y, x, in, out) and spconv 2 (out, z, y, x, in) print them for CenterPoint."""
    state = lidar_bev("voxelnet01", 5).state_dict()
    mmcv, spconv2 = to_mmdet3d(state), to_mmdet3d(state, "spconv2")
    for name, ours, theirs in (
        ("conv_input.0.weight", (16, 3, 3, 3, 5), (3, 3, 3, 5, 16)),
        ("encoder_layers.encoder_layer1.2.0.weight", (32, 3, 3, 3, 16), (3, 3, 3, 16, 32)),
        ("encoder_layers.encoder_layer3.2.0.weight", (128, 3, 3, 3, 64), (3, 3, 3, 64, 128)),
        ("encoder_layers.encoder_layer4.1.conv2.weight", (128, 3, 3, 3, 128), (3, 3, 3, 128, 128)),
        ("conv_out.0.weight", (128, 3, 1, 1, 128), (3, 1, 1, 128, 128)),
    ):
        key = f"pts_middle_encoder.{name}"
        assert tuple(spconv2[key].shape) == ours
        assert tuple(mmcv[key].shape) == theirs
        assert mmcv[key].is_contiguous()
        assert mmcv[key][2, 0, 0, 3, 7] == spconv2[key][7, 2, 0, 0, 3]
        # What mmdet3d on spconv 2 does to a file without module versions.
        assert torch.equal(mmcv[key].permute(4, 0, 1, 2, 3), spconv2[key])


def test_axes_of_bevfusion():
    """Its names are CenterPoint's, its kernels lie x, y, z and x, y."""
    state = lidar_bev("voxelnet01", 5).state_dict()
    centerpoint, bevfusion = to_mmdet3d(state), to_mmdet3d(state, detector="bevfusion")
    assert list(centerpoint) == list(bevfusion)
    key = "pts_middle_encoder.conv_out.0.weight"
    assert tuple(bevfusion[key].shape) == (1, 1, 3, 128, 128)
    key = "pts_middle_encoder.conv_input.0.weight"
    assert bevfusion[key][0, 1, 2, 3, 4] == centerpoint[key][2, 1, 0, 3, 4]
    for key, turned in (("pts_backbone.blocks.0.0.weight", False), ("pts_neck.deblocks.1.0.weight", True)):
        kernel, other = centerpoint[key], bevfusion[key]
        assert other.is_contiguous()
        bev = torch.randn(1, kernel.shape[0 if turned else 1], 6, 8)
        convolve = F.conv_transpose2d if turned else F.conv2d
        mirrored = convolve(bev.transpose(2, 3), other).transpose(2, 3)
        torch.testing.assert_close(mirrored, convolve(bev, kernel), rtol=1e-4, atol=1e-4)


def test_reversed_kernels_are_those_of_a_reversed_volume():
    weight = torch.randn(4, 3, 2, 1, 5)
    volume = torch.randn(1, 5, 6, 7, 8)
    out = F.conv3d(volume, weight.permute(0, 4, 1, 2, 3))
    reverse = reverse_axes(weight)
    mirrored = F.conv3d(volume.permute(0, 1, 4, 3, 2), reverse.permute(0, 4, 1, 2, 3))
    torch.testing.assert_close(mirrored.permute(0, 1, 4, 3, 2), out)
    assert torch.equal(reverse_axes(reverse), weight)
    assert reverse_axes(torch.zeros(3)).shape == (3,)


def test_the_head_there_and_back():
    head = CenterHead(8, (1, 2), width=4)
    theirs = head_to_mmdet3d(head.state_dict())
    root = "pts_bbox_head"
    names = {f"{root}.shared_conv.conv.weight"} | {f"{root}.shared_conv.bn.{part}" for part in BN}
    for task in range(2):
        for branch in ("reg", "height", "dim", "rot", "vel", "heatmap"):
            place = f"{root}.task_heads.{task}.{branch}"
            names |= {f"{place}.0.conv.weight", f"{place}.1.weight", f"{place}.1.bias"}
            names |= {f"{place}.0.bn.{part}" for part in BN}
    assert set(theirs) == names
    assert theirs[f"{root}.task_heads.1.heatmap.1.bias"].shape == (2,)
    assert theirs[f"{root}.task_heads.0.dim.1.bias"].shape == (3,)
    back = head_from_mmdet3d(theirs | {"pts_neck.deblocks.0.0.weight": torch.zeros(1)})
    assert all(torch.equal(back[key], value) for key, value in head.state_dict().items())
    assert set(back) == set(head.state_dict())
    with pytest.raises(ValueError, match="no CenterHead in these weights"):
        head_from_mmdet3d({"conv1.weight": torch.zeros(1)})


def test_what_does_not_belong_is_named():
    state = lidar_bev("voxelnet_mini", 5).state_dict()
    with pytest.raises(ValueError, match=r"head\.weight has no counterpart"):
        to_mmdet3d(state | {"head.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"no LiDAR encoder.*got names like conv1.weight"):
        from_mmdet3d({"conv1.weight": torch.zeros(1)})
    theirs = to_mmdet3d(state)
    key = "pts_middle_encoder.conv_input.0.weight"
    with pytest.raises(ValueError, match=f"{key}: shape .* is no spconv2 layout"):
        from_mmdet3d(theirs, "spconv2")
    with pytest.raises(ValueError, match=r"neither layout of a kernel \(3, 3, 3\)"):
        from_mmdet3d(theirs | {key: torch.zeros(5, 5, 5, 4, 8)})
    with pytest.raises(ValueError, match="spconv2 or mmcv"):
        from_mmdet3d(theirs | {key: torch.zeros(3, 3, 3, 3, 8)})
    assert from_mmdet3d(theirs | {key: torch.zeros(3, 3, 3, 3, 8)}, "mmcv")


def test_a_deeper_encoder_is_refused():
    """Its further blocks have no place here, and leaving them out would give another function."""
    theirs = to_mmdet3d(lidar_bev("voxelnet_mini", 5).state_dict())
    key = "pts_middle_encoder.encoder_layers.encoder_layer2.3.conv1.weight"
    with pytest.raises(ValueError, match=rf"1 tensors have no counterpart here, such as {key}"):
        from_mmdet3d(theirs | {key: torch.zeros(3, 3, 3, 16, 16)})
    pillars = to_mmdet3d(lidar_bev("pillars_mini", 5).state_dict())
    with pytest.raises(ValueError, match=r"pfn_layers\.1\.linear\.weight"):
        from_mmdet3d(pillars | {"pts_voxel_encoder.pfn_layers.1.linear.weight": torch.zeros(2, 2)})
