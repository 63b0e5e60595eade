"""CALICO, stage 2: region-aware distillation from a frozen LiDAR map to the map of the cameras.

Source: Sun et al., "CALICO: Self-Supervised Camera-LiDAR Contrastive Pre-training for BEV Perception", ICLR 2024,
section 3. What the paper leaves open is named, and given a key each, in `config.calico_rad.RADConfig`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lidardistill.backbones.camera_bev.net import CameraBev
from lidardistill.engine.terms import Terms
from lidardistill.methods.calico_rad.batch import RegionImageBatch
from lidardistill.methods.calico_rad.lidar_teacher import LidarTeacher
from lidardistill.methods.calico_rad.loss import Denominator, centre_weights, region_distill
from lidardistill.methods.heads import ProjectionHead
from lidardistill.objectives.diagnostics import contrast_diagnostics
from lidardistill.ops.bev_sample import bev_sample

_DIAGNOSED_ROWS = 4096  # their similarities fill 64 MB


class RAD(nn.Module):
    """At the points of regions, the map of the cameras finds what the map of the LiDAR says.

    The camera network and both projectors train; the LiDAR network never does. `pairing="permuted"` is a control.

    Args:
        student: the camera network.
        teacher: the LiDAR network of the first stage, frozen. Every point of its map lies on the student's.
        hidden: width inside the projectors.
        embedding: D, width of what is compared.
        temperature: of the contrast, > 0.
        denominator: candidates are "all" sampled points or the "rich" ones, those of regions.
        negatives: "scene": points are told apart from those of their own keyframe; "batch": from those of all.
        weighting: "region": every region counts the same, and every point in it (CALICO). "gaussian": the ablation;
            points count by a Gaussian around the middle of their region, as BEVDistill's around the centres of
            labelled boxes, of which pretraining has none.
        pairing: `real`, or the control `permuted`: partners are re-drawn at random at every step.
    """

    def __init__(
        self,
        student: CameraBev,
        teacher: LidarTeacher,
        *,
        hidden: int = 256,
        embedding: int = 128,
        temperature: float = 0.07,
        denominator: Denominator = "all",
        negatives: str = "scene",
        weighting: str = "region",
        pairing: str = "real",
    ) -> None:
        super().__init__()
        self.student = student
        self.student_head = ProjectionHead(student.out_channels, hidden, embedding)
        self.teacher = teacher
        self.teacher_head = ProjectionHead(teacher.out_channels, hidden, embedding)
        self.temperature = temperature
        self.denominator: Denominator = denominator
        self.negatives = negatives
        self.weighting = weighting
        self.pairing = pairing

    def forward(
        self, batch: RegionImageBatch, *, generator: torch.Generator, diagnose: bool = False
    ) -> Terms:
        """One step of section 3.

        Args:
            batch: what the loader collated: images, voxels, and the points drawn for both.
            generator: of the permuted control.
            diagnose: also compute the feature-quality metrics, of the points of regions.
        """
        cameras, lidar = self.point_features(batch)
        if self.pairing == "permuted":
            shuffled = torch.randperm(len(lidar), generator=generator).to(lidar.device)
            lidar = lidar.index_select(0, shuffled)

        num_candidates = batch.num_points if self.negatives == "scene" else (len(lidar),)
        weight = self.weights(batch)
        parts = zip(
            cameras.split(num_candidates),
            lidar.split(num_candidates),
            batch.region.split(num_candidates),
            batch.region_mask.split(num_candidates),
            [None] * len(num_candidates) if weight is None else weight.split(num_candidates),
            strict=True,
        )
        losses = [
            region_distill(c, l, region, mask, self.temperature, denominator=self.denominator, weight=part)
            for c, l, region, mask, part in parts
        ]
        loss = torch.stack(losses).mean()
        return Terms(
            loss=loss,
            losses={"rad": loss.detach()},
            counts={
                "points": len(cameras),
                "rich_points": batch.region_mask.sum(),
                "regions": len(batch.centre_xy),
                "views": len(batch.images),
            },
            diagnostics=self.diagnostics(cameras, lidar, batch.region_mask, num_candidates)
            if diagnose
            else {},
        )

    def point_features(self, batch: RegionImageBatch) -> tuple[Tensor, Tensor]:
        """Read both maps at the points, between the centres of the cells, and project what is read.

        Returns:
            (P, D) of the cameras and (P, D) of the LiDAR, unit length, float32; rows match.
        """
        camera_map, _ = self.student(**batch.camera_inputs())
        lidar_map = self.teacher(batch.voxels).bev
        cameras, _ = bev_sample(camera_map, batch.xy, batch.batch_idx, self.student.grid)
        lidar, _ = bev_sample(lidar_map, batch.lidar_xy, batch.batch_idx, self.teacher.grid)
        return self.student_head(cameras), self.teacher_head(lidar)

    def weights(self, batch: RegionImageBatch) -> Tensor | None:
        """(P,) weight of each point in the ablation, None for CALICO's own."""
        if self.weighting == "region":
            return None
        return centre_weights(
            batch.xy,
            batch.region,
            batch.region_mask,
            batch.centre_xy,
            batch.size_xy,
            self.student.grid.cell_size,
        )

    def diagnostics(
        self, cameras: Tensor, lidar: Tensor, mask: Tensor, num_candidates: tuple[int, ...]
    ) -> dict[str, Tensor]:
        """`contrast_diagnostics` of at most `_DIAGNOSED_ROWS` points of regions, among which matches are sought.

        `log_candidates` is that of the loss: the most that an anchor of it has to choose from.
        """
        rich = mask.nonzero()[:, 0]
        rich = rich[:: max(1, math.ceil(len(rich) / _DIAGNOSED_ROWS))]
        found = contrast_diagnostics(
            cameras.index_select(0, rich), lidar.index_select(0, rich), self.temperature
        )
        if found:
            chosen = torch.ones_like(mask) if self.denominator == "all" else mask
            most = torch.stack([part.sum() for part in chosen.split(num_candidates)]).max()
            found["log_candidates"] = most.float().log()
        return found
