"""Where the cells of a bird's-eye-view map are: the one rule that scattering, sampling and warping share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class BevGrid:
    """Square cells of a map (B, C, H = y, W = x).

    Row r, column c covers x in [x_min + c s, x_min + (c + 1) s) and y in [y_min + r s, y_min + (r + 1) s), s
    being `cell_size`; its centre lies at c + 0.5, r + 0.5 cells.

    Attributes:
        x_min: metres.
        y_min: metres.
        cell_size: metres.
        height: H, cells along y.
        width: W, cells along x.
    """

    x_min: float
    y_min: float
    cell_size: float
    height: int
    width: int

    @classmethod
    def of_range(cls, bev_range: Sequence[float], cell_size: float) -> BevGrid:
        """The grid that fills a range.

        Args:
            bev_range: (4,) x_min y_min x_max y_max, metres.
            cell_size: metres.

        Raises:
            ValueError: no four rising bounds, or no whole number of cells between them.
        """
        if len(bev_range) != 4 or not cell_size > 0:
            raise ValueError(
                f"expected x_min y_min x_max y_max and a cell size above 0, got {tuple(bev_range)}, "
                f"{cell_size}"
            )
        x_min, y_min, x_max, y_max = bev_range
        cells = ((y_max - y_min) / cell_size, (x_max - x_min) / cell_size)
        if not all(n > 0.5 and abs(n - round(n)) < 1e-4 for n in cells):
            raise ValueError(
                f"bev_range: expected a whole number of {cell_size} m cells, got {cells[1]:g} along x and "
                f"{cells[0]:g} along y for {tuple(bev_range)}"
            )
        return cls(x_min, y_min, cell_size, round(cells[0]), round(cells[1]))

    @property
    def num_cells(self) -> int:
        return self.height * self.width

    def position(self, xy: Tensor) -> Tensor:
        """(..., 2) x, y in metres to (..., 2) column, row in cells: cell c spans [c, c + 1)."""
        return (xy - xy.new_tensor([self.x_min, self.y_min])) / self.cell_size

    def cells(self, xy: Tensor) -> tuple[Tensor, Tensor]:
        """The cell of each point.

        Args:
            xy: (N, 2) floating, metres.

        Returns:
            (N,) int64 row * width + column, 0 where there is none, and (N,) bool, False outside the grid.
        """
        column, row = self.position(xy).floor().unbind(-1)
        # Compared before they are whole numbers, so that NaN and infinity are outside too.
        inside = (column >= 0) & (column < self.width) & (row >= 0) & (row < self.height)
        cell = torch.where(inside, row * self.width + column, torch.zeros_like(row))
        return cell.long(), inside

    def centres(self, cell: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """(...,) int64 cells, numbered as `cells` does, to (..., 2) x, y of their centres, metres."""
        column = (cell % self.width).to(dtype)
        row = torch.div(cell, self.width, rounding_mode="floor").to(dtype)
        centre = torch.stack([column, row], dim=-1) + 0.5
        return centre * self.cell_size + centre.new_tensor([self.x_min, self.y_min])

    def check(self, bev: Tensor, what: str) -> None:
        """Refuse a map that is not (B, C, H, W) of this grid, floating point."""
        if bev.ndim != 4 or bev.shape[2:] != (self.height, self.width) or not bev.is_floating_point():
            raise ValueError(
                f"{what}: expected a floating-point map (B, C, {self.height}, {self.width}), got "
                f"{tuple(bev.shape)} {bev.dtype}"
            )


def move_xy(a2b: Tensor, xy: Tensor, batch_idx: Tensor) -> Tensor:
    """Points of frame a in frame b.

    Args:
        a2b: (B, 3, 3) floating, motions of the plane for homogeneous x, y, 1.
        xy: (N, 2) metres, frame a.
        batch_idx: (N,) int64 row in `a2b`.

    Returns:
        (N, 2) metres, frame b, in the dtype of `a2b`.
    """
    motion = a2b.index_select(0, batch_idx)
    # Products and a sum, not `@`, which autocast would do in half precision.
    return (motion[:, :2, :2] * xy.to(a2b.dtype)[:, None, :]).sum(2) + motion[:, :2, 2]
