"""A bird's-eye-view map on another grid with the same axes."""

from __future__ import annotations

import torch
from torch import Tensor

from lidardistill.ops.bev_grid import BevGrid


def resample_weights(source: BevGrid, target: BevGrid) -> tuple[Tensor, Tensor]:
    """How much each row and column of one grid weighs in those of another.

    Bilinear between the centres of cells, and zero outside: torch's grid_sample with zero padding and
    align_corners False.

    Args:
        source: cells of the map.
        target: cells wanted, in the same frame.

    Returns:
        rows: (target.height, source.height) float32, and columns: (target.width, source.width) float32.
    """
    shift_y, shift_x = target.y_min - source.y_min, target.x_min - source.x_min
    rows = _line_weights(source.height, target.height, shift_y, source.cell_size, target.cell_size)
    columns = _line_weights(source.width, target.width, shift_x, source.cell_size, target.cell_size)
    return rows, columns


def bev_resample(bev: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Apply `resample_weights` to a map: two matrix products, whose gradient adds in one order on every
    device.

    Args:
        bev: (B, C, H, W) floating point.
        rows: (H', H).
        columns: (W', W).

    Returns:
        (B, C, H', W') in the dtype of `bev`.

    Raises:
        ValueError: weights of another grid.
    """
    if bev.ndim != 4 or rows.shape[1] != bev.shape[2] or columns.shape[1] != bev.shape[3]:
        raise ValueError(
            f"bev_resample: expected a map (B, C, {rows.shape[1]}, {columns.shape[1]}), got "
            f"{tuple(bev.shape)}"
        )
    return rows.to(bev.dtype) @ (bev @ columns.to(bev.dtype).T)


def _line_weights(size: int, wanted: int, shift_m: float, cell_m: float, wanted_cell_m: float) -> Tensor:
    """(wanted, size) float32 weights along one axis."""
    place = (shift_m + (torch.arange(wanted, dtype=torch.float64) + 0.5) * wanted_cell_m) / cell_m - 0.5
    distance = (place[:, None] - torch.arange(size, dtype=torch.float64)[None]).abs()
    return (1.0 - distance).clamp(min=0.0).float()
