"""PPKT: contrastive pixel-to-point knowledge transfer.

Source: Liu et al., "Learning from 2D: Contrastive Pixel-to-Point Knowledge Transfer for 3D Pretraining",
    2021, as SLidR's authors re-implemented it (`config/ppkt_nuscenes.yaml` of their code).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lidardistill.backbones.base import Backbone
from lidardistill.engine.terms import Terms
from lidardistill.methods.base import JointSpace, Method, Parts
from lidardistill.methods.heads import ImageHead, PointHead
from lidardistill.methods.image_pairs import ImagePairs, PairBatch, describe_pairs, embed_pairs
from lidardistill.methods.ppkt.config import PPKTConfig
from lidardistill.objectives.contrast import info_nce
from lidardistill.objectives.diagnostics import contrast_diagnostics
from lidardistill.ops.bilinear import bilinear_axis
from lidardistill.teachers.base import Teacher


class PPKT(Method):
    """Each point finds its own pixel among the pixels of all drawn pairs.

    The student and both heads train; the teacher never does. There are no superpixels.

    Differs from the re-implementation in: a batch with fewer pairs than `pairs` uses all of them (there it
    raises an error); the map of the teacher is read at the pixels of the pairs, so that no map of the size of
    the images exists.

    Args:
        config: keys of the method.
        student: LiDAR backbone with `out_channels`.
        teacher: frozen image encoder: (V, 3, H, W) in 0..1 to (V, out_channels, h, w).
    """

    def __init__(self, config: PPKTConfig, student: Backbone, teacher: Teacher) -> None:
        super().__init__()
        self.config = config
        self.student = student
        self.student_head = PointHead(student.out_channels, config.embedding)
        self.teacher = teacher
        self.teacher_head = ImageHead(teacher.out_channels, config.embedding)

    @classmethod
    def build(cls, config: PPKTConfig, parts: Parts) -> PPKT:
        return cls(config, parts.new_student(), parts.new_teacher())

    @classmethod
    def recipe(cls, config: PPKTConfig, parts: Parts) -> ImagePairs:
        data = parts.data
        return ImagePairs(parts.scan_input, data.augment, data.images, data.visibility)

    def forward(self, batch: PairBatch, *, generator: torch.Generator, diagnose: bool = False) -> Terms:
        """One step.

        Args:
            batch: keyframes with images.
            generator: draws the pairs, and then the permuted control.
            diagnose: also compute the feature-quality metrics.
        """
        num_pairs = len(batch.pairing_points)
        chosen = torch.randperm(num_pairs, generator=generator)[: self.config.pairs]
        chosen = chosen.to(batch.pairing_points.device)
        points, pixels = self.points(batch, chosen), self.pixels(batch, chosen)
        if self.config.pairing == "permuted":
            shuffled = torch.randperm(len(pixels), generator=generator).to(pixels.device)
            pixels = pixels.index_select(0, shuffled)
        loss = info_nce(points, pixels, self.config.temperature)
        return Terms(
            loss=loss,
            losses={"contrast": loss.detach()},
            counts={"pairs": num_pairs, "contrasted": len(points)},
            diagnostics=contrast_diagnostics(points, pixels, self.config.temperature) if diagnose else {},
            num_matches=len(points),
        )

    def points(self, batch: PairBatch, chosen: Tensor) -> Tensor:
        """(K, D) unit features of the points of (K,) chosen pairs."""
        features = self.student(batch.voxels)
        rows = features.point2row.index_select(0, batch.pairing_points.index_select(0, chosen))
        return self.student_head(features.rows).index_select(0, rows)

    def pixels(self, batch: PairBatch, chosen: Tensor) -> Tensor:
        """(K, D) unit features of the pixels of (K,) chosen pairs, interpolated in the teacher's maps.

        The same as bilinear upsampling with `align_corners=True`, taken at these pixels alone.
        """
        assert batch.images is not None
        maps = self.teacher_head(self.teacher(batch.images)).float()
        height, width = maps.shape[2:]
        view, row, col = batch.pairing_images.index_select(0, chosen).unbind(1)
        rows = bilinear_axis(height, batch.images.shape[2], True, maps.device)
        cols = bilinear_axis(width, batch.images.shape[3], True, maps.device)
        cells = maps.permute(0, 2, 3, 1).flatten(0, 2)
        down, right = rows.weight[row, None].to(cells.dtype), cols.weight[col, None].to(cells.dtype)

        def read(at_row: Tensor, at_col: Tensor) -> Tensor:
            return cells.index_select(0, (view * height + at_row[row]) * width + at_col[col])

        upper = read(rows.lower, cols.lower) * (1 - right) + read(rows.lower, cols.upper) * right
        lower = read(rows.upper, cols.lower) * (1 - right) + read(rows.upper, cols.upper) * right
        return F.normalize(upper * (1 - down) + lower * down, dim=1)

    def describe(self, batch: PairBatch) -> list[str]:
        return describe_pairs(batch)

    def joint_space(self, batch: PairBatch) -> JointSpace:
        return embed_pairs(self.student, self.student_head, self.teacher, self.teacher_head, batch)
