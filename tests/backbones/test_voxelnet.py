"""VoxelNet against the same net in dense convolutions, gradients included; the map's layout; odd inputs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lidardistill.backbones.lidar_bev.voxelnet import VoxelNet, to_bev
from lidardistill.sparse.sparse import SparseConv3d, SubMConv3d, sparse
from tests.support.clouds import from_dense, random_voxels, to_dense

GRID, BATCH = (25, 16, 24), 2


def tiny(block="residual", grid=GRID, **kwargs):
    torch.manual_seed(0)
    net = VoxelNet(3, grid, (3, 4, 5, 6), 4, block=block, **kwargs).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.5)
    return net


def run_dense(net, features, coords, grid, batch_size):
    """Dense tensors and masks of what is active; paddings and strides as CenterPoint's configuration lists
    them."""
    x = to_dense(features, coords, grid, batch_size)
    mask = to_dense(torch.ones(len(coords), 1, dtype=features.dtype), coords, grid, batch_size)

    def norm(x, mask, layer):
        active = mask[:, 0].nonzero()
        rows = F.batch_norm(
            from_dense(x, active),
            layer.running_mean.clone(),
            layer.running_var.clone(),
            layer.weight,
            layer.bias,
            layer.training,
            0.01,
            1e-3,
        )
        return to_dense(rows, active, tuple(x.shape[2:]), batch_size)

    def conv(x, weight, stride=1, padding=1):
        return F.conv3d(x, weight.permute(0, 4, 1, 2, 3), stride=stride, padding=padding)

    def down(x, mask, layer, stride, padding):
        ones = torch.ones(1, *layer.conv.weight.shape[1:4], 1, dtype=mask.dtype)
        mask = (conv(mask, ones, stride, padding) > 0).to(mask.dtype)
        return norm(conv(x, layer.conv.weight, stride, padding), mask, layer.norm).relu(), mask

    x = norm(conv(x, net.stem.conv.weight), mask, net.stem.norm).relu()
    for stage, padding in zip(net.stages, (None, 1, 1, (0, 1, 1)), strict=True):
        if padding is not None:
            x, mask = down(x, mask, stage.down, 2, padding)
        for block in stage.blocks:
            if hasattr(block, "conv1"):
                y = norm(conv(x, block.conv1.weight), mask, block.norm1).relu()
                x = (norm(conv(y, block.conv2.weight), mask, block.norm2) + x).relu()
            else:
                x = norm(conv(x, block.conv.weight), mask, block.norm).relu()
    x, _ = down(x, mask, net.out, (2, 1, 1), 0)
    return x.flatten(1, 2)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("block", ["residual", "plain"])
@pytest.mark.parametrize("grid", [GRID, (41, 16, 16)])
def test_map_and_all_gradients_equal_dense_convolution(block, grid, training):
    net = tiny(block, grid).train(training)
    coords = random_voxels(0, 300, grid)
    features = torch.randn(len(coords), 3, dtype=torch.float64, requires_grad=True)
    wanted = run_dense(net, features, coords, grid, BATCH)
    found = net(features, coords, BATCH)
    assert found.shape == (BATCH, net.out_channels, grid[1] // 8, grid[2] // 8) == wanted.shape
    assert net.bev_shape == tuple(found.shape[2:])
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-10)
    weight = torch.randn_like(found)
    inputs = [features, *net.parameters()]
    for ours, dense in zip(
        torch.autograd.grad((found * weight).sum(), inputs),
        torch.autograd.grad((wanted * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, dense, rtol=1e-7, atol=1e-9)
        assert dense.abs().max() > 0


def test_y_is_down_and_x_is_right():
    """One voxel far along x: a map of height y and width x has it in the first rows of the last columns."""
    net = tiny(grid=(25, 32, 64)).eval()
    coords = torch.tensor([[0, 3, 1, 60]], dtype=torch.int32)
    bev = net(torch.ones(1, 3, dtype=torch.float64), coords, 1)
    assert bev.shape[2:] == (4, 8)
    _, rows, cols = bev[0].nonzero().unbind(1)
    assert rows.max() <= 1, "a strided convolution reaches one cell further"
    assert cols.min() >= 7


def test_channels_of_the_map_are_channel_times_depth_plus_height():
    coords = torch.tensor([[1, 2, 0, 1], [0, 1, 3, 4]], dtype=torch.int32)
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    bev = to_bev(sparse(features, coords, (3, 4, 5), 2))
    assert bev.shape == (2, 6, 4, 5)
    assert bev[1, :, 0, 1].tolist() == [0, 0, 1, 0, 0, 2]
    assert bev[0, :, 3, 4].tolist() == [0, 3, 0, 0, 4, 0]
    assert bev.count_nonzero() == 4


@pytest.mark.parametrize("block", ["residual", "plain"])
def test_an_empty_scan_in_a_batch(block):
    net = tiny(block).eval()
    coords = random_voxels(1, 200, GRID, 1)
    features = torch.randn(200, 3, dtype=torch.float64)
    alone = net(features, coords, 1)
    coords[:, 0] = 1
    batch = net(features, coords, 3)
    torch.testing.assert_close(batch[1], alone[0])
    assert not batch[0].any()
    assert not batch[2].any()


@pytest.mark.parametrize("training", [True, False])
def test_no_voxel_at_all(training):
    net = tiny().train(training)
    bev = net(torch.zeros(0, 3, dtype=torch.float64), torch.zeros(0, 4, dtype=torch.int32), 2)
    assert bev.shape == (2, net.out_channels, 2, 3)
    assert not bev.any()
    bev.sum().backward()


def test_gradients_repeat_to_the_bit_on_two_threads():
    net, coords = tiny().float(), random_voxels(2, 1500, GRID)
    torch.set_num_threads(2)  # the fixture of this folder sets it back
    features = torch.randn(1500, 3, generator=torch.Generator().manual_seed(0))
    runs = []
    for _ in range(3):
        x = features.clone().requires_grad_()
        runs.append(torch.autograd.grad(net(x, coords, BATCH).square().sum(), [x, *net.parameters()]))
    for one in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(one, runs[0], strict=True))


def test_centerpoints_sizes():
    net = VoxelNet(5)
    assert sum(p.numel() for p in net.parameters()) == 2_694_352  # of mmdet3d's, dependencies.md
    assert (net.out_channels, net.bev_shape, net.stride) == (256, (128, 128), 8)
    assert VoxelNet(5, (41, 1440, 1440)).bev_shape == (180, 180)
    assert VoxelNet(4, (40, 1024, 1024), (16, 32, 64, 64), 128, "plain").out_channels == 128  # SLidR
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm1d)]
    assert len(norms) == 1 + 3 + 4 * 4 + 1
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}
    convs = [m for m in net.modules() if isinstance(m, (SubMConv3d, SparseConv3d))]
    assert all(conv.bias is None for conv in convs)
    widths = [
        (c.in_channels, c.out_channels, c.kernel_size, c.stride) for c in convs if c.stride != (1, 1, 1)
    ]
    assert widths == [
        (16, 32, (3, 3, 3), (2, 2, 2)),
        (32, 64, (3, 3, 3), (2, 2, 2)),
        (64, 128, (3, 3, 3), (2, 2, 2)),
        (128, 128, (3, 1, 1), (2, 1, 1)),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": (16, 32, 64)}, "4 positive widths"),
        ({"grid": (41, 1020, 1024)}, "multiples of 8"),
        ({"grid": (24, 1024, 1024)}, "at least 25"),
        ({"block": "bottleneck"}, "residual or plain"),
    ],
)
def test_bad_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        VoxelNet(5, **change)


def test_a_voxel_outside_the_grid_is_named():
    with pytest.raises(ValueError, match="spatial_shape"):
        tiny()(torch.ones(1, 3).double(), torch.tensor([[0, 25, 0, 0]], dtype=torch.int32), 1)
