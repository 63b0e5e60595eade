"""Scans, with labels if asked for: the input of probing, fine-tuning and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from lidardistill.datasets.base import FrameIndex
from lidardistill.datasets.nuscenes.lidarseg_classes import CLASS_TO_TARGET, RAW_TO_CLASS


@dataclass
class ScanSample:
    """One scan as voxels, in numpy.

    Attributes:
        sample_token: the keyframe.
        row: its index row.
        points: (N, 4) float32, augmented LiDAR frame, metres; intensity as stored; in the order of the file.
        voxels: input of the backbone.
        target: (N,) int64 0..15 or 255 (ignore) for every raw point, or None if no labels were asked for.
        substitutes: (sample token, reason) of keyframes that could not be read and that this one replaces.
    """

    sample_token: str
    row: int
    points: np.ndarray
    voxels: VoxelInput
    target: np.ndarray | None = None
    substitutes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class ScanBatch(Batch):
    """Ragged concatenation of scans.

    Attributes:
        rows: B index rows.
        points: (N, 4) float32 of all scans.
        point_offsets: (B + 1,) int64 from 0.
        voxels: the same points as voxels.
        target: (N,) int64 0..15 or 255, or None.
    """

    rows: tuple[int, ...]
    points: Tensor
    point_offsets: Tensor
    voxels: VoxelBatch
    target: Tensor | None

    def labels(self) -> Tensor:
        """`target` of a batch that was read with labels."""
        assert self.target is not None, "these scans were read without labels"
        return self.target


@dataclass(frozen=True)
class ScanRecipe(Recipe[ScanSample]):
    """Scans for the downstream tasks.

    Attributes:
        scan: turns points into the input of a backbone.
        augment: rotation and flips of the cloud; None leaves it alone. Its other steps are not used.
        read_labels: index row -> (N,) uint8 raw lidarseg labels, or None for scans without labels. It must be picklable
            for worker processes: `functools.partial(read_lidarseg, index)`.
    """

    scan: ScanInput
    augment: AugmentConfig | None = None
    read_labels: Callable[[int], np.ndarray] | None = None

    def sample(self, source: FrameIndex, row: int, generator: np.random.Generator) -> ScanSample:
        """Read one scan; raises CorruptSample also for labels of another number than points."""
        frame = source.frame(row)
        target = None
        if self.read_labels is not None:
            raw = self.read_labels(row)
            if len(raw) != len(frame.points):
                raise CorruptSample(
                    f"labels of {frame.sample_token}: expected one for each of the {len(frame.points)} points of "
                    f"{frame.lidar_path}, got {len(raw)}; label file and scan are of different versions"
                )
            target = CLASS_TO_TARGET[RAW_TO_CLASS[raw]].astype(np.int64)
        augment = self.augment or AugmentConfig().still()
        points, augment_matrix = augment_cloud(frame.points, augment, generator)
        voxels = self.scan.read(points, lidar2ego=frame.lidar2ego @ np.linalg.inv(augment_matrix))
        return ScanSample(frame.sample_token, row, points, voxels, target)

    def collate(self, samples: Sequence[ScanSample]) -> ScanBatch:
        """Concatenate scans; raises ValueError for no samples, or labels in some of them only."""
        sources = sources_of(samples)
        return ScanBatch(
            rows=tuple(s.row for s in samples),
            points=torch.from_numpy(np.concatenate([s.points for s in samples])),
            point_offsets=torch.from_numpy(offsets([len(s.points) for s in samples])),
            voxels=collate_voxels([s.voxels for s in samples]),
            target=optional([s.target for s in samples], "target"),
            **sources,
        )
