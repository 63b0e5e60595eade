"""CALICO, stage 1: point-region contrast between two views of one LiDAR sweep.

Source: Sun et al., "CALICO: Self-Supervised Camera-LiDAR Contrastive Pre-training for BEV Perception", ICLR 2024,
section 3. What the paper leaves open is named, and given a key each, in `config.calico.PRCConfig`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lidardistill.engine.terms import Terms
from lidardistill.methods.calico_prc.batch import RegionViewBatch
from lidardistill.methods.calico_prc.loss import (
    Average,
    ViewPoints,
    both_point_contrasts,
)
from lidardistill.methods.heads import ProjectionHead
from lidardistill.objectives.diagnostics import contrast_diagnostics
from lidardistill.ops.bev_grid import BevGrid
from lidardistill.ops.bev_sample import bev_sample

_DIAGNOSED_ROWS = 4096  # their similarities fill 64 MB


class PRC(nn.Module):
    """Points of a region meet their region, and themselves, in another view of the sweep.

    Student and projector train on both views; there is no teacher and no camera. `pairing="permuted"` is a control.

    Args:
        student: LiDAR backbone that makes maps, `models.lidar_bev.LidarBev`.
        grid: the cells of its maps.
        student_channels: channels of its maps.
        hidden: width inside the projector.
        embedding: D, width of what is compared.
        alpha: weight of the contrast with regions, 0..1; that with points has the rest.
        temperature: of both, > 0.
        average: over the positives of an anchor, "outside" or "inside" the logarithm.
        equal_regions: in the contrast with points every region counts the same, else every point.
        negatives: "scene": points are told apart from those of their own sweep; "batch": from those of all sweeps.
        pairing: `real`, or the control `permuted`: partners are re-drawn at random at every step.
    """

    def __init__(
        self,
        student: nn.Module,
        grid: BevGrid,
        *,
        student_channels: int,
        hidden: int = 256,
        embedding: int = 128,
        alpha: float = 0.5,
        temperature: float = 0.07,
        average: Average = "outside",
        equal_regions: bool = True,
        negatives: str = "scene",
        pairing: str = "real",
    ) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f"PRC: alpha must lie in 0..1, got {alpha}")
        self.student = student
        self.grid = grid
        self.projector = ProjectionHead(student_channels, hidden, embedding)
        self.alpha = alpha
        self.temperature = temperature
        self.average: Average = average
        self.equal_regions = equal_regions
        self.negatives = negatives
        self.pairing = pairing

    def forward(self, batch: RegionViewBatch, *, generator: torch.Generator, diagnose: bool = False) -> Terms:
        """One step of section 3.

        Args:
            batch: what the loader collated: voxels of both views, and the points drawn for both.
            generator: of the permuted control.
            diagnose: also compute the feature-quality metrics, of the points of regions.
        """
        view_a, view_b = self.point_features(batch)
        if self.pairing == "permuted":
            shuffled = torch.randperm(len(view_b), generator=generator).to(view_b.device)
            view_b = view_b.index_select(0, shuffled)

        num_candidates = batch.num_points if self.negatives == "scene" else (sum(batch.num_points),)
        plrc, rapc = [], []
        scenes = zip(
            view_a.split(num_candidates),
            view_b.split(num_candidates),
            batch.region.split(num_candidates),
            batch.region_mask.split(num_candidates),
            strict=True,
        )
        for rows_a, rows_b, region, mask in scenes:
            a, b = ViewPoints(rows_a, region, mask), ViewPoints(rows_b, region, mask)
            for anchor, other in ((a, b), (b, a)):
                with_region, with_itself = both_point_contrasts(
                    anchor, other, self.temperature, average=self.average, equal_regions=self.equal_regions
                )
                plrc.append(with_region)
                rapc.append(with_itself)
        region_loss, point_loss = torch.stack(plrc).mean(), torch.stack(rapc).mean()
        return Terms(
            loss=self.alpha * region_loss + (1 - self.alpha) * point_loss,
            losses={"plrc": region_loss.detach(), "rapc": point_loss.detach()},
            counts={
                "points": len(view_a),
                "rich_points": batch.region_mask.sum(),
                "regions": batch.num_regions,
            },
            diagnostics=self.diagnostics(view_a, view_b, batch.region_mask, max(num_candidates))
            if diagnose
            else {},
        )

    def point_features(self, batch: RegionViewBatch) -> tuple[Tensor, Tensor]:
        """Read both views' maps at the points, between the centres of the cells, and project what is read.

        Returns:
            (P, D) of views a and (P, D) of views b, unit length, float32; rows match. BatchNorm sees them together.
        """
        bev = self.student(batch.voxels).bev
        xy = torch.cat([batch.xy_a, batch.xy_b])
        scan = torch.cat([batch.batch_idx, batch.batch_idx + batch.batch_size])
        values, _ = bev_sample(bev, xy, scan, self.grid)
        view_a, view_b = self.projector(values).chunk(2)
        return view_a, view_b

    def diagnostics(
        self, view_a: Tensor, view_b: Tensor, mask: Tensor, num_candidates: int
    ) -> dict[str, Tensor]:
        """`contrast_diagnostics` of at most `_DIAGNOSED_ROWS` points of regions, among which matches are sought.

        `log_candidates` is that of the losses: an anchor of theirs has `num_candidates` to choose from.
        """
        rich = mask.nonzero()[:, 0]
        rich = rich[:: max(1, math.ceil(len(rich) / _DIAGNOSED_ROWS))]
        found = contrast_diagnostics(
            view_a.index_select(0, rich), view_b.index_select(0, rich), self.temperature
        )
        if found:
            found["log_candidates"] = torch.full_like(found["log_candidates"], math.log(num_candidates))
        return found
