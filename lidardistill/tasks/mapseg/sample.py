"""Scans with the map around them: the input of map segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lidardistill.data.batch import VoxelBatch
from lidardistill.data.collate import collate_voxels
from lidardistill.data.keyframes import SampleKey
from lidardistill.data.substitute import keyframe_rows, read_or_substitute
from lidardistill.data.voxel_input import ScanInput
from lidardistill.datasets.base import DetectionIndex
from lidardistill.datasets.nuscenes.map_masks import MapMasks
from lidardistill.datasets.sweeps import CLOSE_M, read_sweeps
from lidardistill.tasks.detect.detection_augment import DetectionAugment, draw_old2new, move_points


@dataclass
class MapSample:
    """One scan as voxels and the map around it, in numpy.

    Attributes:
        sample_token: the keyframe.
        row: its index row.
        points: (N, 5) float32, augmented LiDAR frame, metres; see `read_sweeps`.
        masks: (L, H = y, W = x) bool, augmented LiDAR frame.
        voxel_coords: (M, 3) int32 z, y, x.
        voxel_features: (M, F) float32.
        spatial_shape: (3,) cells z, y, x that hold every voxel.
        point2voxel: (N,) int64 row in `voxel_coords`; meaningless where `point_mask` is False.
        point_mask: (N,) bool, False for points outside the voxel grid.
        point_features: (N, F) float32 of each point, or None where the student does not read them.
        substitutes: (sample token, reason) of keyframes that could not be read and that this one stands in for.
    """

    sample_token: str
    row: int
    points: np.ndarray
    masks: np.ndarray
    voxel_coords: np.ndarray
    voxel_features: np.ndarray
    spatial_shape: tuple[int, int, int]
    point2voxel: np.ndarray
    point_mask: np.ndarray
    point_features: np.ndarray | None = None
    substitutes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class MapBatch:
    """Scans and maps of a batch.

    Attributes:
        sample_tokens: B tokens.
        rows: B index rows.
        voxels: of all scans.
        masks: (B, L, H, W) bool.
        substitutes: what could not be read, as (sample token, reason).
    """

    sample_tokens: tuple[str, ...]
    rows: tuple[int, ...]
    voxels: VoxelBatch
    masks: Tensor
    substitutes: tuple[tuple[str, str], ...] = ()

    @property
    def batch_size(self) -> int:
        return len(self.sample_tokens)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> MapBatch:
        return replace(
            self,
            voxels=self.voxels.to(device, non_blocking),
            masks=self.masks.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> MapBatch:
        """The same batch in page-locked memory; a DataLoader calls it where it is asked to pin."""
        return replace(self, voxels=self.voxels.pin_memory(), masks=self.masks.pin_memory())


class MapScanDataset(Dataset[MapSample]):
    """Keyframes with their maps. The map is the label, so pretraining has no use for this.

    Args:
        index: reads frames and scans by index row.
        rows: (n,) index rows; a key's last entry is a place in it.
        voxels: see `ScanInput`.
        maps: draws the masks.
        seed: of all randomness here.
        train: augment, and replace keyframes that cannot be read. In evaluation the error comes through.
        augment: how scan and map are moved in training; None for CenterPoint's way.
        num_sweeps: scans before the keyframe's own, see `read_sweeps`.
        close_m: what counts as the ego car, see `read_sweeps`.
        max_substitutes: give up after so many keyframes in a row that cannot be read.

    Raises:
        ValueError: `rows` is empty.
    """

    def __init__(
        self,
        index: DetectionIndex,
        rows: Sequence[int] | np.ndarray,
        voxels: ScanInput,
        maps: MapMasks,
        *,
        seed: int,
        train: bool,
        augment: DetectionAugment | None = None,
        num_sweeps: int = 0,
        close_m: float = CLOSE_M,
        max_substitutes: int = 8,
    ) -> None:
        self.rows = keyframe_rows(rows)
        self.index = index
        self.voxels = voxels
        self.maps = maps
        self.seed = seed
        augment = augment or DetectionAugment()
        self.augment = augment if train else augment.for_validation()
        self.num_sweeps = num_sweeps
        self.close_m = close_m
        self.max_substitutes = max_substitutes if train else 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: SampleKey) -> MapSample:
        """Read one scan and its map.

        Args:
            key: epoch, position in the epoch's order (they seed the randomness), place in `rows`.

        Raises:
            CorruptSample: it cannot be used.
        """
        return read_or_substitute(self.index, self.rows, key, self.seed, self.max_substitutes, self._sample)

    def _sample(self, row: int, generator: np.random.Generator) -> MapSample:
        frame = self.index.frame(row)
        points = read_sweeps(
            self.index, row, self.num_sweeps, close_m=self.close_m, keyframe_points=frame.points
        )
        old2new = draw_old2new(self.augment, generator)
        points = move_points(points, old2new)
        voxels = self.voxels.read(points, lidar2ego=frame.lidar2ego @ np.linalg.inv(old2new))
        masks = self.maps.read(frame.scene_name, frame.ego2global @ frame.lidar2ego, old2new)
        return MapSample(frame.sample_token, row, points, masks, **voxels._asdict())


def collate_maps(samples: Sequence[MapSample]) -> MapBatch:
    """Put scans and maps together.

    Args:
        samples: at least one; a scan without points is allowed.

    Raises:
        ValueError: no samples, or masks of different shapes.
    """
    voxels = collate_voxels(samples)
    shapes = {s.masks.shape for s in samples}
    if len(shapes) != 1:
        raise ValueError(f"masks: expected the same shape in every sample, got {sorted(shapes)}")
    return MapBatch(
        sample_tokens=tuple(s.sample_token for s in samples),
        rows=tuple(s.row for s in samples),
        voxels=voxels,
        masks=torch.from_numpy(np.stack([s.masks for s in samples])),
        substitutes=tuple(entry for s in samples for entry in s.substitutes),
    )
