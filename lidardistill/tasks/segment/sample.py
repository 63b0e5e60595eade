"""Scan samples, with or without labels, for probing, fine-tuning and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lidardistill.data.augment import augment_cloud
from lidardistill.data.batch import Batch, VoxelBatch
from lidardistill.data.collate import collate_voxels, offsets, optional, sources_of
from lidardistill.data.config import AugmentConfig
from lidardistill.data.frame import CorruptSample
from lidardistill.data.keyframes import Recipe
from lidardistill.data.voxel_input import ScanInput, VoxelInput
from lidardistill.datasets.base import Source
from lidardistill.datasets.labelled import PointLabels


@dataclass
class ScanSample:
    """One scan as voxels, in numpy.

    Attributes:
        sample_token: the keyframe.
        row: its index row.
        points: (N, 4) float32, augmented LiDAR frame, metres; intensity as stored; in the order of the file.
        voxels: input of the backbone.
        target: (N,) int64 class, or 255 (ignore), of each point, or None if no labels were asked for.
        kept: (M,) bool, which points of the scan file these are, or None for all; see `Frame.kept`.
        substitutes: (sample token, reason) of keyframes that could not be read and that this one replaces.
    """

    sample_token: str
    row: int
    points: np.ndarray
    voxels: VoxelInput
    target: np.ndarray | None = None
    kept: np.ndarray | None = None
    substitutes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class ScanBatch(Batch):
    """Ragged concatenation of scans.

    Attributes:
        rows: B index rows.
        points: (N, 4) float32 of all scans.
        point_offsets: (B + 1,) int64 from 0.
        voxels: the same points as voxels.
        target: (N,) int64 class or 255 (ignore), or None.
        kept: of each scan, which points of its file these are, or None for all.
    """

    rows: tuple[int, ...]
    points: Tensor
    point_offsets: Tensor
    voxels: VoxelBatch
    target: Tensor | None
    kept: tuple[np.ndarray | None, ...]

    def labels(self) -> Tensor:
        """`target` of a batch that was read with labels."""
        assert self.target is not None, "these scans were read without labels"
        return self.target


@dataclass(frozen=True)
class ScanRecipe(Recipe[ScanSample]):
    """Scans for the downstream tasks.

    Attributes:
        scan: turns points into the input of a backbone.
        augment: rotation and flips of the points; None disables them. Its other steps are not used.
        labels: point labels, or None for scans without labels.
    """

    scan: ScanInput
    augment: AugmentConfig | None = None
    labels: PointLabels | None = None

    def sample(self, source: Source, row: int, generator: np.random.Generator) -> ScanSample:
        """Read one scan; raises CorruptSample also for labels of another number than points."""
        frame = source.frame(row)
        target = None
        if self.labels is not None:
            stored, num_points = (
                self.labels.read(row),
                len(frame.points if frame.kept is None else frame.kept),
            )
            if len(stored) != num_points:
                raise CorruptSample(
                    f"labels of {frame.sample_token}: expected one for each of the {num_points} points of "
                    f"{frame.lidar_path}, got {len(stored)}; label file and scan are of different versions"
                )
            target = (stored if frame.kept is None else stored[frame.kept]).astype(np.int64)
        augment = self.augment or AugmentConfig().still()
        points, augment_matrix = augment_cloud(frame.points, augment, generator)
        voxels = self.scan.read(points, lidar2ego=frame.lidar2ego @ np.linalg.inv(augment_matrix))
        return ScanSample(frame.sample_token, row, points, voxels, target, frame.kept)

    def collate(self, samples: Sequence[ScanSample]) -> ScanBatch:
        """Concatenate scans; raises ValueError for no samples, or labels in some of them only."""
        sources = sources_of(samples)
        return ScanBatch(
            rows=tuple(s.row for s in samples),
            points=torch.from_numpy(np.concatenate([s.points for s in samples])),
            point_offsets=torch.from_numpy(offsets([len(s.points) for s in samples])),
            voxels=collate_voxels([s.voxels for s in samples]),
            target=optional([s.target for s in samples], "target"),
            kept=tuple(s.kept for s in samples),
            **sources,
        )
