"""Colour histogram as a teacher: frequencies of colours and orientations of edges, nothing learnt."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 4
ORIENTATIONS = 8


class ColorHistogram(nn.Module):
    """Joint RGB histogram (4 x 4 x 4 bins) and edge orientations (8 bins) of every 8 x 8 pixel cell.

    It has no weights. Its pretraining result shows the effect of colour alone; a learnt teacher must beat it.

    Attributes:
        out_channels: 72.
        stride: 8.
    """

    stride = 8

    def __init__(self) -> None:
        super().__init__()
        self.out_channels = LEVELS**3 + ORIENTATIONS

    def forward(self, images: Tensor) -> Tensor:
        """
        Args:
            images: (V, 3, H, W) RGB in 0..1.

        Returns:
            (V, 72, ceil(H / 8), ceil(W / 8)) float32: 64 square roots of colour frequencies, whose squares
            sum to 1, and 8 mean edge strengths by orientation.
        """
        images = images.float()
        views, _, height, width = images.shape
        rows, cols = -(-height // self.stride), -(-width // self.stride)
        row = torch.arange(height, device=images.device) // self.stride
        col = torch.arange(width, device=images.device) // self.stride
        cell = (row[:, None] * cols + col)[None] + rows * cols * torch.arange(
            views, device=images.device
        ).view(-1, 1, 1)
        num_cells = views * rows * cols
        pixels = torch.bincount(cell.flatten(), minlength=num_cells).clamp_min(1)[:, None]

        level = (images * LEVELS).long().clamp_(0, LEVELS - 1)
        color = (level[:, 0] * LEVELS + level[:, 1]) * LEVELS + level[:, 2]
        colors = torch.bincount((cell * LEVELS**3 + color).flatten(), minlength=num_cells * LEVELS**3)
        colors = (colors.view(num_cells, -1) / pixels).sqrt()

        luma = F.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")[:, 0]
        dx = luma[:, 1:-1, 2:] - luma[:, 1:-1, :-2]
        dy = luma[:, 2:, 1:-1] - luma[:, :-2, 1:-1]
        # Orientation modulo half a turn: dark to light counts like light to dark.
        turn = torch.atan2(dy, dx) * (ORIENTATIONS / math.pi)
        orientation = turn.round().long().remainder(ORIENTATIONS)
        edges = torch.bincount(
            (cell * ORIENTATIONS + orientation).flatten(),
            weights=torch.hypot(dx, dy).flatten(),
            minlength=num_cells * ORIENTATIONS,
        )
        edges = edges.view(num_cells, -1).float() / pixels
        maps = torch.cat([colors, edges], 1).view(views, rows, cols, -1)
        return maps.permute(0, 3, 1, 2).contiguous()
