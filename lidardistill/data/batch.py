"""Batches of tensors from the loader to the device. These batches contain no labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

Self = TypeVar("Self", bound="Tensors")


class Tensors:
    """A frozen dataclass with tensor fields; `to` and `pin_memory` move all of them at once.

    A field may be a tensor, another `Tensors`, or a tuple of either; all other values stay unchanged.
    """

    def to(self: Self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Return the same values on another device."""
        return _moved(self, lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self: Self) -> Self:
        """Return the same values in page-locked memory; a DataLoader with pin_memory calls this method."""
        return _moved(self, lambda tensor: tensor.pin_memory())


def _moved(value: Any, move: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return move(value)
    if isinstance(value, tuple):
        return tuple(_moved(part, move) for part in value)
    if isinstance(value, Tensors):
        parts = {f.name: getattr(value, f.name) for f in fields(value)}  # type: ignore[arg-type]
        return replace(value, **{name: _moved(part, move) for name, part in parts.items()})  # type: ignore[type-var]
    return value


@dataclass(frozen=True)
class VoxelBatch(Tensors):
    """Sparse voxels of a batch; the only input of a LiDAR backbone.

    Attributes:
        features: (M, F) float32.
        voxel_coords: (M, 4) int32 batch, z, y, x.
        spatial_shape: (3,) cells z, y, x, the largest of the batch.
        point2voxel: (N,) int64 row in `features` for each point of the batch.
        point_mask: (N,) bool, False where `point2voxel` is meaningless.
        batch_size: number of scans, including those without voxels.
        point_features: (N, F) float32 of each point, or None if the backbone does not read them.
    """

    features: Tensor
    voxel_coords: Tensor
    spatial_shape: tuple[int, int, int]
    point2voxel: Tensor
    point_mask: Tensor
    batch_size: int
    point_features: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Batch(Tensors):
    """Base of every batch: the engine reads these fields and no others.

    A subclass is a dataclass with `frozen=True, kw_only=True`; `sources_of` fills both fields from the
    samples.

    Attributes:
        sample_tokens: B names of the keyframes.
        substitutes: (sample token, reason) of each unreadable keyframe that another one replaced.
    """

    sample_tokens: tuple[str, ...]
    substitutes: tuple[tuple[str, str], ...] = ()

    @property
    def batch_size(self) -> int:
        """Number of keyframes, or of pairs of scans."""
        return len(self.sample_tokens)
