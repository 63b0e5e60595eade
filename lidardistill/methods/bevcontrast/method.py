"""BEVContrast: self-supervision in BEV space for automotive LiDAR point clouds.

Source: Sautier et al., 3DV 2024 (section 3, and the authors' configuration `pretrain_ns_minkunet`).
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from lidardistill.backbones.base import Backbone
from lidardistill.engine.terms import Terms
from lidardistill.methods.base import Method, Parts, describe_scans
from lidardistill.methods.bevcontrast.config import BEVContrastConfig
from lidardistill.methods.bevcontrast.sample import ScanPairBatch, ScanPairs
from lidardistill.methods.heads import ImageHead, PointHead
from lidardistill.objectives.contrast import info_nce
from lidardistill.objectives.diagnostics import contrast_diagnostics
from lidardistill.ops.bev_grid import BevGrid, move_xy
from lidardistill.ops.bev_sample import bev_sample
from lidardistill.ops.bev_scatter import bev_occupied, bev_scatter
from lidardistill.ops.segment import accumulation_dtype


class BEVContrast(Method):
    """Contrast between the cells of two maps of one place, one second apart.

    Student and head train on both scans of a pair; there is no teacher and no camera.

    Differs from the paper in (`warp`, `batchnorm` and `pairs` of the config restore the published code):
    - The warp uses the true position of the grid. The authors' 102 m of cells begin at -51.25 m and are
      warped as if they were centred. Each scan is rotated at random, so positives are 0.45 m apart on
      average; a cell is 0.6 m.
    - BatchNorm sees both scans of a pair at once; the authors call the backbone for each scan.
    - The last pair of a scene is used.
    - A cell is valid by a mask; the authors test whether its features are not zero. Empty cells around a
      sampled position are left out, which keeps the direction of the result.
    - The warp samples map a only at the occupied cells of map b, because no loss reads the others.
    - The motion between the scans is the nearest turn of the plane, not the upper left block of its rotation.
    - If the student makes a map, its own map is compared, and a cell is occupied if a voxel lies in it; the
      authors test whether the output of the sparse encoder is not zero, which reaches about a cell further.

    Args:
        config: keys of the method.
        student: LiDAR backbone with `out_channels`; and with `grid` if it makes a map.
    """

    def __init__(self, config: BEVContrastConfig, student: Backbone) -> None:
        super().__init__()
        self.config = config
        self.student = student
        self.student_head: PointHead | ImageHead
        if student.grid is None:
            self.grid = BevGrid.of_range(config.bev_range, config.cell_size)
            self.student_head = PointHead(student.out_channels, config.embedding, normalize=False)
        else:
            self.grid = student.grid
            self.student_head = ImageHead(student.out_channels, config.embedding)

    @classmethod
    def build(cls, config: BEVContrastConfig, parts: Parts) -> BEVContrast:
        return cls(config, parts.new_student())

    @classmethod
    def recipe(cls, config: BEVContrastConfig, parts: Parts) -> ScanPairs:
        return ScanPairs(config, parts.scan_input)

    def forward(self, batch: ScanPairBatch, *, generator: torch.Generator, diagnose: bool = False) -> Terms:
        """One step of section 3.

        Args:
            batch: pairs of scans.
            generator: draws the cells that are contrasted, and the permuted control.
            diagnose: also compute the feature-quality metrics.
        """
        bev, occupied = self.bev_maps(batch)
        warped_a, cells_b = self.matched_cells(bev, occupied, batch.b2a)
        num_matched = len(cells_b)
        if num_matched > self.config.max_cells:
            chosen = torch.randperm(num_matched, generator=generator)[: self.config.max_cells].to(bev.device)
            warped_a, cells_b = warped_a.index_select(0, chosen), cells_b.index_select(0, chosen)
        anchor, positive = F.normalize(warped_a, dim=1), F.normalize(cells_b, dim=1)
        if self.config.pairing == "permuted":
            shuffled = torch.randperm(len(positive), generator=generator).to(bev.device)
            positive = positive.index_select(0, shuffled)

        loss = info_nce(anchor, positive, self.config.temperature)
        return Terms(
            loss=loss,
            losses={"contrast": loss.detach()},
            counts={"matched_cells": num_matched, "cells": len(anchor)},
            diagnostics=contrast_diagnostics(anchor, positive, self.config.temperature) if diagnose else {},
            num_matches=len(anchor),
        )

    def bev_maps(self, batch: ScanPairBatch) -> tuple[Tensor, Tensor]:
        """The student's projected maps, or the average of its projected features over the voxels of each
        cell.

        Returns:
            (2 B, D, H, W) maps, those of scans a first, and (2 B, H, W) bool, cells that hold a voxel.
        """
        scans = (batch.voxels,) if self.config.batchnorm == "joint" else batch.halves()
        scan = batch.voxels.voxel_coords[:, 0].long()
        num_scans = batch.voxels.batch_size
        if isinstance(self.student_head, ImageHead):
            bev = torch.cat([self.student_head(self.student(part).bev) for part in scans])
            occupied = bev_occupied(batch.voxel_xy, scan, self.grid, num_scans)
            return bev.to(accumulation_dtype(bev.dtype)), occupied
        rows = torch.cat([self.student(part).rows for part in scans])
        return bev_scatter(self.student_head(rows), batch.voxel_xy, scan, self.grid, num_scans)

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
        placed = self.grid if self.config.warp == "corrected" else centred(self.grid)
        xy_in_a = move_xy(b2a, placed.centres(cell, b2a.dtype), pair)
        warped_a, seen_in_a = bev_sample(bev_a, xy_in_a, pair, placed, mask=occupied_a)

        rows_b = bev_b.permute(0, 2, 3, 1).flatten(0, 2)
        both = seen_in_a.nonzero().flatten()
        in_b = (pair * self.grid.num_cells + cell).index_select(0, both)
        return warped_a.index_select(0, both), rows_b.index_select(0, in_b)

    def describe(self, batch: ScanPairBatch) -> list[str]:
        return [describe_scans(batch.voxels), f"pairs       {batch.batch_size} of two scans"]


def centred(grid: BevGrid) -> BevGrid:
    """The same cells centred on the origin, as the published code assumes."""
    half_x, half_y = grid.width * grid.cell_size / 2, grid.height * grid.cell_size / 2
    return replace(grid, x_min=-half_x, y_min=-half_y)
