"""Scans, with labels where they are asked for: the input of probing, fine-tuning and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lidardistill.data.augment import augment_cloud
from lidardistill.data.batch import VoxelBatch
from lidardistill.data.collate import collate_voxels, offsets
from lidardistill.data.config import AugmentConfig
from lidardistill.data.frame import CorruptSample
from lidardistill.data.keyframes import SampleKey
from lidardistill.data.substitute import keyframe_rows, read_or_substitute
from lidardistill.data.voxel_input import ScanInput
from lidardistill.datasets.base import FrameIndex
from lidardistill.datasets.nuscenes.lidarseg_classes import CLASS_TO_TARGET, RAW_TO_CLASS


@dataclass
class ScanSample:
    """One scan as voxels, in numpy.

    Attributes:
        sample_token: the keyframe.
        row: its index row.
        points: (N, 4) float32, augmented LiDAR frame, metres; intensity as stored; in the order of the file.
        voxel_coords: (M, 3) int32 z, y, x (z, phi, rho when cylindrical).
        voxel_features: (M, F) float32.
        spatial_shape: (3,) cells z, y, x that hold every voxel.
        point2voxel: (N,) int64 row in `voxel_coords`; meaningless where `point_mask` is False.
        point_mask: (N,) bool, False for points outside the voxel grid.
        point_features: (N, F) float32 of each point, or None where the student does not read them.
        target: (N,) int64 0..15 or 255 (ignore) for every raw point, or None where no labels were asked for.
        substitutes: (sample token, reason) of keyframes that could not be read and that this one stands in for.
    """

    sample_token: str
    row: int
    points: np.ndarray
    voxel_coords: np.ndarray
    voxel_features: np.ndarray
    spatial_shape: tuple[int, int, int]
    point2voxel: np.ndarray
    point_mask: np.ndarray
    point_features: np.ndarray | None = None
    target: np.ndarray | None = None
    substitutes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class ScanBatch:
    """Ragged concatenation of scans.

    Attributes:
        sample_tokens: B tokens.
        rows: B index rows.
        points: (N, 4) float32 of all scans.
        point_offsets: (B + 1,) int64 from 0.
        voxels: the same points as voxels.
        target: (N,) int64 0..15 or 255, or None.
        substitutes: what could not be read, as (sample token, reason).
    """

    sample_tokens: tuple[str, ...]
    rows: tuple[int, ...]
    points: Tensor
    point_offsets: Tensor
    voxels: VoxelBatch
    target: Tensor | None
    substitutes: tuple[tuple[str, str], ...] = ()

    @property
    def batch_size(self) -> int:
        return len(self.sample_tokens)

    def labels(self) -> Tensor:
        """`target` of a batch that was read with labels."""
        assert self.target is not None, "these scans were read without labels"
        return self.target

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ScanBatch:
        return self._map(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> ScanBatch:
        return self._map(lambda value: value.pin_memory())

    def _map(self, move: Callable) -> ScanBatch:
        return replace(
            self,
            points=move(self.points),
            point_offsets=move(self.point_offsets),
            voxels=move(self.voxels),
            target=None if self.target is None else move(self.target),
        )


class ScanDataset(Dataset[ScanSample]):
    """Keyframes for the downstream tasks.

    Args:
        index: reads frames by index row.
        rows: (n,) index rows; a key's last entry is a place in it.
        voxels: see `ScanInput`.
        seed: of all randomness here.
        train: augment, and replace keyframes that cannot be read. In evaluation the error comes through: a figure
            over other keyframes than those named would be wrong.
        augment: only rotation and flips of the cloud are used; None turns them off.
        read_labels: index row -> (N,) uint8 raw lidarseg labels, or None for scans without labels. For worker
            processes it must be picklable: `functools.partial(read_lidarseg, index)`.
        max_substitutes: give up after so many keyframes in a row that cannot be read.

    Raises:
        ValueError: `rows` is empty.
    """

    def __init__(
        self,
        index: FrameIndex,
        rows: Sequence[int] | np.ndarray,
        voxels: ScanInput,
        *,
        seed: int,
        train: bool,
        augment: AugmentConfig | None = None,
        read_labels: Callable[[int], np.ndarray] | None = None,
        max_substitutes: int = 8,
    ) -> None:
        self.rows = keyframe_rows(rows)
        self.index = index
        self.voxels = voxels
        self.seed = seed
        self.train = train
        self.augment = (
            (augment or AugmentConfig().still()) if train else AugmentConfig().still()
        )
        self.read_labels = read_labels
        self.max_substitutes = max_substitutes if train else 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: SampleKey) -> ScanSample:
        """Read one scan.

        Args:
            key: epoch, position in the epoch's order (they seed the randomness), place in `rows`.

        Raises:
            CorruptSample: it cannot be used, or has another number of labels than points.
        """
        return read_or_substitute(self.index, self.rows, key, self.seed, self.max_substitutes, self._sample)

    def _sample(self, row: int, generator: np.random.Generator) -> ScanSample:
        frame = self.index.frame(row)
        target = None
        if self.read_labels is not None:
            raw = self.read_labels(row)
            if len(raw) != len(frame.points):
                raise CorruptSample(
                    f"labels of {frame.sample_token}: expected one for each of the {len(frame.points)} points of "
                    f"{frame.lidar_path}, got {len(raw)}; label file and scan are of different versions"
                )
            target = CLASS_TO_TARGET[RAW_TO_CLASS[raw]].astype(np.int64)
        points, augment_matrix = augment_cloud(frame.points, self.augment, generator)
        voxels = self.voxels.read(points, lidar2ego=frame.lidar2ego @ np.linalg.inv(augment_matrix))
        return ScanSample(frame.sample_token, row, points, **voxels._asdict(), target=target)


def collate_scans(samples: Sequence[ScanSample]) -> ScanBatch:
    """Concatenate scans.

    Args:
        samples: at least one; all with labels or all without.

    Returns:
        The batch.

    Raises:
        ValueError: no samples, or labels in some of them only.
    """
    voxels = collate_voxels(samples)
    targets = [s.target for s in samples if s.target is not None]
    if targets and len(targets) != len(samples):
        raise ValueError(
            f"target: {len(targets)} of {len(samples)} samples have labels; expected all or none"
        )
    return ScanBatch(
        sample_tokens=tuple(s.sample_token for s in samples),
        rows=tuple(s.row for s in samples),
        points=torch.from_numpy(np.concatenate([s.points for s in samples])),
        point_offsets=torch.from_numpy(offsets([len(s.points) for s in samples])),
        voxels=voxels,
        target=torch.from_numpy(np.concatenate(targets)) if targets else None,
        substitutes=tuple(entry for s in samples for entry in s.substitutes),
    )
