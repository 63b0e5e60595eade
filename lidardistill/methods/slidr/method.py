"""SLidR: image-to-LiDAR self-supervised distillation for autonomous driving data.

Source: Sautier et al., CVPR 2022 (section 3, and the authors' configuration `slidr_minkunet`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lidardistill.engine.terms import Terms
from lidardistill.methods.heads import ImageHead, PointHead
from lidardistill.methods.slidr.sample import PairBatch
from lidardistill.objectives.contrast import info_nce
from lidardistill.objectives.diagnostics import contrast_diagnostics
from lidardistill.ops.gather import all_gather_ragged, rank_weight
from lidardistill.ops.segment import segment_mean
from lidardistill.ops.superpixel_pool import superpixel_pool


class SLidR(nn.Module):
    """Superpoints of the student meet superpixels of a frozen teacher.

    The student and both heads train; the teacher never does.

    Differs from the paper in: nothing by default. `normalize="superpixel"`, `unit_means`, `symmetric`,
    `negatives="global"` and every `pairing` but `real` are deviations and controls.

    Args:
        student: LiDAR backbone, see `backbones.base.Backbone`.
        teacher: frozen image encoder: (V, 3, H, W) in 0..1 to (V, teacher_channels, h, w).
        student_channels: width of the student's features.
        teacher_channels: width of the teacher's features.
        embedding: D, width of the space in which both meet.
        temperature: of InfoNCE, > 0.
        normalize: `pixel`: each upsampled pixel gets unit length, then superpixels are averaged (the paper).
            `superpixel`: teacher features are averaged, projected and given unit length, so that they can be
            computed once.
        unit_means: give the averaged features unit length again.
        symmetric: contrast in both directions.
        negatives: `local`, of this process (the paper), or `global`, of all processes.
        pairing: `real`, or the control `permuted`: superpixels are re-drawn at random at every step.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        student_channels: int,
        teacher_channels: int,
        embedding: int = 64,
        temperature: float = 0.07,
        normalize: str = "pixel",
        unit_means: bool = False,
        symmetric: bool = False,
        negatives: str = "local",
        pairing: str = "real",
    ) -> None:
        super().__init__()
        self.student = student
        self.student_head = PointHead(student_channels, embedding)
        self.teacher = teacher
        self.teacher_head = ImageHead(teacher_channels, embedding)
        self.temperature = temperature
        self.normalize = normalize
        self.unit_means = unit_means
        self.symmetric = symmetric
        self.negatives = negatives
        self.pairing = pairing

    def forward(self, batch: PairBatch, *, generator: torch.Generator, diagnose: bool = False) -> Terms:
        """One step of section 3.3.

        Args:
            batch: what the loader collated.
            generator: draws the permuted control; unused otherwise.
            diagnose: also compute the feature-quality metrics.
        """
        superpoints, points_in = self.superpoints(batch)
        superpixels, pixels_in = self.superpixels(batch)
        seen_by_both = (points_in > 0) & (pixels_in > 0)
        anchor, positive = superpoints[seen_by_both], superpixels[seen_by_both]
        if self.normalize == "superpixel":
            positive = F.normalize(self.teacher_head.rows(positive), dim=1)
        if self.unit_means:
            anchor, positive = F.normalize(anchor, dim=1), F.normalize(positive, dim=1)
        if self.pairing == "permuted":
            shuffled = torch.randperm(len(positive), generator=generator)
            positive = positive[shuffled.to(positive.device)]

        loss = self.contrast(anchor, positive)
        return Terms(
            loss=loss,
            losses={"contrast": loss.detach()},
            counts={"pairs": len(batch.pairing_points), "superpixels": len(anchor)},
            diagnostics=contrast_diagnostics(anchor, positive, self.temperature) if diagnose else {},
        )

    def superpoints(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Average the student's unit features over the points that fall into each superpixel (section 3.2).

        Returns:
            (V * S, D) means, not unit length, and (V * S,) points in each.
        """
        voxels = batch.voxels
        features = self.student(voxels)
        view, row, col = batch.pairing_images.unbind(1)
        _, height, width = batch.superpixels.shape
        pixel = (view * height + row) * width + col
        return segment_mean(
            self.student_head(features.rows),
            view * batch.num_superpixels + batch.superpixels.flatten().index_select(0, pixel),
            len(batch.superpixels) * batch.num_superpixels,
            mask=batch.superpixel_mask.flatten().index_select(0, pixel),
            rows=features.point2row.index_select(0, batch.pairing_points),
        )

    def superpixels(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Average the teacher's features over all pixels of each superpixel (section 3.2).

        Returns:
            (V * S, D) means of projected features, or with `normalize="superpixel"` (V * S, teacher_channels) of features that
            are yet to be projected; (V * S,) pixels in each.
        """
        if self.normalize == "pixel":
            maps = self.teacher_head(self.teacher(batch.images))
            return superpixel_pool(maps, batch.superpixels, batch.num_superpixels, mask=batch.superpixel_mask)
        return self.teacher_features(batch)

    @torch.no_grad()
    def teacher_features(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """The frozen teacher's features averaged by superpixel, before the head.

        Returns:
            (V * S, teacher_channels) means and (V * S,) pixels in each; from the cache where the batch has them.
        """
        if batch.teacher_features is not None and batch.teacher_count is not None:
            return batch.teacher_features, batch.teacher_count
        return superpixel_pool(
            self.teacher(batch.images),
            batch.superpixels,
            batch.num_superpixels,
            normalize=False,
            mask=batch.superpixel_mask,
        )

    def contrast(self, anchor: Tensor, positive: Tensor) -> Tensor:
        """InfoNCE: each superpoint finds its superpixel among the candidates (equation 4)."""
        if self.negatives == "local":
            return info_nce(anchor, positive, self.temperature, symmetric=self.symmetric)
        candidates, offset = all_gather_ragged(positive)
        loss = info_nce(
            anchor,
            positive,
            self.temperature,
            candidates=candidates,
            candidate_offset=offset,
            symmetric=self.symmetric,
            anchor_candidates=all_gather_ragged(anchor)[0] if self.symmetric else None,
        )
        return loss * rank_weight(len(anchor), len(candidates))
