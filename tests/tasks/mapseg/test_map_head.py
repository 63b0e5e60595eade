"""The map head: where its cells lie, what its weights file holds, and that it learns."""

from __future__ import annotations

import pytest
import torch

from lidardistill.ops.bev_grid import BevGrid
from lidardistill.tasks.mapseg.map_head import MapHead

SOURCE, TARGET = BevGrid.of_range((-8, -8, 8, 8), 1.0), BevGrid.of_range((-4, -6, 4, 6), 0.5)


def test_shapes_and_layers():
    head = MapHead(5, 3, SOURCE, TARGET)
    assert head(torch.randn(2, 5, 16, 16)).shape == (2, 3, 24, 16)
    assert [type(layer).__name__ for layer in head.classifier] == [
        "Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "ReLU", "Conv2d",
    ]  # fmt: skip
    # Weights of BEVFusion's head have these names; the grids are no weights.
    assert {name.split(".")[0] for name in head.state_dict()} == {"classifier"}
    assert "classifier.6.bias" in head.state_dict()
    assert head.classifier[0].bias is None


def test_a_cell_answers_for_its_own_place():
    head = MapHead(1, 1, SOURCE, TARGET).eval()
    with torch.no_grad():
        for layer in head.classifier:
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight.zero_()
                layer.weight[0, 0, layer.kernel_size[0] // 2, layer.kernel_size[1] // 2] = 1.0
        head.classifier[6].bias.zero_()
    bev = torch.zeros(1, 1, 16, 16)
    bev[0, 0, 12, 6] = 1.0  # y 4..5, x -2..-1
    out = head(bev)[0, 0]
    row, column = divmod(int(out.argmax()), 16)
    y, x = -6 + 0.5 * (row + 0.5), -4 + 0.5 * (column + 0.5)
    assert 4 <= y < 5
    assert -2 <= x < -1


def test_it_learns_a_map():
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(2, 2, 12, 8, generator=generator).repeat_interleave(2, 2).repeat_interleave(2, 3) > 0.5
    bev = torch.zeros(2, 2, 16, 16)
    bev[:, :, 2:14, 4:12] = masks[:, :, ::2, ::2].float()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = MapHead(2, 2, SOURCE, TARGET)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(60):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(head(bev), masks.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert ((head(bev) > 0) == masks).float().mean() > 0.9


@pytest.mark.parametrize(("channels", "classes"), [(0, 3), (4, 0)])
def test_bad_numbers(channels, classes):
    with pytest.raises(ValueError, match="expected positive in_channels and num_classes"):
        MapHead(channels, classes, SOURCE, TARGET)
