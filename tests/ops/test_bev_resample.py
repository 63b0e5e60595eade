"""A map on another grid: torch's grid_sample, and our own sampling at points, gradients included."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lidardistill.ops.bev_grid import BevGrid
from lidardistill.ops.bev_resample import bev_resample, resample_weights
from lidardistill.ops.bev_sample import bev_sample

SOURCE = BevGrid.of_range((-8.0, -6.4, 8.0, 6.4), 1.6)  # 8 rows, 10 columns
TARGETS = [
    BevGrid.of_range((-5.0, -4.0, 5.0, 6.0), 0.5),
    BevGrid.of_range((-8.0, -6.4, 8.0, 6.4), 1.6),
    BevGrid.of_range((-12.0, -9.0, 12.0, 9.0), 3.0),  # reaches beyond
]


@pytest.mark.parametrize("target", TARGETS)
def test_against_grid_sample_and_sampling_at_centres(target):
    bev = torch.randn(2, 3, 8, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight = torch.randn(
        2, 3, target.height, target.width, generator=torch.Generator().manual_seed(1)
    ).double()
    cells = torch.arange(target.num_cells)
    xy = target.centres(cells)

    def ours(bev):
        rows, columns = resample_weights(SOURCE, target)
        return bev_resample(bev, rows, columns)

    def sampled(bev):
        batch_idx = torch.arange(2).repeat_interleave(len(cells))
        values, _ = bev_sample(bev, xy.repeat(2, 1), batch_idx, SOURCE, missing="zero")
        return values.view(2, target.height, target.width, 3).permute(0, 3, 1, 2)

    def torchs(bev):
        place = SOURCE.position(xy) / torch.tensor([SOURCE.width, SOURCE.height]) * 2 - 1
        grid = place.view(1, target.height, target.width, 2).expand(2, -1, -1, -1).to(bev.dtype)
        return F.grid_sample(bev, grid, align_corners=False)

    found = []
    for resample in (ours, sampled, torchs):
        leaf = bev.clone().requires_grad_()
        out = resample(leaf)
        (out * weight).sum().backward()
        found.append((out.detach(), leaf.grad))
    for out, gradient in found[1:]:
        torch.testing.assert_close(found[0][0], out, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(found[0][1], gradient, rtol=1e-6, atol=1e-5)


def test_the_same_grid_changes_nothing():
    bev = torch.randn(1, 2, 8, 10)
    torch.testing.assert_close(bev_resample(bev, *resample_weights(SOURCE, SOURCE)), bev)
    assert bev_resample(bev.bfloat16(), *resample_weights(SOURCE, TARGETS[0])).dtype == torch.bfloat16


def test_a_map_of_another_grid():
    rows, columns = resample_weights(SOURCE, TARGETS[0])
    for shape in ((1, 2, 10, 8), (2, 8, 10)):
        with pytest.raises(ValueError, match=r"expected a map \(B, C, 8, 10\)"):
            bev_resample(torch.zeros(shape), rows, columns)
