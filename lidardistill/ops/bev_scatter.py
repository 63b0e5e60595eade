"""Rows with a place on the ground become a bird's-eye-view map."""

from __future__ import annotations

import torch
from torch import Tensor

from lidardistill.ops.bev_grid import BevGrid
from lidardistill.ops.segment import segment_mean


def bev_scatter(
    values: Tensor,
    xy: Tensor,
    batch_idx: Tensor,
    grid: BevGrid,
    batch_size: int,
    *,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean of the rows in every cell.

    Args:
        values: (N, C) floating point, one row a point or voxel.
        xy: (N, 2) floating, metres; rows outside the grid are left out.
        batch_idx: (N,) int64 map of each row, 0..batch_size-1.
        grid: where the cells are.
        batch_size: B, number of maps.
        mask: (N,) bool, False for rows to be left out; what they hold is not looked at.

    Returns:
        bev: (B, C, H, W) float32 (float64 where `values` is), zero in empty cells; channels lie last in memory.
        occupied: (B, H, W) bool, False where no row fell.

    Raises:
        ValueError: shapes that do not fit.

    Source: BEVContrast (Sautier et al., 3DV 2024): voxel features are averaged over the height of a cell.
    """
    if xy.shape != (len(values), 2) or batch_idx.shape != (len(values),):
        raise ValueError(
            f"bev_scatter: expected xy ({len(values)}, 2) and batch_idx ({len(values)},) as values has rows, got "
            f"{tuple(xy.shape)} and {tuple(batch_idx.shape)}"
        )
    cell, kept = grid.cells(xy)
    if mask is not None:
        kept = kept & mask
    segment_idx = torch.where(kept, batch_idx * grid.num_cells + cell, 0)
    mean, count = segment_mean(values, segment_idx, batch_size * grid.num_cells, mask=kept)
    bev = mean.view(batch_size, grid.height, grid.width, -1).permute(0, 3, 1, 2)
    return bev, (count > 0).view(batch_size, grid.height, grid.width)
