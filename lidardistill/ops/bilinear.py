"""Which coarse cells a fine position lies between, and how near the upper one it is: F.interpolate's rule,
once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Axis(NamedTuple):
    """Bilinear interpolation along one axis, for every fine position."""

    lower: Tensor
    """(fine,) int64 cell at or before the position; never falls along the axis."""
    upper: Tensor
    """(fine,) int64 cell after it, the same cell at the border."""
    weight: Tensor
    """(fine,) float64 share of the upper cell; 0 at the border, where both are the same cell."""


def bilinear_axis(coarse: int, fine: int, align_corners: bool, device: torch.device | None = None) -> Axis:
    """Corners and weights of every fine position of one axis.

    Args:
        coarse: cells, at least 1.
        fine: positions, may be 0.
        align_corners: as in F.interpolate.
        device: of the result.
    """
    position = torch.arange(fine, dtype=torch.float64, device=device)
    if align_corners:
        position = position * ((coarse - 1) / max(fine - 1, 1))
    else:
        position = ((position + 0.5) * (coarse / max(fine, 1)) - 0.5).clamp(min=0)
    lower = position.floor().long().clamp(max=coarse - 1)
    upper = (lower + 1).clamp(max=coarse - 1)
    # At the border both corners are the same cell and the weight is free: 0 keeps |u|^2 free of special
    # cases.
    return Axis(lower, upper, torch.where(lower < upper, position - lower, 0.0))


def first_positions(axis: Axis, coarse: int) -> Tensor:
    """(coarse + 1,) int64: the fine positions whose lower cell is i are first[i] .. first[i + 1] - 1."""
    cells = torch.arange(coarse + 1, device=axis.lower.device)
    return torch.searchsorted(axis.lower, cells)
