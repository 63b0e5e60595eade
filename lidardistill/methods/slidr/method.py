"""SLidR: image-to-LiDAR self-supervised distillation for autonomous driving data.

Source: Sautier et al., CVPR 2022 (section 3, and the authors' configuration `slidr_minkunet`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lidardistill.backbones.base import Backbone
from lidardistill.engine.terms import Terms
from lidardistill.methods.base import JointSpace, Method, Parts, Report
from lidardistill.methods.heads import ImageHead, PointHead
from lidardistill.methods.image_pairs import ImagePairs, PairBatch, describe_pairs, embed_pairs
from lidardistill.methods.slidr.cached_features import FeatureStore, StoredFeatures, fill_store, store_of
from lidardistill.methods.slidr.config import SLidRConfig
from lidardistill.objectives.contrast import info_nce
from lidardistill.objectives.diagnostics import contrast_diagnostics
from lidardistill.ops.gather import all_gather_ragged, rank_weight
from lidardistill.ops.segment import segment_mean
from lidardistill.ops.superpixel_pool import superpixel_pool
from lidardistill.regions.superpixels.source import SuperpixelSource
from lidardistill.teachers.base import Teacher


class SLidR(Method):
    """Contrast of the student's superpoints with the superpixels of a frozen teacher.

    The student and both heads train; the teacher never does.

    Differs from the paper in: nothing by default; `SLidRConfig` names the deviations and controls.

    Args:
        config: keys of the method.
        student: LiDAR backbone with `out_channels`.
        teacher: frozen image encoder: (V, 3, H, W) in 0..1 to (V, out_channels, h, w).
    """

    def __init__(self, config: SLidRConfig, student: Backbone, teacher: Teacher) -> None:
        super().__init__()
        self.config = config
        self.store: FeatureStore | None = None
        self.student = student
        self.student_head = PointHead(student.out_channels, config.embedding)
        self.teacher = teacher
        self.teacher_head = ImageHead(teacher.out_channels, config.embedding)

    @classmethod
    def build(cls, config: SLidRConfig, parts: Parts) -> SLidR:
        method = cls(config, parts.new_student(), parts.new_teacher())
        method.store = None if parts.teacher_cache is None else store_of(parts)
        return method

    @classmethod
    def recipe(cls, config: SLidRConfig, parts: Parts) -> ImagePairs:
        cached = None
        if parts.teacher_cache is not None:
            cached = StoredFeatures(store_of(parts), of_another=config.pairing == "other_keyframe")
        return ImagePairs(
            scan_input=parts.scan_input,
            augment=parts.data.augment,
            images=parts.data.images,
            visibility=parts.data.visibility,
            superpixels=SuperpixelSource.of(parts.data.superpixels),
            cached=cached,
        )

    def forward(self, batch: PairBatch, *, generator: torch.Generator, diagnose: bool = False) -> Terms:
        """One step of section 3.3.

        Args:
            batch: keyframes with images and superpixels.
            generator: draws the permuted control.
            diagnose: also compute the feature-quality metrics.
        """
        superpoints, points_in = self.superpoints(batch)
        superpixels, pixels_in = self.superpixels(batch)
        seen_by_both = (points_in > 0) & (pixels_in > 0)
        anchor, positive = superpoints[seen_by_both], superpixels[seen_by_both]
        if self.config.normalize == "superpixel":
            positive = F.normalize(self.teacher_head.rows(positive), dim=1)
        if self.config.unit_means:
            anchor, positive = F.normalize(anchor, dim=1), F.normalize(positive, dim=1)
        if self.config.pairing == "permuted":
            shuffled = torch.randperm(len(positive), generator=generator)
            positive = positive[shuffled.to(positive.device)]

        loss = self.contrast(anchor, positive)
        return Terms(
            loss=loss,
            losses={"contrast": loss.detach()},
            counts={"pairs": len(batch.pairing_points), "superpixels": len(anchor)},
            diagnostics=contrast_diagnostics(anchor, positive, self.config.temperature) if diagnose else {},
            num_matches=len(anchor),
        )

    def superpoints(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Average the student's unit features over the points that fall into each superpixel (section 3.2).

        Returns:
            (V * S, D) means, not unit length, and (V * S,) points in each.
        """
        features = self.student(batch.voxels)
        assert batch.superpixels is not None
        assert batch.superpixel_mask is not None
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
            (V * S, D) means of projected features, or with `normalize="superpixel"` (V * S, teacher_channels)
            of features before the projection; (V * S,) pixels in each.
        """
        if self.config.normalize == "pixel":
            assert batch.superpixels is not None
            maps = self.teacher_head(self.teacher(batch.images))
            return superpixel_pool(maps, batch.superpixels, batch.num_superpixels, mask=batch.superpixel_mask)
        return self.teacher_features(batch)

    @torch.no_grad()
    def teacher_features(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """The frozen teacher's features averaged by superpixel, before the head.

        Returns:
            (V * S, teacher_channels) means and (V * S,) pixels in each; from the cache where the batch has
            them.
        """
        if batch.teacher_features is not None and batch.teacher_count is not None:
            return batch.teacher_features, batch.teacher_count
        assert batch.superpixels is not None
        return superpixel_pool(
            self.teacher(batch.images),
            batch.superpixels,
            batch.num_superpixels,
            normalize=False,
            mask=batch.superpixel_mask,
        )

    def contrast(self, anchor: Tensor, positive: Tensor) -> Tensor:
        """InfoNCE: each superpoint finds its superpixel among the candidates (equation 4)."""
        if self.config.negatives == "local":
            return info_nce(anchor, positive, self.config.temperature, symmetric=self.config.symmetric)
        candidates, offset = all_gather_ragged(positive)
        loss = info_nce(
            anchor,
            positive,
            self.config.temperature,
            candidates=candidates,
            candidate_offset=offset,
            symmetric=self.config.symmetric,
            anchor_candidates=all_gather_ragged(anchor)[0] if self.config.symmetric else None,
        )
        return loss * rank_weight(len(anchor), len(candidates))

    def describe(self, batch: PairBatch) -> list[str]:
        return describe_pairs(batch)

    def prepare(
        self,
        recipe: ImagePairs,
        source: Any,
        rows: np.ndarray,
        *,
        num_workers: int = 0,
        on_progress: Report | None = None,
        on_unreadable: Callable[[str, str], object] | None = None,
    ) -> int:
        """Fill the cache of teacher features, if the run has one; see `Method.prepare`."""
        if self.store is None:
            return 0
        return fill_store(
            self.store,
            recipe.still(),
            self.teacher_features,
            source,
            rows,
            next(self.parameters()).device,
            num_workers=num_workers,
            on_progress=on_progress,
            on_unreadable=on_unreadable,
        )

    def joint_space(self, batch: PairBatch) -> JointSpace:
        return embed_pairs(self.student, self.student_head, self.teacher, self.teacher_head, batch)
