"""mmdet3d's MinkUNetBackbone: its names, its axes, its 1x1x1 shortcuts and the second convolution of its stem."""

from __future__ import annotations

import pytest
import torch

from lidardistill.backbones.minkunet.net import PRESETS
from lidardistill.exchange.mmdet3d_minkunet import minkunet_from_mmdet3d, minkunet_to_mmdet3d
from tests.support.backbones import minkunet

BN = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
STEM = "backbone.conv_input.1"


def conv_bn(name, conv="0", norm="1"):
    return {f"{name}.{conv}.weight"} | {f"{name}.{norm}.{part}" for part in BN}


def expected(preset):
    """As the state dict of MinkUNetBackbone lists them."""
    net = PRESETS[preset]
    widths, blocks = net.widths, net.blocks
    names = conv_bn("backbone.conv_input.0") | conv_bn(STEM)
    width = net.stem
    for level in range(4):
        names |= conv_bn(f"backbone.encoder.{level}.0") | conv_bn(f"backbone.decoder.{level}.0")
        for block in range(blocks[level]):
            place = f"backbone.encoder.{level}.{block + 1}"
            names |= conv_bn(place, "conv1", "bn1") | conv_bn(place, "conv2", "bn2")
            if block == 0 and width != widths[level]:
                names |= conv_bn(f"{place}.downsample")
        width = widths[level]
        for block in range(blocks[4 + level]):
            place = f"backbone.decoder.{level}.1.{block}"
            names |= conv_bn(place, "conv1", "bn1") | conv_bn(place, "conv2", "bn2")
            if block == 0:
                names |= conv_bn(f"{place}.downsample")
    return names


def drawn(preset, in_channels=4):
    """With BatchNorms of the stem that are no identity."""
    torch.manual_seed(0)
    net = minkunet(preset, in_channels)
    with torch.no_grad():
        net.stem.norm.weight.normal_()
        net.stem.norm.bias.normal_()
    return net.state_dict()


@pytest.mark.parametrize("preset", ["minkunet34", "minkunet18", "mini"])
def test_every_name_is_theirs_and_every_name_of_theirs_is_there(preset):
    assert set(minkunet_to_mmdet3d(drawn(preset))) == expected(preset)


@pytest.mark.parametrize("layout", ["mmcv", "spconv2"])
def test_there_and_back_is_the_same(layout):
    state = drawn("mini")
    theirs = minkunet_to_mmdet3d(state, layout) | {"decode_head.cls_seg.weight": torch.zeros(19, 32)}
    for given in (None, layout):
        back = minkunet_from_mmdet3d(theirs, given)
        assert set(back) == set(state)
        assert all(torch.equal(back[key], value) for key, value in state.items())


def test_kernels_lie_x_y_z_and_shortcuts_are_read_as_in_out():
    state = drawn("mini")
    file, loaded = minkunet_to_mmdet3d(state), minkunet_to_mmdet3d(state, "spconv2")
    assert tuple(file["backbone.conv_input.0.0.weight"].shape) == (3, 3, 3, 4, 16)
    for ours, theirs in (
        ("stem.conv.weight", "conv_input.0.0.weight"),
        ("up.1.conv.weight", "decoder.1.0.0.weight"),
    ):
        weight, other = state[ours], loaded[f"backbone.{theirs}"]
        assert torch.equal(other[2, 0, 1, 1, 3], weight[2, 1, 1, 0, 3])
    ours, theirs = "encoder.1.0.projection.0.weight", "backbone.encoder.1.1.downsample.0.weight"
    assert tuple(loaded[theirs].shape) == (32, 1, 1, 1, 16)
    # spconv 2.3's forward of a kernel of one voxel: features @ weight.view(in, out).
    features = torch.randn(5, 16)
    expected_rows = torch.nn.functional.linear(features, state[ours])
    torch.testing.assert_close(features @ loaded[theirs].view(16, 32), expected_rows)
    for key, value in file.items():
        if value.ndim == 5:  # what mmdet3d does to a file without module versions
            assert torch.equal(value.permute(4, 0, 1, 2, 3), loaded[key])


def test_the_second_convolution_of_the_stem_does_nothing():
    """With running statistics to rounding; with those of a batch nearly, where the first gave what BatchNorms give."""
    state = drawn("mini")
    theirs = minkunet_to_mmdet3d(state, "spconv2")
    kernel = theirs[f"{STEM}.0.weight"]
    torch.manual_seed(1)
    normal = torch.randn(20_000, 16) * state["stem.norm.weight"] + state["stem.norm.bias"]
    rows = normal.relu()
    assert not kernel[:, [0, 2]].any()
    assert torch.equal(rows @ kernel[:, 1, 1, 1, :].t(), rows)
    norm = torch.nn.BatchNorm1d(16)
    norm.load_state_dict({part: theirs[f"{STEM}.1.{part}"] for part in BN})
    torch.testing.assert_close(norm.eval()(rows).relu(), rows, rtol=1e-5, atol=1e-5)
    assert (norm.train()(rows).relu() - rows).abs().mean() < 0.02 * rows.mean()


def test_what_cannot_come_back_is_named():
    theirs = minkunet_to_mmdet3d(drawn("mini"))
    key = f"{STEM}.0.weight"
    with pytest.raises(ValueError, match=rf"{key}: mmdet3d's MinkUNet has two convolutions in its stem"):
        minkunet_from_mmdet3d(theirs | {key: torch.randn_like(theirs[key])})
    with pytest.raises(ValueError, match="two convolutions in its stem"):
        minkunet_from_mmdet3d(theirs | {f"{STEM}.1.bias": theirs[f"{STEM}.1.bias"] + 1})
    with pytest.raises(ValueError, match=r"no MinkUNet in these weights.*got names like conv1.weight"):
        minkunet_from_mmdet3d({"conv1.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"head\.weight has no counterpart.*MinkUNet"):
        minkunet_to_mmdet3d(drawn("mini") | {"head.weight": torch.zeros(1)})
