"""CALICO, stage 1: point-region contrast between two views of one LiDAR sweep.

Source: Sun et al., "CALICO: Self-Supervised Camera-LiDAR Contrastive Pre-training for BEV Perception", ICLR
    2024, section 3. `PRCConfig` has a key for each choice that the paper leaves open.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lidardistill.backbones.base import Backbone
from lidardistill.engine.terms import Terms
from lidardistill.methods.base import Method, Parts, describe_scans
from lidardistill.methods.calico_prc.config import PRCConfig
from lidardistill.methods.calico_prc.loss import ViewPoints, both_point_contrasts
from lidardistill.methods.calico_prc.sample import RegionViewBatch, SweepInTwoViews
from lidardistill.methods.heads import ProjectionHead
from lidardistill.objectives.diagnostics import contrast_diagnostics
from lidardistill.ops.bev_sample import bev_sample

_DIAGNOSED_ROWS = 4096  # a similarity matrix of 64 MB


class PRC(Method):
    """Contrast of each point with its region, and with itself, in another view of the sweep.

    Student and projector train on both views; there is no teacher and no camera.

    Args:
        config: keys of the method.
        student: LiDAR backbone that makes a map, with `out_channels` and `grid`.
    """

    def __init__(self, config: PRCConfig, student: Backbone) -> None:
        super().__init__()
        self.config = config
        self.student = student
        assert student.grid is not None, "PRCConfig.trains allows backbones with a map only"
        self.grid = student.grid
        self.projector = ProjectionHead(student.out_channels, config.hidden, config.embedding)

    @classmethod
    def build(cls, config: PRCConfig, parts: Parts) -> PRC:
        return cls(config, parts.new_student())

    @classmethod
    def recipe(cls, config: PRCConfig, parts: Parts) -> SweepInTwoViews:
        return SweepInTwoViews(config, parts.scan_input)

    def forward(self, batch: RegionViewBatch, *, generator: torch.Generator, diagnose: bool = False) -> Terms:
        """One step of section 3.

        Args:
            batch: voxels of both views, and the points drawn for both.
            generator: draws the permuted control.
            diagnose: also compute the feature-quality metrics, of the points of regions.
        """
        view_a, view_b = self.point_features(batch)
        if self.config.pairing == "permuted":
            shuffled = torch.randperm(len(view_b), generator=generator).to(view_b.device)
            view_b = view_b.index_select(0, shuffled)

        num_candidates = batch.num_points if self.config.negatives == "scene" else (sum(batch.num_points),)
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
                    anchor,
                    other,
                    self.config.temperature,
                    average=self.config.average,
                    equal_regions=self.config.equal_regions,
                )
                plrc.append(with_region)
                rapc.append(with_itself)
        region_loss, point_loss = torch.stack(plrc).mean(), torch.stack(rapc).mean()
        return Terms(
            loss=self.config.alpha * region_loss + (1 - self.config.alpha) * point_loss,
            losses={"plrc": region_loss.detach(), "rapc": point_loss.detach()},
            counts={
                "points": len(view_a),
                "rich_points": batch.region_mask.sum(),
                "regions": batch.num_regions,
            },
            diagnostics=self.diagnostics(view_a, view_b, batch.region_mask, max(num_candidates))
            if diagnose
            else {},
            num_matches=batch.region_mask.sum(),
        )

    def point_features(self, batch: RegionViewBatch) -> tuple[Tensor, Tensor]:
        """Interpolate both views' maps at the points, and project the features.

        Returns:
            (P, D) of views a and (P, D) of views b, unit length, float32; rows match. BatchNorm sees them
            together.
        """
        bev = self.student(batch.voxels).bev
        xy = torch.cat([batch.xy_a, batch.xy_b])
        scan = torch.cat([batch.batch_idx, batch.batch_idx + batch.batch_size])
        values, _ = bev_sample(bev, xy, scan, self.grid)
        view_a, view_b = self.projector(values).chunk(2)
        return view_a, view_b

    def describe(self, batch: RegionViewBatch) -> list[str]:
        return [
            describe_scans(batch.voxels),
            f"views       {batch.batch_size} sweeps in two, compared at {len(batch.region)} points, "
            f"{int(batch.region_mask.sum())} of them in {batch.num_regions} regions",
        ]

    def diagnostics(
        self, view_a: Tensor, view_b: Tensor, mask: Tensor, num_candidates: int
    ) -> dict[str, Tensor]:
        """`contrast_diagnostics` of at most `_DIAGNOSED_ROWS` points of regions, matched among themselves.

        `log_candidates` is that of the losses, whose anchors choose among `num_candidates`.
        """
        rich = mask.nonzero()[:, 0]
        rich = rich[:: max(1, math.ceil(len(rich) / _DIAGNOSED_ROWS))]
        found = contrast_diagnostics(
            view_a.index_select(0, rich), view_b.index_select(0, rich), self.config.temperature
        )
        if found:
            found["log_candidates"] = torch.full_like(found["log_candidates"], math.log(num_candidates))
        return found
