"""Two maps become one: what is masked does not matter, and grids that differ are brought together."""

from __future__ import annotations

import pytest
import torch

from lidardistill.ops.bev_grid import BevGrid
from lidardistill.tasks.detect.bev_fusion import ConvFuser, on_grid


def test_masked_cells_do_not_matter():
    torch.manual_seed(0)
    fuser = ConvFuser(3, 2, 5).eval()
    lidar, camera = torch.randn(2, 3, 6, 7), torch.randn(2, 2, 6, 7)
    mask = torch.rand(2, 6, 7) < 0.5
    spoilt = torch.where(mask[:, None], camera, float("nan"))
    fused = fuser(lidar, spoilt, mask)
    assert fused.shape == (2, 5, 6, 7)
    torch.testing.assert_close(fused, fuser(lidar, torch.where(mask[:, None], camera, 0.0)))
    assert not torch.equal(fused, fuser(lidar, camera))


def test_both_maps_get_a_gradient():
    lidar, camera = (torch.randn(1, channels, 4, 4, requires_grad=True) for channels in (3, 2))
    ConvFuser(3, 2, 5)(lidar, camera, torch.ones(1, 4, 4, dtype=torch.bool)).square().sum().backward()
    assert lidar.grad.abs().max() > 0
    assert camera.grad.abs().max() > 0


def test_maps_that_do_not_fit():
    fuser = ConvFuser(3, 2, 5)
    with pytest.raises(ValueError, match=r"maps of 3 and 2 channels on the same cells"):
        fuser(torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 4, 5))
    with pytest.raises(ValueError, match="positive channels, got 3, 0, 5"):
        ConvFuser(3, 0, 5)


def test_the_same_grid_is_handed_on():
    grid = BevGrid(-4.0, -3.0, 1.0, 6, 8)
    bev = torch.randn(1, 2, 6, 8)
    same, mask = on_grid(bev, grid, grid)
    assert same is bev
    assert mask is None


def test_a_linear_map_stays_linear_on_finer_cells():
    """Bilinear interpolation of 2 x - y is 2 x - y; cells beyond the border are not valid."""
    coarse, fine = BevGrid(-4.0, -4.0, 1.0, 8, 8), BevGrid(-5.0, -4.0, 0.5, 16, 20)
    xy = coarse.centres(torch.arange(64)).float()
    bev = (2 * xy[:, 0] - xy[:, 1]).view(1, 1, 8, 8)
    found, valid = on_grid(bev, coarse, fine)
    wanted = fine.centres(torch.arange(fine.num_cells)).float().view(16, 20, 2)
    assert torch.equal(valid[0], (wanted[..., 0] > -4.5) & (wanted[..., 0] < 4.5))
    inner = (wanted.abs() < 3.5).all(2)
    torch.testing.assert_close(found[0, 0][inner], (2 * wanted[..., 0] - wanted[..., 1])[inner])


def test_a_masked_cell_lends_nothing():
    coarse, fine = BevGrid(0.0, 0.0, 1.0, 2, 2), BevGrid(0.0, 0.0, 0.5, 4, 4)
    bev = torch.tensor([[[[1.0, float("nan")], [1.0, 1.0]]]])
    found, valid = on_grid(bev, coarse, fine, torch.tensor([[[True, False], [True, True]]]))
    assert valid.logical_not().sum() == 1  # the outer quarter of the masked cell has no other neighbour
    assert (found[0, 0][valid[0]] == 1).all()
