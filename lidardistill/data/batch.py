"""What travels from disk to the device: frames, samples and batches.

Nothing here holds a label: pretraining cannot leak what it never carries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lidardistill.data.frame import CorruptSample, Frame

__all__ = [
    "CorruptSample",
    "Frame",
    "PairBatch",
    "PairSample",
    "PlacedScan",
    "ScanPairBatch",
    "ScanPairSample",
    "VoxelBatch",
]


@dataclass
class PairSample:
    """One keyframe after augmentation, in numpy, ready to be collated.

    Attributes:
        sample_token: the keyframe that was asked for.
        points: (N, 4) float32, augmented LiDAR frame, metres; intensity as stored.
        images: (V, 3, H, W) float32 in 0..1, RGB; None where the teacher's features are precomputed.
        superpixels: (V, H, W) int32 id inside the view.
        superpixel_mask: (V, H, W) bool, False where the pixel belongs to no superpixel.
        num_superpixels: rows reserved for each view; every valid id is below it.
        pairing_points: (P,) int64 row in `points`.
        pairing_images: (P, 3) int64 view, row, col.
        voxel_coords: (M, 3) int32 z, y, x (z, phi, rho when cylindrical).
        voxel_features: (M, F) float32.
        spatial_shape: (3,) cells z, y, x that hold every voxel.
        point2voxel: (N,) int64 row in `voxel_coords`; meaningless where `point_mask` is False.
        point_mask: (N,) bool, False for points outside the voxel grid.
        teacher_features: (V * num_superpixels, C) float32 precomputed pooled teacher features, or None.
        teacher_count: (V * num_superpixels,) float32 pixels behind each row of them, or None.
        point_features: (N, F) float32 of each point, or None where the student does not read them.
        substitutes: sample tokens that could not be read and that this sample stands in for, with reasons.
    """

    sample_token: str
    points: np.ndarray
    images: np.ndarray | None
    superpixels: np.ndarray
    superpixel_mask: np.ndarray
    num_superpixels: int
    pairing_points: np.ndarray
    pairing_images: np.ndarray
    voxel_coords: np.ndarray
    voxel_features: np.ndarray
    spatial_shape: tuple[int, int, int]
    point2voxel: np.ndarray
    point_mask: np.ndarray
    teacher_features: np.ndarray | None = None
    teacher_count: np.ndarray | None = None
    point_features: np.ndarray | None = None
    substitutes: Sequence[tuple[str, str]] = ()


@dataclass
class PlacedScan:
    """One scan as augmented voxels that know where they are, in numpy.

    Attributes:
        points: (N, 4) float32, augmented LiDAR frame, metres; intensity as stored.
        scan2global: (4, 4) float64, from the augmented LiDAR frame.
        voxel_xy: (M, 2) float32 centre of each voxel, augmented LiDAR frame, metres.
        voxel_coords: (M, 3) int32 z, y, x.
        voxel_features: (M, F) float32.
        spatial_shape: (3,) cells z, y, x that hold every voxel.
        point2voxel: (N,) int64 row in `voxel_coords`; meaningless where `point_mask` is False.
        point_mask: (N,) bool, False for points outside the voxel grid.
        point_features: (N, F) float32 of each point, or None where the student does not read them.
    """

    points: np.ndarray
    scan2global: np.ndarray
    voxel_xy: np.ndarray
    voxel_coords: np.ndarray
    voxel_features: np.ndarray
    spatial_shape: tuple[int, int, int]
    point2voxel: np.ndarray
    point_mask: np.ndarray
    point_features: np.ndarray | None = None


@dataclass
class ScanPairSample:
    """Two scans of one scene, each augmented for itself, ready to be collated.

    Attributes:
        sample_token: the keyframe of scan a, which was asked for.
        a: the earlier scan.
        b: the later scan.
        b2a: (3, 3) float64, where a point of b lies in a, seen from above: homogeneous x, y, 1, metres.
        substitutes: sample tokens of pairs that could not be read and that this one stands in for, with reasons.
    """

    sample_token: str
    a: PlacedScan
    b: PlacedScan
    b2a: np.ndarray
    substitutes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class VoxelBatch:
    """Sparse voxels of a batch; the only input of the student.

    Attributes:
        features: (M, F) float32.
        voxel_coords: (M, 4) int32 batch, z, y, x.
        spatial_shape: (3,) cells z, y, x, the largest of the batch.
        point2voxel: (N,) int64 row in `features` for each point of the batch.
        point_mask: (N,) bool, False where `point2voxel` is meaningless.
        batch_size: number of scans, counting those without voxels.
        point_features: (N, F) float32 of each point, or None where the student does not read them.
    """

    features: Tensor
    voxel_coords: Tensor
    spatial_shape: tuple[int, int, int]
    point2voxel: Tensor
    point_mask: Tensor
    batch_size: int
    point_features: Tensor | None = None

    def bev_inputs(self) -> dict[str, Any]:
        """What `models.lidar_bev.LidarBev` reads, by the names of its arguments."""
        return {
            "features": self.features,
            "voxel_coords": self.voxel_coords,
            "batch_size": self.batch_size,
            "point_features": self.point_features,
            "point2voxel": self.point2voxel,
            "point_mask": self.point_mask,
        }

    def to(self, device: torch.device | str, non_blocking: bool = False) -> VoxelBatch:
        return _to(self, device, non_blocking)

    def pin_memory(self) -> VoxelBatch:
        """The same batch in page-locked memory; a DataLoader calls it where it is asked to pin."""
        return _pin(self)


@dataclass(frozen=True)
class PairBatch:
    """Ragged concatenation of samples: the only thing that crosses to the device.

    Attributes:
        sample_tokens: B tokens.
        points: (N, 4) float32 of all scans.
        point_offsets: (B + 1,) int64 from 0.
        voxels: the same points as voxels.
        images: (V, 3, H, W) float32 in 0..1 of all cameras of the batch, or None.
        view_offsets: (B + 1,) int64 from 0.
        superpixels: (V, H, W) int32 id inside the view.
        superpixel_mask: (V, H, W) bool.
        num_superpixels: rows reserved for each view.
        pairing_points: (P,) int64 row in `points`; every one of them has a voxel.
        pairing_images: (P, 3) int64 view in 0..V-1, row, col.
        teacher_features: (V * num_superpixels, C) float32 or None.
        teacher_count: (V * num_superpixels,) float32 or None.
        substitutes: what could not be read, as (sample token, reason).
    """

    sample_tokens: tuple[str, ...]
    points: Tensor
    point_offsets: Tensor
    voxels: VoxelBatch
    images: Tensor | None
    view_offsets: Tensor
    superpixels: Tensor
    superpixel_mask: Tensor
    num_superpixels: int
    pairing_points: Tensor
    pairing_images: Tensor
    teacher_features: Tensor | None
    teacher_count: Tensor | None
    substitutes: tuple[tuple[str, str], ...] = ()

    @property
    def batch_size(self) -> int:
        return len(self.sample_tokens)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PairBatch:
        return _to(self, device, non_blocking)

    def pin_memory(self) -> PairBatch:
        """The same batch in page-locked memory; a DataLoader calls it where it is asked to pin."""
        return _pin(self)


@dataclass(frozen=True)
class ScanPairBatch:
    """Pairs of scans: scan a of pair i is scan i of the voxels, scan b of it is scan B + i.

    Attributes:
        sample_tokens: B tokens, of the scans a.
        voxels: 2 B scans.
        voxel_xy: (M, 2) float32 centre of each voxel, in the augmented LiDAR frame of its own scan, metres.
        b2a: (B, 3, 3) float64, where a point of b lies in a, seen from above: homogeneous x, y, 1, metres.
        substitutes: what could not be read, as (sample token, reason).
    """

    sample_tokens: tuple[str, ...]
    voxels: VoxelBatch
    voxel_xy: Tensor
    b2a: Tensor
    substitutes: tuple[tuple[str, str], ...] = ()

    @property
    def batch_size(self) -> int:
        """Pairs."""
        return len(self.sample_tokens)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ScanPairBatch:
        return _to(self, device, non_blocking)

    def pin_memory(self) -> ScanPairBatch:
        """The same batch in page-locked memory; a DataLoader calls it where it is asked to pin."""
        return _pin(self)


def _to(batch, device, non_blocking):  # type: ignore[no-untyped-def]
    return map_tensors(batch, lambda value: value.to(device, non_blocking=non_blocking))


def _pin(batch):  # type: ignore[no-untyped-def]
    return map_tensors(batch, lambda value: value.pin_memory())


def map_tensors(batch, move):  # type: ignore[no-untyped-def]
    """The same batch with every tensor of it, and the voxels in it, moved."""
    moved = {
        f.name: move(value)
        for f in fields(batch)
        if isinstance(value := getattr(batch, f.name), (Tensor, VoxelBatch))
    }
    return replace(batch, **moved)
