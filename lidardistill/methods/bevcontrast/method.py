"""BEVContrast: self-supervision in BEV space for automotive LiDAR point clouds.

Source: Sautier et al., 3DV 2024 (section 3, and the authors' configuration `pretrain_ns_minkunet`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lidardistill.backbones.base import Backbone
from lidardistill.engine.terms import Terms
from lidardistill.methods.bevcontrast.sample import ScanPairBatch
from lidardistill.methods.heads import ImageHead, PointHead
from lidardistill.objectives.contrast import info_nce
from lidardistill.objectives.diagnostics import contrast_diagnostics
from lidardistill.ops.bev_grid import BevGrid, move_xy
from lidardistill.ops.bev_sample import bev_sample
from lidardistill.ops.bev_scatter import bev_occupied, bev_scatter
from lidardistill.ops.segment import accumulation_dtype


class BEVContrast(nn.Module):
    """Cells of two maps of one place, seen a second apart, meet.

    Student and head train on both scans of a pair; there is no teacher and no camera.

    Differs from the paper in: the warp knows where the grid lies (the authors' 102.0 m of cells begin at -51.2 m and
    are warped as if they were centred, 0.2 m off); a cell is valid by a mask, where the authors ask whether its
    features are not zero, and what empty cells around a sampled position would add is left out (the direction is the
    same, and only that counts); map a is read where map b has a cell, which is the warp without the cells that
    nobody looks at; of the motion between the scans the nearest turn of the plane is taken, not the upper left block
    of its rotation. The paper does not say whether BatchNorm sees both scans of a pair at once: here it does.
    `pairing="permuted"` is a control. A student that makes maps is compared by its own; a cell of them is occupied
    where a voxel lies in it, while the authors ask where the sparse encoder's output is not zero, which reaches a cell
    or so further.

    Args:
        student: LiDAR backbone, see `backbones.base.Backbone`.
        grid: the cells of a map; those of the student where it makes maps.
        student_channels: width of the student's features.
        embedding: D, width of the features of a cell.
        temperature: of InfoNCE, > 0.
        max_cells: pairs of cells of one step, drawn at random over the whole batch where there are more.
        pairing: `real`, or the control `permuted`: partners are re-drawn at random at every step.
    """

    def __init__(
        self,
        student: Backbone,
        grid: BevGrid,
        *,
        student_channels: int,
        embedding: int = 128,
        temperature: float = 0.07,
        max_cells: int = 4096,
        pairing: str = "real",
    ) -> None:
        super().__init__()
        self.student = student
        self.student_head: PointHead | ImageHead
        if student.grid is not None:
            self.student_head = ImageHead(student_channels, embedding)
        else:
            self.student_head = PointHead(student_channels, embedding, normalize=False)
        self.grid = grid
        self.temperature = temperature
        self.max_cells = max_cells
        self.pairing = pairing

    def forward(self, batch: ScanPairBatch, *, generator: torch.Generator, diagnose: bool = False) -> Terms:
        """One step of section 3.

        Args:
            batch: what the loader collated.
            generator: draws the cells that are contrasted, and the permuted control.
            diagnose: also compute the feature-quality metrics.
        """
        bev, occupied = self.bev_maps(batch)
        warped_a, cells_b = self.matched_cells(bev, occupied, batch.b2a)
        num_matched = len(cells_b)
        if num_matched > self.max_cells:
            chosen = torch.randperm(num_matched, generator=generator)[: self.max_cells].to(bev.device)
            warped_a, cells_b = warped_a.index_select(0, chosen), cells_b.index_select(0, chosen)
        anchor, positive = F.normalize(warped_a, dim=1), F.normalize(cells_b, dim=1)
        if self.pairing == "permuted":
            shuffled = torch.randperm(len(positive), generator=generator).to(bev.device)
            positive = positive.index_select(0, shuffled)

        loss = info_nce(anchor, positive, self.temperature)
        return Terms(
            loss=loss,
            losses={"contrast": loss.detach()},
            counts={"matched_cells": num_matched, "cells": len(anchor)},
            diagnostics=contrast_diagnostics(anchor, positive, self.temperature) if diagnose else {},
        )

    def bev_maps(self, batch: ScanPairBatch) -> tuple[Tensor, Tensor]:
        """The student's projected maps, or the average of its projected features over the voxels of each cell.

        Returns:
            (2 B, D, H, W) maps, those of scans a first, and (2 B, H, W) bool, cells that hold a voxel.
        """
        voxels = batch.voxels
        scan = voxels.voxel_coords[:, 0].long()
        if isinstance(self.student_head, ImageHead):
            bev = self.student_head(self.student(voxels).bev)
            occupied = bev_occupied(batch.voxel_xy, scan, self.grid, voxels.batch_size)
            return bev.to(accumulation_dtype(bev.dtype)), occupied
        rows = self.student(voxels).rows
        return bev_scatter(self.student_head(rows), batch.voxel_xy, scan, self.grid, voxels.batch_size)

    def matched_cells(self, bev: Tensor, occupied: Tensor, b2a: Tensor) -> tuple[Tensor, Tensor]:
        """Bring map a into the frame of map b, and take the cells that both have seen.

        Args:
            bev: (2 B, D, H, W).
            occupied: (2 B, H, W) bool.
            b2a: (B, 3, 3) float64.

        Returns:
            (K, D) features of map a as seen from frame b, and (K, D) features of map b.
        """
        bev_a, bev_b = bev.chunk(2)
        occupied_a, occupied_b = occupied.chunk(2)
        pair, row, col = occupied_b.nonzero().unbind(1)
        cell = row * self.grid.width + col
        xy_in_a = move_xy(b2a, self.grid.centres(cell, b2a.dtype), pair)
        warped_a, seen_in_a = bev_sample(bev_a, xy_in_a, pair, self.grid, mask=occupied_a)

        rows_b = bev_b.permute(0, 2, 3, 1).flatten(0, 2)
        both = seen_in_a.nonzero().flatten()
        in_b = (pair * self.grid.num_cells + cell).index_select(0, both)
        return warped_a.index_select(0, both), rows_b.index_select(0, in_b)
