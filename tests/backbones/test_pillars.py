"""PointPillars' encoder against a loop over pillars, with and without the authors' filled-up slots."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lidardistill.backbones.lidar_bev.pillars import PillarNet, first_of_each
from lidardistill.geometry.voxels import voxelize

SIZE, RANGE = (0.5, 0.25, 4.0), (-4.0, -2.0, -3.0, 4.0, 2.0, 1.0)


def scan_batch(seed=0, num=400, batch_size=2):
    """Two scans with points outside the range, crowded pillars among them."""
    rng = np.random.default_rng(seed)
    points, coords, p2v, mask, voxels = [], [], [], [], 0
    for b in range(batch_size):
        cloud = rng.normal(0, [2, 1, 1, 1, 1], (num, 5)).astype(np.float32)
        cloud[: num // 4, :2] *= 0.05
        v = voxelize(cloud, SIZE, kind="cartesian", point_cloud_range=RANGE, align=1)
        assert v.spatial_shape == (1, 16, 16)
        points.append(cloud)
        coords.append(np.pad(v.voxel_coords, ((0, 0), (1, 0)), constant_values=b))
        p2v.append(v.point2voxel + voxels)
        mask.append(v.point_mask)
        voxels += len(v.voxel_coords)
    arrays = (np.concatenate(parts) for parts in (points, p2v, mask, coords))
    points_, p2v_, mask_, coords_ = (torch.from_numpy(a) for a in arrays)
    return points_.double(), p2v_, mask_, coords_.int()


def by_loop(net, points, point2voxel, point_mask, coords, batch_size):
    """Pillar by pillar, slots filled with zeros when `max_points` is set."""
    pillars, sizes = [], []
    for row, (_, _, y, x) in enumerate(coords.tolist()):
        own = points[point_mask & (point2voxel == row)]
        if net.max_points is not None:
            own = own[: net.max_points]
        centre = [RANGE[0] + (x + 0.5) * SIZE[0], RANGE[1] + (y + 0.5) * SIZE[1], -1.0]
        slots = torch.cat([own, own[:, :3] - own[:, :3].mean(0), own[:, :3] - own.new_tensor(centre)], dim=1)
        if net.max_points is not None:
            slots = F.pad(slots, (0, 0, 0, net.max_points - len(own)))
        pillars.append(slots)
        sizes.append(len(slots))
    x = torch.cat(pillars) @ net.linear.weight.T
    n = net.norm
    x = F.batch_norm(
        x, n.running_mean.clone(), n.running_var.clone(), n.weight, n.bias, n.training, 0.01, 1e-3
    ).relu()
    bev = x.new_zeros(batch_size, x.shape[1], 16, 16)
    for (b, _, y, col), part in zip(coords.tolist(), x.split(sizes), strict=True):
        bev[b, :, y, col] = part.amax(0)
    return bev


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("max_points", [None, 3, 500])
def test_map_and_gradients_equal_a_loop(max_points, training):
    torch.manual_seed(0)
    net = PillarNet(5, SIZE, RANGE, 6, max_points).double().train(training)
    torch.nn.init.uniform_(net.norm.bias, -0.5, 0.5)
    torch.nn.init.uniform_(net.norm.running_mean, -0.5, 0.5)
    batch = scan_batch()
    found, wanted = net(*batch, 2), by_loop(net, *batch, 2)
    torch.testing.assert_close(found, wanted)
    weight = torch.randn_like(found)
    inputs = list(net.parameters())
    for ours, twin in zip(
        torch.autograd.grad((found * weight).sum(), inputs),
        torch.autograd.grad((wanted * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, twin)
        assert twin.abs().max() > 0


def test_filled_up_slots_matter():
    """A pillar that is not full shows at least what an empty slot gives: the known quirk of the authors'
    code."""
    net = PillarNet(5, SIZE, RANGE, 1, 1000).double().eval()
    torch.nn.init.zeros_(net.linear.weight)
    net.linear.weight.data[0, 2] = 1.0  # z
    net.norm.bias.data.fill_(0.25)
    free = PillarNet(5, SIZE, RANGE, 1).double().eval()
    free.load_state_dict(net.state_dict())
    batch = scan_batch()
    batch[0][:, 2] = batch[0][:, 2].abs().neg()  # all below 0, which an empty slot has for its z
    assert (net(*batch, 2) == 0.25).sum() == len(batch[3])
    assert free(*batch, 2).max() < 0.25


def test_the_first_points_of_each_group_stay():
    group = torch.tensor([2, 0, 2, 2, 1, 0, 2, 0])
    assert first_of_each(group, 2).tolist() == [0, 1, 2, 4, 5]
    assert first_of_each(group, 9).tolist() == list(range(8))
    assert first_of_each(group[:0], 2).tolist() == []


@pytest.mark.parametrize("max_points", [None, 4])
@pytest.mark.parametrize("training", [True, False])
def test_empty_scans(max_points, training):
    net = PillarNet(5, SIZE, RANGE, 6, max_points).double().train(training)
    points, p2v, mask, coords = scan_batch(batch_size=1)
    coords[:, 0] = 1
    bev = net(points, p2v, mask, coords, 3)
    assert not bev[[0, 2]].any()
    assert bev[1].any()
    nothing = net(points, p2v, torch.zeros_like(mask), coords[:0], 2)
    assert nothing.shape == (2, 6, 16, 16)
    assert not nothing.any()


def test_gradients_repeat_to_the_bit_on_two_threads():
    net, batch = PillarNet(5, SIZE, RANGE, 8, 6), scan_batch(num=3000)
    torch.set_num_threads(2)
    runs = []
    for _ in range(3):
        points = batch[0].float().requires_grad_()
        bev = net(points, *batch[1:], 2)
        runs.append(torch.autograd.grad(bev.square().sum(), [points, *net.parameters()]))
    for one in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(one, runs[0], strict=True))


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="x, y, z first"):
        PillarNet(2)
    with pytest.raises(ValueError, match="no whole number of pillars"):
        PillarNet(4, (0.3, 0.2, 8.0))
    with pytest.raises(ValueError, match="one over z"):
        PillarNet(4, (0.2, 0.2, 4.0))
