"""What travels from disk to the device: frames, samples and batches.

Nothing here holds a label: pretraining cannot leak what it never carries.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


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

    def to(self, device: torch.device | str, non_blocking: bool = False) -> VoxelBatch:
        return _to(self, device, non_blocking)

    def pin_memory(self) -> VoxelBatch:
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
