"""Collate samples to batches by ragged concatenation. The batch size is the number of samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lidardistill.data.batch import VoxelBatch
from lidardistill.data.voxel_input import VoxelInput


def collate_voxels(samples: Sequence[VoxelInput]) -> VoxelBatch:
    """Concatenate the voxels of scans.

    Args:
        samples: at least one; a scan without points is allowed.

    Returns:
        The batch; `spatial_shape` is the largest on each axis.

    Raises:
        ValueError: no samples, or samples with different numbers of features.
    """
    check_some(samples)
    features = concatenate([s.voxel_features for s in samples], "voxel_features")
    voxel_offsets = offsets([len(s.voxel_coords) for s in samples])
    coords = np.empty((int(voxel_offsets[-1]), 4), np.int32)
    for batch_idx, (sample, start) in enumerate(zip(samples, voxel_offsets, strict=False)):
        block = coords[start : start + len(sample.voxel_coords)]
        block[:, 0] = batch_idx
        block[:, 1:] = sample.voxel_coords
    point2voxel = np.concatenate(
        [s.point2voxel + start for s, start in zip(samples, voxel_offsets, strict=False)]
    )
    point_mask = np.concatenate([s.point_mask for s in samples])
    shapes = np.array([s.spatial_shape for s in samples])
    z, y, x = (int(cells) for cells in shapes.max(axis=0))
    return VoxelBatch(
        features=features,
        voxel_coords=torch.from_numpy(coords),
        spatial_shape=(z, y, x),
        point2voxel=torch.from_numpy(point2voxel.astype(np.int64, copy=False)),
        point_mask=torch.from_numpy(point_mask),
        batch_size=len(samples),
        point_features=optional([s.point_features for s in samples], "point_features"),
    )


def sources_of(samples: Sequence[Any]) -> dict[str, Any]:
    """Return the fields of `data.batch.Batch` by name, from samples with `sample_token` and `substitutes`.

    Raises:
        ValueError: no samples.
    """
    check_some(samples)
    return {
        "sample_tokens": tuple(s.sample_token for s in samples),
        "substitutes": tuple(entry for s in samples for entry in s.substitutes),
    }


def offsets(lengths: Sequence[int]) -> np.ndarray:
    """Return (B + 1,) int64: the first row of each of B pieces, and the total."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def concatenate(arrays: Sequence[np.ndarray], name: str) -> Tensor:
    """Concatenate arrays to one tensor; raise ValueError, with the name, if their row shapes differ."""
    if len({array.shape[1:] for array in arrays}) != 1:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(
            f"{name}: expected the same shape behind the first axis in every sample, got {shapes}"
        )
    return torch.from_numpy(np.concatenate(arrays))


def optional(arrays: Sequence[np.ndarray | None], name: str) -> Tensor | None:
    """Return `concatenate(...)`, or None if all arrays are None; raise ValueError if only some are."""
    present = [array for array in arrays if array is not None]
    if not present:
        return None
    if len(present) != len(arrays):
        raise ValueError(f"{name}: {len(present)} of {len(arrays)} samples have them; expected all or none")
    return concatenate(present, name)


def check_some(samples: Sequence[object]) -> None:
    """Raise ValueError if there are no samples."""
    if not samples:
        raise ValueError("expected at least one sample to collate, got none")
