"""MinkUNet: what SLidR's network is made of, and that odd inputs pass."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from lidardistill.backbones.minkunet.config import PRESETS, MinkUNetConfig, MinkUNetLayers
from lidardistill.backbones.minkunet.net import (
    MinkUNet,
    ResidualBlock,
    VoxelBatchNorm,
)
from lidardistill.geometry.voxels import voxelize
from lidardistill.sparse.sparse import SparseConv3d, SparseInverseConv3d, SubMConv3d, sparse
from tests.support.backbones import minkunet
from tests.support.clouds import random_voxels

SHAPE = (16, 32, 32)


def tiny(**kwargs):
    torch.manual_seed(0)
    return MinkUNet(2, MinkUNetConfig(**kwargs), MinkUNetLayers(4, (4, 6, 8, 8, 8, 6, 5, 5), (1,) * 8))


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [("minkunet34", 37_842_976), ("minkunet18", 21_691_168), ("minkunet14", 11_567_776), ("mini", 1_124_688)],
)
def test_parameter_counts(preset, parameters):
    assert sum(p.numel() for p in minkunet(preset, 1).parameters()) == parameters


def test_minkunet34_is_res16unet34c():
    net = minkunet("minkunet34", 1)
    assert [len(level) for level in [*net.encoder, *net.decoder]] == [2, 3, 4, 6, 2, 2, 2, 2]
    assert [level[0].conv1.in_channels for level in net.encoder] == [32, 32, 64, 128]
    assert [level[0].conv1.in_channels for level in net.decoder] == [256 + 128, 128 + 64, 96 + 32, 96 + 32]
    assert [level[-1].conv2.out_channels for level in [*net.encoder, *net.decoder]] == [
        32,
        64,
        128,
        256,
        256,
        128,
        96,
        96,
    ]
    assert [up.conv.out_channels for up in net.up] == [256, 128, 96, 96]
    assert net.out_channels == 96
    convs = [
        m for m in net.modules() if isinstance(m, (SubMConv3d, SparseConv3d, SparseInverseConv3d, nn.Linear))
    ]
    assert all(conv.bias is None for conv in convs)
    assert all(m.eps == 1e-5 for m in net.modules() if isinstance(m, nn.BatchNorm1d))


def test_batchnorm_momentum_inside_blocks_is_another():
    net = tiny(bn_momentum=0.02, block_bn_momentum=0.3)
    inside, outside = set(), set()
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm1d):
            (inside if name.endswith(("norm1", "norm2")) else outside).add(module.momentum)
    assert (inside, outside) == ({0.3}, {0.02})
    assert any("projection.1" in name for name, _ in net.named_modules()), "projections count as outside"


def test_first_weights_have_minkowski_engines_bounds():
    """1 / sqrt(channels * cells), channels being those of the input, of a transposed convolution those of
    the output.
    """
    torch.manual_seed(0)
    net = minkunet("minkunet34", 1)
    found = {f"up.{i}": float(up.conv.weight.detach().abs().max()) for i, up in enumerate(net.up)}
    found |= {f"down.{i}": float(down.conv.weight.detach().abs().max()) for i, down in enumerate(net.down)}
    expected = dict(
        zip(found, (0.02210, 0.03125, 0.03608, 0.03608, 0.0625, 0.0625, 0.04419, 0.03125), strict=True)
    )
    assert found == pytest.approx(expected, rel=2e-3)


def test_presets_by_name():
    assert set(PRESETS) == {"minkunet34", "minkunet18", "minkunet14", "mini"}
    with pytest.raises(ValueError, match=r"preset"):
        minkunet("minkunet50", 1)


@pytest.mark.parametrize("change", [{"widths": (4,) * 7}, {"blocks": (1,) * 7 + (0,)}, {"stem": 0}])
def test_bad_sizes_are_named(change):
    with pytest.raises(ValueError, match="8 positive widths and blocks"):
        MinkUNet(1, MinkUNetConfig(), PRESETS["mini"]._replace(**change))


def test_rows_follow_the_voxels_and_scans_are_independent():
    net = tiny().double().eval()
    coords, features = random_voxels(0, 400, SHAPE), torch.randn(400, 2, dtype=torch.float64)
    out = net.convolve(features, coords, SHAPE, 2)
    assert out.shape == (400, 5)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(net.convolve(features[order], coords[order], SHAPE, 2), out[order])
    for scan in range(2):
        own = coords[:, 0] == scan
        alone = coords[own].clone()
        alone[:, 0] = 0
        torch.testing.assert_close(net.convolve(features[own], alone, SHAPE, 1), out[own])


def test_a_shift_by_the_coarsest_cell_changes_nothing():
    net = tiny().double().eval()
    coords, features = random_voxels(1, 300, SHAPE, 1), torch.randn(300, 2, dtype=torch.float64)
    shifted = coords + torch.tensor([0, 16, 32, 16], dtype=torch.int32)
    torch.testing.assert_close(
        net.convolve(features, shifted, (32, 64, 48), 1), net.convolve(features, coords, SHAPE, 1)
    )


def test_a_grid_that_is_no_multiple_of_16_loses_no_voxel():
    net = tiny().double().eval()
    coords = random_voxels(2, 200, (5, 7, 9), 1)
    features = torch.randn(200, 2, dtype=torch.float64)
    torch.testing.assert_close(
        net.convolve(features, coords, (5, 7, 9), 1), net.convolve(features, coords, (16, 16, 16), 1)
    )


def test_all_parameters_learn():
    net = tiny()
    net.convolve(torch.randn(300, 2), random_voxels(3, 300, SHAPE), SHAPE, 2).square().mean().backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0]


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("training", [True, False])
def test_none_or_one_voxel_passes(count, training):
    net = tiny().train(training)
    before = copy.deepcopy(net.state_dict())
    out = net.convolve(torch.ones(count, 2), torch.zeros(count, 4, dtype=torch.int32), SHAPE, 1)
    assert out.shape == (count, 5)
    assert out.isfinite().all()
    out.sum().backward()
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), f"{name}: one voxel must not move the running statistics"


def test_batchnorm_of_many_rows_is_torchs():
    ours, theirs = VoxelBatchNorm(3, momentum=0.2), nn.BatchNorm1d(3, momentum=0.2)
    x = torch.randn(50, 3)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_bfloat16_autocast():
    net, coords, features = tiny(), random_voxels(4, 300, SHAPE), torch.randn(300, 2)
    with torch.autocast("cpu", torch.bfloat16):
        out = net.convolve(features, coords, SHAPE, 2)
    out.float().square().mean().backward()
    exact = tiny().convolve(features, coords, SHAPE, 2)
    assert (out - exact).abs().mean() < 0.1 * exact.abs().mean()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_synchronised_batchnorm_replaces_every_batchnorm():
    net = nn.SyncBatchNorm.convert_sync_batchnorm(tiny())
    kinds = {type(m) for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    assert kinds == {nn.SyncBatchNorm}


def test_the_shortcut_carries_the_input():
    """With weights of zero a block is a ReLU of its input."""
    block = ResidualBlock(4, 4, "a", 0.1, 0.1)
    for conv in (block.conv1, block.conv2):
        nn.init.zeros_(conv.weight)
    x = torch.randn(120, 4)
    out = block(sparse(x, random_voxels(0), (6, 8, 10), 2)).features
    torch.testing.assert_close(out, x.relu())


def test_the_real_sweep_in_slidrs_cylinders(nuscenes_one):
    """34,688 points make 15,948 voxels of 0.1 m, 1 degree, 0.1 m; the mini net runs them forward and
    backward."""
    (path,) = (nuscenes_one / "samples" / "LIDAR_TOP").glob("*.bin")
    points = np.fromfile(path, np.float32).reshape(-1, 5)[:, :4]
    voxels = voxelize(points, (0.1, 1.0, 0.1), kind="cylindrical")
    coords = torch.from_numpy(np.pad(voxels.voxel_coords, ((0, 0), (1, 0))).astype(np.int32))
    net = minkunet("mini", 1)
    out = net.convolve(torch.from_numpy(points[voxels.voxel_points, 3:]), coords, voxels.spatial_shape, 1)
    out.square().mean().backward()
    assert out.shape == (15_948, 32)
    assert out.isfinite().all()
    assert net.stem.conv.weight.grad.abs().max() > 0
