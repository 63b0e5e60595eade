"""The contract between LiDAR backbones and everything that trains, probes or shows them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lidardistill.data.batch import VoxelBatch
from lidardistill.ops.bev_grid import BevGrid
from lidardistill.spans import span


@dataclass(eq=False)
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
        return self.rows.index_select(0, self.point2row.index_select(0, points))


class MapFeatures(Features):
    """Features whose rows are the cells of a map: row (b * H + y) * W + x is cell (y, x) of scan b.

    `rows` and `point2row` are computed when they are first read, because detection and map segmentation need
    neither.

    Args:
        bev: (B, C, H, W).
        grid: its cells.
        scans: the input of the backbone.
        voxels_yx: cells of the voxel grid along y and x; each cell of the map covers a whole number of them.
    """

    def __init__(self, bev: Tensor, grid: BevGrid, scans: VoxelBatch, voxels_yx: tuple[int, int]) -> None:
        self.bev, self.grid, self.point_mask = bev, grid, scans.point_mask
        self._scans, self._voxels_yx = scans, voxels_yx

    @cached_property
    def rows(self) -> Tensor:  # type: ignore[override]
        """(B * H * W, C)."""
        assert self.bev is not None
        return self.bev.permute(0, 2, 3, 1).flatten(0, 2)

    @cached_property
    def point2row(self) -> Tensor:  # type: ignore[override]
        """(N,) int64, from the integer coordinates of each point's voxel; 0 where `point_mask` is False."""
        assert self.grid is not None
        scans, height, width = self._scans, self.grid.height, self.grid.width
        scan, _, y, x = scans.voxel_coords.long().unbind(1)
        row, column = y * height // self._voxels_yx[0], x * width // self._voxels_yx[1]
        # Points outside the grid use one extra entry, so a batch without voxels needs no special case.
        cell = torch.cat([(scan * height + row) * width + column, scan.new_zeros(1)])
        return cell.index_select(0, torch.where(scans.point_mask, scans.point2voxel, len(scan)))


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

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As `nn.Module`; a profiler sees the network as the span "backbone"."""
        with span("backbone"):
            return super().__call__(*args, **kwargs)

    def forward(self, scans: VoxelBatch) -> Features:
        """Features of a batch of scans."""
        raise NotImplementedError
