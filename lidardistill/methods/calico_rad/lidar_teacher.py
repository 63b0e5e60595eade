"""A LiDAR network that teaches and no longer changes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lidardistill.backbones.lidar_bev.net import LidarBev
from lidardistill.spans import spanned


class LidarTeacher(nn.Module):
    """A `LidarBev` without gradient, in eval mode whatever its parents are set to.

    Args:
        network: is frozen in place.

    Attributes:
        out_channels: channels of its maps.
        grid: their cells.
    """

    def __init__(self, network: LidarBev) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.out_channels, self.grid = network.out_channels, network.grid

    def train(self, mode: bool = True) -> LidarTeacher:
        """Stays in eval mode: running statistics of BatchNorm are part of what is frozen."""
        return super().train(False)

    @torch.no_grad()
    @spanned("teacher")
    def forward(self, **inputs: Any) -> Tensor:
        """(B, out_channels, H = y, W = x) without gradient; arguments as `LidarBev.forward`."""
        return self.network(**inputs)
