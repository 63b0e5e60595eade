"""A frozen LiDAR network as a teacher."""

from __future__ import annotations

import torch
from torch import nn

from lidardistill.backbones.base import Backbone, Features
from lidardistill.data.batch import VoxelBatch
from lidardistill.spans import spanned


class LidarTeacher(nn.Module):
    """A LiDAR backbone that makes a map, without gradient, always in eval mode.

    Args:
        network: is frozen in place.

    Attributes:
        out_channels: channels of its maps.
        grid: their cells.
    """

    def __init__(self, network: Backbone) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        assert network.grid is not None, "RADConfig.trains allows backbones with a map only"
        self.out_channels, self.grid = network.out_channels, network.grid

    def train(self, mode: bool = True) -> LidarTeacher:
        """Stays in eval mode: running statistics of BatchNorm are part of what is frozen."""
        return super().train(False)

    @torch.no_grad()
    @spanned("teacher")
    def forward(self, scans: VoxelBatch) -> Features:
        """Features of a batch of scans, without gradient."""
        return self.network(scans)
