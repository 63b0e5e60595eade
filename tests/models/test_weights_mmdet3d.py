"""Names and layouts of mmdet3d and OpenPCDet: complete, one to one, and back the same."""

from __future__ import annotations

import pytest
import torch

from lidardistill.models.lidar_bev import build_lidar_bev
from lidardistill.models.weights import load_matching
from lidardistill.models.weights_mmdet3d import from_mmdet3d, from_openpcdet, to_mmdet3d, to_openpcdet

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
    assert set(to_mmdet3d(build_lidar_bev(preset, 5).state_dict())) == EXPECTED[preset]


@pytest.mark.parametrize("layout", ["mmcv", "spconv2"])
@pytest.mark.parametrize("preset", [*EXPECTED, "voxelnet_mini", "pillars_mini"])
def test_there_and_back_is_the_same(preset, layout):
    net = build_lidar_bev(preset, 5)
    state = net.state_dict()
    theirs = to_mmdet3d(state, layout)
    assert len(theirs) == len(state)
    theirs["pts_bbox_head.shared_conv.conv.weight"] = torch.zeros(64, 512, 3, 3)
    theirs["img_backbone.conv1.weight"] = torch.zeros(64, 3, 7, 7)
    for given in (None, layout):
        back = from_mmdet3d(theirs, given)
        assert set(back) == set(state)
        assert all(torch.equal(back[key], value) for key, value in state.items())
    fresh = build_lidar_bev(preset, 5)
    assert not load_matching(fresh, back).missing
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), net.parameters(), strict=True))


def test_layouts_of_the_sparse_convolutions():
    """Shapes as mmcv's ops (z, y, x, in, out) and spconv 2 (out, z, y, x, in) print them for CenterPoint."""
    state = build_lidar_bev("voxelnet01", 5).state_dict()
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


def test_openpcdets_backbone_8x():
    state = build_lidar_bev("second01", 5).state_dict()
    theirs = to_openpcdet(state)
    names = conv_bn("backbone_3d.conv_input") | conv_bn("backbone_3d.conv_out")
    for stage, count in zip(range(1, 5), (1, 3, 3, 3), strict=True):
        for place in range(count):
            names |= conv_bn(f"backbone_3d.conv{stage}.{place}")
    assert set(theirs) == names
    assert tuple(theirs["backbone_3d.conv2.0.0.weight"].shape) == (32, 3, 3, 3, 16)
    assert tuple(theirs["backbone_3d.conv_out.0.weight"].shape) == (128, 3, 1, 1, 64)
    encoder = {key: value for key, value in state.items() if key.startswith("encoder.")}
    for layout in ("spconv2", "mmcv"):
        theirs = to_openpcdet(state, layout) | {"dense_head.conv_cls.weight": torch.zeros(1, 1, 1, 1)}
        back = from_openpcdet(theirs)
        assert set(back) == set(encoder)
        assert all(torch.equal(back[key], value) for key, value in encoder.items())
    with pytest.raises(ValueError, match="second01"):
        to_openpcdet(build_lidar_bev("voxelnet_mini", 5).state_dict())


def test_what_does_not_belong_is_named():
    state = build_lidar_bev("voxelnet_mini", 5).state_dict()
    with pytest.raises(ValueError, match=r"head\.weight has no counterpart"):
        to_mmdet3d(state | {"head.weight": torch.zeros(1)})
    for read in (from_mmdet3d, from_openpcdet):
        with pytest.raises(ValueError, match=r"no LiDAR encoder.*got names like conv1.weight"):
            read({"conv1.weight": torch.zeros(1)})
    theirs = to_mmdet3d(state)
    key = "pts_middle_encoder.conv_input.0.weight"
    with pytest.raises(ValueError, match=f"{key}: shape .* is no spconv2 layout"):
        from_mmdet3d(theirs, "spconv2")
    with pytest.raises(ValueError, match=r"neither layout of a kernel \(3, 3, 3\)"):
        from_mmdet3d(theirs | {key: torch.zeros(5, 5, 5, 4, 8)})
    with pytest.raises(ValueError, match="spconv2 or mmcv"):
        from_mmdet3d(theirs | {key: torch.zeros(3, 3, 3, 3, 8)})
    assert from_mmdet3d(theirs | {key: torch.zeros(3, 3, 3, 3, 8)}, "mmcv")
