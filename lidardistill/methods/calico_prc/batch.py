"""Two views of one sweep with the points at which they are compared: one sample, and many of them as a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lidardistill.data.batch import Batch, VoxelBatch
from lidardistill.data.collate import collate_voxels, offsets
from lidardistill.data.voxel_input import VoxelInput


@dataclass
class RegionViewSample:
    """One sweep in two views, each augmented for itself, in numpy.

    Attributes:
        sample_token: the keyframe that was asked for.
        a: voxels of one view.
        b: voxels of the other.
        xy_a: (P, 2) float32 where the sampled points are in view a, metres, augmented LiDAR frame.
        xy_b: (P, 2) float32 where the same points are in view b.
        region: (P,) int64 region 0..num_regions-1 of each; meaningless where `region_mask` is False.
        region_mask: (P,) bool, False for semantic-less points.
        num_regions: regions that gave a point.
        substitutes: sample tokens that could not be read and that this sample stands in for, with reasons.
    """

    sample_token: str
    a: VoxelInput
    b: VoxelInput
    xy_a: np.ndarray
    xy_b: np.ndarray
    region: np.ndarray
    region_mask: np.ndarray
    num_regions: int
    substitutes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class RegionViewBatch(Batch):
    """Sweeps in two views: view a of sweep i is scan i of the voxels, view b of it is scan B + i.

    Attributes:
        sample_tokens: B tokens.
        voxels: 2 B scans.
        xy_a: (P, 2) float32 where the sampled points are in view a, metres, augmented LiDAR frame.
        xy_b: (P, 2) float32 where the same points are in view b.
        batch_idx: (P,) int64 sweep of each point, 0..B-1, ascending.
        num_points: B numbers, sampled points of each sweep.
        region: (P,) int64 region of each point, unique over the batch; meaningless where `region_mask` is False.
        region_mask: (P,) bool, False for semantic-less points.
        num_regions: regions of all sweeps that gave a point.
        substitutes: what could not be read, as (sample token, reason).
    """

    voxels: VoxelBatch
    xy_a: Tensor
    xy_b: Tensor
    batch_idx: Tensor
    num_points: tuple[int, ...]
    region: Tensor
    region_mask: Tensor
    num_regions: int


def collate_region_views(samples: Sequence[RegionViewSample]) -> RegionViewBatch:
    """Concatenate sweeps in two views: first all views a, then all views b; regions are renumbered.

    Args:
        samples: at least one; no points, no sampled points are allowed.

    Returns:
        The batch.

    Raises:
        ValueError: no samples, or views with different numbers of features.
    """
    voxels = collate_voxels([s.a for s in samples] + [s.b for s in samples])
    num_points = [len(s.region) for s in samples]
    first_region = offsets([s.num_regions for s in samples])
    region = np.concatenate([s.region + start for s, start in zip(samples, first_region, strict=False)])
    return RegionViewBatch(
        sample_tokens=tuple(s.sample_token for s in samples),
        voxels=voxels,
        xy_a=torch.from_numpy(np.concatenate([s.xy_a for s in samples])),
        xy_b=torch.from_numpy(np.concatenate([s.xy_b for s in samples])),
        batch_idx=torch.from_numpy(np.repeat(np.arange(len(samples)), num_points)),
        num_points=tuple(num_points),
        region=torch.from_numpy(region),
        region_mask=torch.from_numpy(np.concatenate([s.region_mask for s in samples])),
        num_regions=int(first_region[-1]),
        substitutes=tuple(entry for s in samples for entry in s.substitutes),
    )
