"""PointPillars: points to pillars, a small network and a maximum per pillar, pillars to a map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lidardistill.backbones.lidar_bev.voxelnet import to_bev
from lidardistill.backbones.minkunet.net import VoxelBatchNorm
from lidardistill.ops.segment import segment_max, segment_mean
from lidardistill.sparse.sparse import SparseTensor

BN_EPS, BN_MOMENTUM = 1e-3, 0.01  # SECOND, and everything after it


class PillarNet(nn.Module):
    """PointPillars' encoder: points with their offsets in the pillar, one layer, a maximum per pillar.

    Args:
        in_channels: F features of a point, the first three x, y, z.
        voxel_size: (3,) x, y, z metres of a pillar.
        point_cloud_range: (6,) x_min y_min z_min x_max y_max z_max, metres.
        out_channels: channels of a pillar.
        max_points: None uses every point. A number limits each pillar to its first `max_points` points in the
            order of the scan, as mmdet3d and the authors do. Zeros fill smaller pillars; they take part in
            the BatchNorm of training and in the maximum. Weights of mmdet3d need this number for equal
            features.

    Attributes:
        out_channels: channels of the map.
        stride: 1, pillars a cell of the map.

    Raises:
        ValueError: a range that is no whole number of pillars, fewer than three features.

    Source: PointPillars (Lang et al., CVPR 2019) section 2.1; the offset to the pillar's centre has a z, as
        in mmdet3d.
    Differs from the paper in: without `max_points` nothing is dropped and nothing filled up.
    """

    stride = 1
    size: Tensor
    lower: Tensor

    def __init__(
        self,
        in_channels: int,
        voxel_size: Sequence[float] = (0.2, 0.2, 8.0),
        point_cloud_range: Sequence[float] = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0),
        out_channels: int = 64,
        max_points: int | None = None,
    ) -> None:
        super().__init__()
        if in_channels < 3 or out_channels < 1 or (max_points is not None and max_points < 1):
            raise ValueError(
                f"PillarNet: expected in_channels >= 3 (x, y, z first), out_channels and max_points >= 1, "
                f"got {in_channels}, {out_channels}, {max_points}"
            )
        low, high = point_cloud_range[:3], point_cloud_range[3:]
        cells = [(b - a) / s for a, b, s in zip(low, high, voxel_size, strict=True)]
        if any(abs(n - round(n)) > 1e-4 or n < 0.5 for n in cells) or round(cells[2]) != 1:
            raise ValueError(
                f"PillarNet: point_cloud_range {tuple(point_cloud_range)} is no whole number of pillars of "
                f"{tuple(voxel_size)} m, one over z"
            )
        self.in_channels, self.out_channels, self.max_points = in_channels, out_channels, max_points
        self.bev_shape = (round(cells[1]), round(cells[0]))
        self.linear = nn.Linear(in_channels + 6, out_channels, bias=False)
        self.norm = VoxelBatchNorm(out_channels, BN_EPS, BN_MOMENTUM)
        # Not in the state dict: these values belong to the configuration.
        self.register_buffer("size", torch.tensor([float(s) for s in voxel_size]), persistent=False)
        self.register_buffer("lower", torch.tensor([float(a) for a in low]), persistent=False)

    def forward(
        self, points: Tensor, point2voxel: Tensor, point_mask: Tensor, voxel_coords: Tensor, batch_size: int
    ) -> Tensor:
        """
        Args:
            points: (N, F) floating, LiDAR frame, metres first; the scans of the batch one after the other.
            point2voxel: (N,) int64 row in `voxel_coords`.
            point_mask: (N,) bool, False for points outside the grid.
            voxel_coords: (M, 4) int32 batch, z = 0, y, x, every pillar once; M may be 0.
            batch_size: scans, counting those without points.

        Returns:
            bev: (B, out_channels, H = y, W = x), zeros where no point is.
        """
        pillars = self.encode(points, point2voxel, point_mask, voxel_coords)
        return to_bev(SparseTensor(pillars, voxel_coords, (1, *self.bev_shape), batch_size, {}))

    def encode(self, points: Tensor, point2voxel: Tensor, point_mask: Tensor, voxel_coords: Tensor) -> Tensor:
        """The pillars before they are laid out; arguments of `forward` to (M, out_channels)."""
        num_pillars = voxel_coords.shape[0]
        rows = point_mask.nonzero()[:, 0]
        if self.max_points is not None:
            rows = rows.index_select(0, first_of_each(point2voxel.index_select(0, rows), self.max_points))
        points, pillar = points.index_select(0, rows), point2voxel.index_select(0, rows)
        xyz = points[:, :3]
        mean, count = segment_mean(xyz, pillar, num_pillars)
        centre = (voxel_coords[:, [3, 2, 1]] + 0.5) * self.size + self.lower
        place = [xyz - origin.to(xyz.dtype).index_select(0, pillar) for origin in (mean, centre)]
        features = self.linear(torch.cat([points, *place], dim=1))
        # All empty slots are equal: one is enough in eval mode; in training the BatchNorm counts each.
        slots = 0 if self.max_points is None else num_pillars * self.max_points - len(rows)
        empty = features.new_zeros(slots if self.training else min(slots, 1), self.out_channels)
        features = F.relu(self.norm(torch.cat([features, empty])), inplace=True)
        filled, empty = features.split([len(rows), len(empty)])
        pillars = segment_max(filled, pillar, num_pillars)
        if self.max_points is not None and len(empty):
            has_empty = (count < self.max_points)[:, None]
            pillars = torch.where(has_empty, torch.maximum(pillars, empty[:1]), pillars)
        return pillars


def first_of_each(group: Tensor, limit: int) -> Tensor:
    """Positions, ascending, of the first `limit` members of every group; `group` (N,) is its number."""
    order = torch.argsort(group, stable=True)
    sorted_group = group.index_select(0, order)
    first = torch.searchsorted(sorted_group, sorted_group, right=False)
    rank = torch.arange(len(group), device=group.device) - first
    return order[rank < limit].sort().values
