"""CALICO, stage 2: region-aware distillation from a frozen LiDAR map to the map of the cameras.

Source: Sun et al., "CALICO: Self-Supervised Camera-LiDAR Contrastive Pre-training for BEV Perception", ICLR
    2024, section 3. `RADConfig` has a key for each choice that the paper leaves open.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from torch import Tensor

from lidardistill.backbones.camera_bev.net import CameraBev
from lidardistill.data.batch import VoxelBatch
from lidardistill.engine.terms import Terms
from lidardistill.exchange.of_run import load_student
from lidardistill.methods.base import Method, Parts, ShownMap, describe_scans
from lidardistill.methods.calico_rad.config import RADConfig
from lidardistill.methods.calico_rad.lidar_teacher import LidarTeacher
from lidardistill.methods.calico_rad.loss import centre_weights, region_distill
from lidardistill.methods.calico_rad.sample import RegionImageBatch, RegionImages
from lidardistill.methods.heads import ProjectionHead
from lidardistill.objectives.diagnostics import contrast_diagnostics
from lidardistill.ops.bev_grid import BevGrid
from lidardistill.ops.bev_sample import bev_sample

log = logging.getLogger(__name__)

_DIAGNOSED_ROWS = 4096  # a similarity matrix of 64 MB


class RAD(Method):
    """Contrast of the cameras' map with the LiDAR's map at the points of regions.

    The camera network and both projectors train; the LiDAR network never does.

    Args:
        config: keys of the method.
        student: the camera network.
        teacher: the LiDAR network of the first stage, frozen. Every point of its map lies on the student's.
    """

    student_reads_scans = False

    def __init__(self, config: RADConfig, student: CameraBev, teacher: LidarTeacher) -> None:
        super().__init__()
        self.config = config
        self.student: CameraBev = student
        self.student_head = ProjectionHead(student.out_channels, config.hidden, config.embedding)
        self.teacher = teacher
        self.teacher_head = ProjectionHead(teacher.out_channels, config.hidden, config.embedding)

    @classmethod
    def build(cls, config: RADConfig, parts: Parts) -> RAD:
        """A camera network with its own weights, and the LiDAR network of the first stage.

        Raises:
            ValueError, FileNotFoundError: `method.lidar_weights` cannot be loaded; or the map of the cameras
                does not cover that of the LiDAR.
        """
        lidar = parts.new_student()
        try:
            log.info("LiDAR network, frozen: %s", load_student(lidar, config.lidar_weights, parts.voxels))
        except (ValueError, FileNotFoundError) as error:
            raise type(error)(f"method.lidar_weights: {error}") from error
        camera, teacher = config.camera.build(), LidarTeacher(lidar)
        if not covers(camera.grid, teacher.grid):
            raise ValueError(
                f"method.camera.bev_range: the cameras' map {camera.grid} must cover the LiDAR's "
                f"{teacher.grid}, whose "
                "range is voxels.point_cloud_range"
            )
        return cls(config, camera, teacher)

    @classmethod
    def recipe(cls, config: RADConfig, parts: Parts) -> RegionImages:
        data = parts.data
        return RegionImages(config, parts.scan_input, data.augment, data.images, data.visibility)

    def forward(
        self, batch: RegionImageBatch, *, generator: torch.Generator, diagnose: bool = False
    ) -> Terms:
        """One step of section 3.

        Args:
            batch: images, voxels, and the points drawn for both.
            generator: draws the permuted control.
            diagnose: also compute the feature-quality metrics, of the points of regions.
        """
        cameras, lidar = self.point_features(batch)
        if self.config.pairing == "permuted":
            shuffled = torch.randperm(len(lidar), generator=generator).to(lidar.device)
            lidar = lidar.index_select(0, shuffled)

        num_candidates = batch.num_points if self.config.negatives == "scene" else (len(lidar),)
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
            region_distill(
                c, l, region, mask, self.config.temperature, denominator=self.config.denominator, weight=part
            )
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
            num_matches=batch.region_mask.sum(),
        )

    def point_features(self, batch: RegionImageBatch) -> tuple[Tensor, Tensor]:
        """Interpolate both maps at the points, and project the features.

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
        if self.config.weighting == "region":
            return None
        return centre_weights(
            batch.xy,
            batch.region,
            batch.region_mask,
            batch.centre_xy,
            batch.size_xy,
            self.student.grid.cell_size,
        )

    def describe(self, batch: RegionImageBatch) -> list[str]:
        return [
            describe_scans(batch.voxels),
            f"images      {tuple(batch.images.shape)}, compared at {len(batch.region)} points, "
            f"{int(batch.region_mask.sum())} of them in {len(batch.centre_xy)} regions",
        ]

    def card(self) -> dict[str, Any]:
        """The exported student is the camera network."""
        return {"student": self.config.camera.model_dump(mode="json")}

    def shown_maps(self, voxels: VoxelBatch, xy: Tensor, cameras: dict[str, Any] | None) -> list[ShownMap]:
        """Both maps, with their projectors as heads."""
        camera_map, _ = self.student(**(cameras or {}))
        lidar_map = self.teacher(voxels).bev
        return [
            ShownMap(
                "cameras, as the student sees them", camera_map[0], self.student.grid, self.student_head
            ),
            ShownMap("LiDAR, as the teacher sees it", lidar_map[0], self.teacher.grid, self.teacher_head),
        ]

    def diagnostics(
        self, cameras: Tensor, lidar: Tensor, mask: Tensor, num_candidates: tuple[int, ...]
    ) -> dict[str, Tensor]:
        """`contrast_diagnostics` of at most `_DIAGNOSED_ROWS` points of regions, matched among themselves.

        `log_candidates` is that of the loss, for the largest number of candidates of an anchor.
        """
        rich = mask.nonzero()[:, 0]
        rich = rich[:: max(1, math.ceil(len(rich) / _DIAGNOSED_ROWS))]
        found = contrast_diagnostics(
            cameras.index_select(0, rich), lidar.index_select(0, rich), self.config.temperature
        )
        if found:
            chosen = torch.ones_like(mask) if self.config.denominator == "all" else mask
            most = torch.stack([part.sum() for part in chosen.split(num_candidates)]).max()
            found["log_candidates"] = most.float().log()
        return found


def covers(outer: BevGrid, inner: BevGrid) -> bool:
    """True if every point of `inner` lies on `outer`, give or take a millimetre."""
    return (
        outer.x_min <= inner.x_min + 1e-3
        and outer.y_min <= inner.y_min + 1e-3
        and outer.x_min + outer.width * outer.cell_size >= inner.x_min + inner.width * inner.cell_size - 1e-3
        and outer.y_min + outer.height * outer.cell_size
        >= inner.y_min + inner.height * inner.cell_size - 1e-3
    )
