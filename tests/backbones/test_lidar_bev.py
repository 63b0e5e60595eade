"""Presets of LiDAR BEV backbones: sizes as CenterPoint's, and a sweep through the small ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidardistill.data.collate import collate_voxels
from tests.support.backbones import lidar_bev, map_config, map_voxels


@pytest.mark.parametrize(
    ("preset", "parameters", "channels", "shape", "cell"),
    [
        ("voxelnet01", 7_271_120, 512, (128, 128), 0.8),
        ("voxelnet0075", 7_271_120, 512, (180, 180), 0.6),
        ("second01", 5_289_072, 512, (128, 128), 0.8),
        ("pillars02", 4_389_440, 384, (128, 128), 0.8),
        ("voxelnet_mini", 444_712, 64, (64, 64), 1.6),
        ("pillars_mini", 132_112, 96, (64, 64), 1.6),
    ],
)
def test_sizes(preset, parameters, channels, shape, cell):
    net = lidar_bev(preset, 5)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert (net.out_channels, net.bev_shape) == (channels, shape)
    assert net.grid.cell_size == pytest.approx(cell)
    assert (net.grid.x_min, net.grid.y_min) == net.voxels.point_cloud_range[:2]
    assert (net.grid.height, net.grid.width) == shape


def sweep(rng, num=6000):
    """(N, 4) float32 road and walls in the LiDAR frame."""
    angle, distance = rng.uniform(-np.pi, np.pi, num), rng.uniform(2, 60, num)
    z = np.where(rng.random(num) < 0.6, -1.8, rng.uniform(-1.8, 2.5, num))
    columns = [distance * np.cos(angle), distance * np.sin(angle), z, rng.uniform(0, 255, num)]
    return np.stack(columns, axis=1).astype(np.float32)


def inputs(preset, clouds):
    """A batch of clouds (N, 4) as a loader makes it."""
    settings = map_config(preset).scan_input(map_voxels(preset))
    return collate_voxels([settings.read(cloud) for cloud in clouds])


@pytest.mark.parametrize("preset", ["voxelnet_mini", "pillars_mini"])
def test_a_batch_of_sweeps_forward_and_back(rng, preset):
    """With an empty scan between two: each has the map that it has alone, and every parameter learns."""
    torch.manual_seed(0)
    net = lidar_bev(preset, 4)
    clouds = [sweep(rng), sweep(rng, 0), sweep(rng, 2000)]
    bev = net(inputs(preset, clouds)).bev
    assert bev.shape == (3, net.out_channels, *net.bev_shape)
    assert bev.isfinite().all()
    bev.square().mean().backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    net.eval()
    with torch.no_grad():
        bev = net(inputs(preset, clouds)).bev
        for scan, cloud in enumerate(clouds):
            torch.testing.assert_close(bev[scan], net(inputs(preset, [cloud])).bev[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("preset", ["voxelnet_mini", "pillars_mini"])
def test_a_cell_of_the_map_lies_where_cell_size_says(preset):
    """The gradient of one cell reaches only points around that cell."""
    torch.manual_seed(0)
    net = lidar_bev(preset, 4).eval()
    grid = np.stack(np.meshgrid(np.arange(-40, 41, 4.0), np.arange(-40, 41, 4.0)), -1).reshape(-1, 2)
    cloud = np.column_stack([grid, np.full((len(grid), 2), -1.0)]).astype(np.float32)
    batch = inputs(preset, [cloud])
    first = (batch.point_features if net.reads_points else batch.features).requires_grad_()
    row, col = 10, 50
    net(batch).bev[0, :, row, col].sum().backward()
    low = net.voxels.point_cloud_range
    centre = np.array([low[0] + (col + 0.5) * net.grid.cell_size, low[1] + (row + 0.5) * net.grid.cell_size])
    reached = grid[first.grad.abs().sum(1).numpy() > 0] - centre
    assert len(reached) > 0
    assert np.abs(reached.mean(0)).max() < 6
    weight = first.grad.abs().sum(1).numpy()
    np.testing.assert_allclose((grid * weight[:, None]).sum(0) / weight.sum(), centre, atol=4)


def test_what_does_not_fit_is_named(rng):
    with pytest.raises(ValueError, match=r"(?s)preset.*pillars02"):
        map_config("voxelnet")
    with pytest.raises(ValueError, match="cells of the map must be square"):
        lidar_bev("voxelnet01", voxel_size=(0.2, 0.1, 0.2))
    with pytest.raises(ValueError, match="point_features: pillars"):
        lidar_bev("pillars_mini")(inputs("voxelnet_mini", [sweep(rng)]))
    with pytest.raises(ValueError, match=r"voxels\.point_cloud_range is missing"):
        lidar_bev("voxelnet01", point_cloud_range=None)
