"""Rows with a place on the ground become a bird's-eye-view map, or a mask of the cells that hold one."""

from __future__ import annotations

import torch
from torch import Tensor

from lidardistill.ops.bev_grid import BevGrid
from lidardistill.ops.segment import segment_mean
from lidardistill.spans import spanned


@spanned("pooling")
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
        bev: (B, C, H, W) float32 (float64 where `values` is), zero in empty cells; channels lie last in
            memory.
        occupied: (B, H, W) bool, False where no row fell.

    Raises:
        ValueError: shapes that do not fit.

    Source: BEVContrast (Sautier et al., 3DV 2024): voxel features are averaged over the height of a cell.
    """
    if xy.shape != (len(values), 2) or batch_idx.shape != (len(values),):
        raise ValueError(
            f"bev_scatter: expected xy ({len(values)}, 2) and batch_idx ({len(values)},) as values has rows, "
            "got "
            f"{tuple(xy.shape)} and {tuple(batch_idx.shape)}"
        )
    cell, kept = grid.cells(xy)
    if mask is not None:
        kept = kept & mask
    segment_idx = torch.where(kept, batch_idx * grid.num_cells + cell, 0)
    mean, count = segment_mean(values, segment_idx, batch_size * grid.num_cells, mask=kept)
    bev = mean.view(batch_size, grid.height, grid.width, -1).permute(0, 3, 1, 2)
    return bev, (count > 0).view(batch_size, grid.height, grid.width)


def bev_occupied(xy: Tensor, batch_idx: Tensor, grid: BevGrid, batch_size: int) -> Tensor:
    """The cells in which something lies.

    Args:
        xy: (N, 2) floating, metres, such as the centres of voxels; rows outside the grid count nowhere.
        batch_idx: (N,) int64 map of each row, 0..batch_size-1.
        grid: where the cells are.
        batch_size: B, number of maps.

    Returns:
        (B, H, W) bool.

    Raises:
        ValueError: shapes that do not fit.
    """
    if xy.ndim != 2 or xy.shape[1] != 2 or batch_idx.shape != xy.shape[:1]:
        raise ValueError(
            f"bev_occupied: expected xy (N, 2) and batch_idx (N,), got {tuple(xy.shape)} and "
            f"{tuple(batch_idx.shape)}"
        )
    cell, inside = grid.cells(xy)
    num_cells = batch_size * grid.num_cells
    # One cell too many takes what lies outside.
    row = torch.where(inside, batch_idx * grid.num_cells + cell, num_cells)
    seen = torch.zeros(num_cells + 1, dtype=torch.bool, device=xy.device).index_fill_(0, row, True)
    return seen[:-1].view(batch_size, grid.height, grid.width)
