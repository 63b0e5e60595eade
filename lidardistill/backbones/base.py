"""The contract between LiDAR backbones and everything that trains, probes or shows them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from lidardistill.data.batch import VoxelBatch
from lidardistill.ops.bev_grid import BevGrid


@dataclass(frozen=True)
class Features:
    """Output of a backbone: rows of features, and the row of each point.

    A row is a voxel (MinkUNet), a cell of a bird's-eye-view map (VoxelNet, PointPillars) or a point.

    Attributes:
        rows: (M, C) floating.
        point2row: (N,) int64 row of each point of the batch; meaningless where `point_mask` is False.
        point_mask: (N,) bool, False for points without features, such as those outside the range.
        bev: (B, C, H = y, W = x) map, for backbones that make one.
        grid: cells of `bev`, in the LiDAR frame, metres.
    """

    rows: Tensor
    point2row: Tensor
    point_mask: Tensor
    bev: Tensor | None = None
    grid: BevGrid | None = None

    def at(self, points: Tensor) -> Tensor:
        """(K, C) features of (K,) int64 points of the batch; `point_mask` of each must be True."""
        return self.rows[self.point2row[points]]


class Backbone(nn.Module):
    """A LiDAR network that can be pretrained, probed, fine-tuned and shown.

    Attributes:
        in_channels: features of a voxel or point.
        out_channels: C, width of `Features.rows`.
        grid: cells of the map, None for backbones that make none.
    """

    in_channels: int
    out_channels: int
    grid: BevGrid | None = None

    def forward(self, scans: VoxelBatch) -> Features:
        """Features of a batch of scans."""
        raise NotImplementedError
