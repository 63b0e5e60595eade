"""Fusion of the LiDAR's and the cameras' bird's-eye-view maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lidardistill.ops.bev_grid import BevGrid
from lidardistill.ops.bev_sample import bev_sample


class ConvFuser(nn.Module):
    """Concatenates both maps, then 3x3 convolution, BatchNorm and ReLU.

    Args:
        lidar_channels: channels of the LiDAR's map.
        camera_channels: channels of the cameras' map.
        out_channels: channels of the fused map.

    Raises:
        ValueError: a number below one.

    Source: BEVFusion (Liu et al., ICRA 2023) section 3.3, the convolutional fusion of its released code.
    Differs from the paper in: a cell that no camera sees is set to zero in the cameras' map.
    """

    def __init__(self, lidar_channels: int, camera_channels: int, out_channels: int) -> None:
        super().__init__()
        if min(lidar_channels, camera_channels, out_channels) < 1:
            raise ValueError(
                f"ConvFuser: expected positive channels, got {lidar_channels}, {camera_channels}, "
                f"{out_channels}"
            )
        self.lidar_channels, self.camera_channels = lidar_channels, camera_channels
        self.out_channels = out_channels
        conv = nn.Conv2d(lidar_channels + camera_channels, out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        self.layers = nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))

    def forward(self, lidar: Tensor, camera: Tensor, camera_mask: Tensor | None = None) -> Tensor:
        """Fuse.

        Args:
            lidar: (B, lidar_channels, H = y, W = x).
            camera: (B, camera_channels, H, W), the same cells.
            camera_mask: (B, H, W) bool, cells that a camera sees; None: all cells.

        Returns:
            (B, out_channels, H, W).

        Raises:
            ValueError: maps of different cells or other channels.
        """
        expected = (len(lidar), self.camera_channels, *lidar.shape[2:])
        if lidar.shape[1] != self.lidar_channels or camera.shape != expected:
            raise ValueError(
                f"ConvFuser: expected maps of {self.lidar_channels} and {self.camera_channels} channels on "
                f"the same cells, got {tuple(lidar.shape)} and {tuple(camera.shape)}"
            )
        if camera_mask is not None:
            # torch.where, not a product, because masked cells may be NaN.
            camera = torch.where(camera_mask[:, None], camera, 0.0)
        return self.layers(torch.cat([lidar, camera.to(lidar.dtype)], dim=1))


def on_grid(
    bev: Tensor, grid: BevGrid, target: BevGrid, mask: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Resample a map at the cell centres of another grid in the same frame.

    Args:
        bev: (B, C, H, W) floating point.
        grid: grid of `bev`.
        target: grid of the result.
        mask: (B, H, W) bool, valid cells; None: all cells.

    Returns:
        (B, C, H', W') of `target`, and (B, H', W') bool: cells whose centre lies on the map and in the mask.
        If the grids are equal, `bev` and `mask` unchanged.

    Raises:
        ValueError: shapes that do not fit.
    """
    if grid == target:
        grid.check(bev, "on_grid: bev")
        return bev, mask
    cell = torch.arange(target.num_cells, device=bev.device).repeat(len(bev))
    batch_idx = torch.arange(len(bev), device=bev.device).repeat_interleave(target.num_cells)
    values, valid = bev_sample(bev, target.centres(cell), batch_idx, grid, mask=mask)
    shape = (len(bev), target.height, target.width)
    return values.view(*shape, -1).permute(0, 3, 1, 2), valid.view(shape)
