"""Reading a bird's-eye-view map between its cells: at points, or all over from another frame."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lidardistill.ops.bev_grid import BevGrid, move_xy
from lidardistill.ops.segment import accumulation_dtype
from lidardistill.spans import spanned

Missing = Literal["skip", "zero"]


@spanned("pooling")
def bev_sample(
    bev: Tensor,
    xy: Tensor,
    batch_idx: Tensor,
    grid: BevGrid,
    *,
    mask: Tensor | None = None,
    missing: Missing = "skip",
) -> tuple[Tensor, Tensor]:
    """Bilinear interpolation between the centres of the four cells around each point.

    Args:
        bev: (B, C, H, W) floating point.
        xy: (P, 2) floating, metres, in the frame of the map.
        batch_idx: (P,) int64 map of each point.
        grid: where the cells are.
        mask: (B, H, W) bool, cells that hold something; what the others hold is not looked at. None: all do.
        missing: of the four cells, those outside the grid or the mask: "skip" shares their weight out among
            the others, so that a point in the outer half of a border cell gets that cell's own value; "zero"
            counts them as zeros, as torch's grid_sample with zero padding does.

    Returns:
        values: (P, C) float32 (float64 where `bev` is), zero where not valid.
        valid: (P,) bool, whether any of the four cells with a weight above 0 is there.

    Raises:
        ValueError: shapes that do not fit.
    """
    grid.check(bev, "bev_sample: bev")
    if mask is not None and mask.shape != (bev.shape[0], *bev.shape[2:]):
        raise ValueError(
            f"bev_sample: expected mask (B, H, W) of bev {tuple(bev.shape)}, got {tuple(mask.shape)}"
        )
    if xy.ndim != 2 or xy.shape[1] != 2 or batch_idx.shape != xy.shape[:1]:
        raise ValueError(
            f"bev_sample: expected xy (P, 2) and batch_idx (P,), got {tuple(xy.shape)} and "
            f"{tuple(batch_idx.shape)}"
        )
    rows = bev.permute(0, 2, 3, 1).flatten(0, 2)
    rows = rows.to(accumulation_dtype(rows.dtype))
    there = None if mask is None else mask.flatten()

    position = grid.position(xy) - 0.5  # whole numbers are centres
    lower = position.floor()
    share = position - lower
    column, row = lower.unbind(1)

    values = rows.new_zeros(len(xy), rows.shape[1])
    total = share.new_zeros(len(xy))
    for down in (0, 1):
        for right in (0, 1):
            r, c = row + down, column + right
            inside = (r >= 0) & (r < grid.height) & (c >= 0) & (c < grid.width)
            # Convert to integers only inside the grid: the result for NaN or infinity depends on the
            # processor.
            cell = torch.where(inside, r * grid.width + c, 0.0).long() + batch_idx * grid.num_cells
            known = inside if there is None else inside & there.index_select(0, cell)
            across = share[:, 0] if right else 1 - share[:, 0]
            along = share[:, 1] if down else 1 - share[:, 1]
            weight = torch.where(known, across * along, 0.0)
            # index_select, not [...]: its gradient adds in one order. where: a cell outside the mask may hold
            # NaN.
            corner = torch.where(known[:, None], rows.index_select(0, cell), 0.0)
            values = values + weight.to(rows.dtype)[:, None] * corner
            total = total + weight
    valid = total > 0
    if missing == "skip":
        values = values / torch.where(valid, total, 1.0).to(rows.dtype)[:, None]
    return values, valid


@spanned("pooling")
def bev_warp(
    bev: Tensor, b2a: Tensor, grid: BevGrid, *, mask: Tensor | None = None, missing: Missing = "zero"
) -> tuple[Tensor, Tensor]:
    """The map of frame a as it looks from frame b.

    Args:
        bev: (B, C, H, W) floating point, frame a.
        b2a: (B, 3, 3) floating, where a point of frame b lies in frame a (homogeneous x, y, 1, metres).
        grid: cells of both frames.
        mask: (B, H, W) bool, as `bev_sample`.
        missing: as `bev_sample`; "zero" equals torch's affine_grid and grid_sample (bilinear, zero padding,
            align_corners False).

    Returns:
        (B, C, H, W) in frame b, and (B, H, W) bool valid.

    Raises:
        ValueError: shapes that do not fit.

    Source: BEVContrast (Sautier et al., 3DV 2024), the alignment of two maps.
    Differs from the paper in: the grid need not be centred on the sensor (the authors' 102.0 m of cells begin
    at -51.2 m and are warped as if they were centred).
    """
    grid.check(bev, "bev_warp: bev")
    num_maps = len(bev)
    if b2a.shape != (num_maps, 3, 3):
        raise ValueError(f"bev_warp: expected b2a ({num_maps}, 3, 3), got {tuple(b2a.shape)}")
    cell = torch.arange(grid.num_cells, device=bev.device).repeat(num_maps)
    batch_idx = torch.arange(num_maps, device=bev.device).repeat_interleave(grid.num_cells)
    xy_a = move_xy(b2a, grid.centres(cell, b2a.dtype), batch_idx)
    values, valid = bev_sample(bev, xy_a, batch_idx, grid, mask=mask, missing=missing)
    shape = (num_maps, grid.height, grid.width)
    return values.view(*shape, -1).permute(0, 3, 1, 2), valid.view(shape)
