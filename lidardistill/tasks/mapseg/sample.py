"""Samples of map segmentation: scans with the map around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lidardistill.data.batch import Batch, VoxelBatch
from lidardistill.data.collate import collate_voxels, sources_of
from lidardistill.data.keyframes import Recipe
from lidardistill.data.voxel_input import ScanInput, VoxelInput
from lidardistill.datasets.base import Source
from lidardistill.datasets.labelled import MapLabels
from lidardistill.datasets.sweeps import read_sweeps
from lidardistill.tasks.detect.config import DetectionAugmentConfig
from lidardistill.tasks.detect.detection_augment import draw_old2new, move_points


@dataclass
class MapSample:
    """One scan as voxels and the map around it, in numpy.

    Attributes:
        sample_token: the keyframe.
        row: its index row.
        points: (N, 5) float32, augmented LiDAR frame, metres; see `read_sweeps`.
        voxels: input of the backbone.
        masks: (L, H = y, W = x) bool, augmented LiDAR frame.
        substitutes: (sample token, reason) of keyframes that could not be read and that this one replaces.
    """

    sample_token: str
    row: int
    points: np.ndarray
    voxels: VoxelInput
    masks: np.ndarray
    substitutes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class MapBatch(Batch):
    """Scans and maps of a batch.

    Attributes:
        rows: B index rows.
        voxels: of all scans.
        masks: (B, L, H, W) bool.
    """

    rows: tuple[int, ...]
    voxels: VoxelBatch
    masks: Tensor


@dataclass(frozen=True)
class MapRecipe(Recipe[MapSample]):
    """Samples of keyframes with their maps. The map is a label, so pretraining must not use this recipe.

    Attributes:
        scan: turns points into the input of a backbone.
        maps: draws the masks.
        augment: random motion of scan and map together; None disables it.
        num_sweeps: number of earlier scans that are added, see `read_sweeps`.
    """

    scan: ScanInput
    maps: MapLabels
    augment: DetectionAugmentConfig | None = None
    num_sweeps: int = 0

    def sample(self, source: Source, row: int, generator: np.random.Generator) -> MapSample:
        """Read one scan and its map."""
        frame = source.frame(row)
        points = read_sweeps(source, row, self.num_sweeps, keyframe_points=frame.points)
        old2new = draw_old2new(self.augment, generator)
        points = move_points(points, old2new)
        voxels = self.scan.read(points, lidar2ego=frame.lidar2ego @ np.linalg.inv(old2new))
        masks = self.maps.read(frame.scene_name, frame.ego2global @ frame.lidar2ego, old2new)
        return MapSample(frame.sample_token, row, points, voxels, masks)

    def collate(self, samples: Sequence[MapSample]) -> MapBatch:
        """Put scans and maps together; raises ValueError for no samples, or masks of different shapes."""
        sources = sources_of(samples)
        shapes = {s.masks.shape for s in samples}
        if len(shapes) != 1:
            raise ValueError(f"masks: expected the same shape in every sample, got {sorted(shapes)}")
        return MapBatch(
            rows=tuple(s.row for s in samples),
            voxels=collate_voxels([s.voxels for s in samples]),
            masks=torch.from_numpy(np.stack([s.masks for s in samples])),
            **sources,
        )
