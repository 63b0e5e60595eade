"""A keyframe's images and sweep with the points at which they are compared: one sample, and many of them as a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lidardistill.data.batch import Batch, VoxelBatch
from lidardistill.data.collate import collate_voxels, offsets
from lidardistill.data.voxel_input import VoxelInput


@dataclass
class RegionImageSample:
    """One keyframe, cloud and images each augmented, in numpy.

    Attributes:
        sample_token: the keyframe that was asked for.
        images: (V, 3, H, W) float32 in 0..1, RGB.
        lidar2img: (V, 4, 4) float64, augmented LiDAR frame to homogeneous pixels of these images.
        voxels: of the augmented sweep, moved for the LiDAR network alone.
        xy: (P, 2) float32 where the sampled points are, metres, augmented LiDAR frame.
        lidar_xy: (P, 2) float32 where they are in the moved sweep, metres.
        region: (P,) int64 region 0..R-1 of each; meaningless where `region_mask` is False.
        region_mask: (P,) bool, False for semantic-less points.
        centre_xy: (R, 2) float32 middle of all points of each region, along x and y, metres.
        size_xy: (R, 2) float32 their extent along x and y, metres.
        substitutes: sample tokens that could not be read and that this sample stands in for, with reasons.
    """

    sample_token: str
    images: np.ndarray
    lidar2img: np.ndarray
    voxels: VoxelInput
    xy: np.ndarray
    lidar_xy: np.ndarray
    region: np.ndarray
    region_mask: np.ndarray
    centre_xy: np.ndarray
    size_xy: np.ndarray
    substitutes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class RegionImageBatch(Batch):
    """Keyframes: scan i of the voxels is what the views with `view_sample` i see.

    Attributes:
        sample_tokens: B tokens.
        voxels: B scans, each moved along x and y for the LiDAR network alone.
        images: (V, 3, H, W) float32 in 0..1 of all cameras of the batch.
        lidar2img: (V, 4, 4) float64, augmented LiDAR frame to homogeneous pixels of these images.
        view_sample: (V,) int64 keyframe of each view, 0..B-1, ascending.
        xy: (P, 2) float32 where the sampled points are, metres, augmented LiDAR frame.
        lidar_xy: (P, 2) float32 where they are in the moved scans, metres.
        batch_idx: (P,) int64 keyframe of each point, ascending.
        num_points: B numbers, sampled points of each keyframe.
        region: (P,) int64 region of each point, row in `centre_xy`; meaningless where `region_mask` is False.
        region_mask: (P,) bool, False for semantic-less points.
        centre_xy: (R, 2) float32 middle of all points of each region, metres.
        size_xy: (R, 2) float32 their extent along x and y, metres.
        substitutes: what could not be read, as (sample token, reason).
    """

    voxels: VoxelBatch
    images: Tensor
    lidar2img: Tensor
    view_sample: Tensor
    xy: Tensor
    lidar_xy: Tensor
    batch_idx: Tensor
    num_points: tuple[int, ...]
    region: Tensor
    region_mask: Tensor
    centre_xy: Tensor
    size_xy: Tensor

    def camera_inputs(self) -> dict[str, Any]:
        """What `models.camera_bev.CameraBev` reads, by the names of its arguments."""
        return {
            "images": self.images,
            "lidar2img": self.lidar2img,
            "view_sample": self.view_sample,
            "batch_size": self.batch_size,
        }


def collate_region_images(samples: Sequence[RegionImageSample]) -> RegionImageBatch:
    """Concatenate keyframes; regions are renumbered.

    Args:
        samples: at least one; no points, no sampled points, different numbers of cameras are allowed.

    Returns:
        The batch.

    Raises:
        ValueError: no samples, images of different sizes, or scans with different numbers of features.
    """
    voxels = collate_voxels([s.voxels for s in samples])
    sizes = {s.images.shape[2:] for s in samples}
    if len(sizes) != 1:
        raise ValueError(f"images: expected one size in every sample, got {sorted(sizes)}")
    num_points = [len(s.region) for s in samples]
    first_region = offsets([len(s.centre_xy) for s in samples])
    region = np.concatenate([s.region + start for s, start in zip(samples, first_region, strict=False)])
    keyframes = np.arange(len(samples))

    def together(name: str) -> Tensor:
        return torch.from_numpy(np.concatenate([getattr(s, name) for s in samples]))

    return RegionImageBatch(
        sample_tokens=tuple(s.sample_token for s in samples),
        voxels=voxels,
        images=together("images"),
        lidar2img=together("lidar2img"),
        view_sample=torch.from_numpy(np.repeat(keyframes, [len(s.images) for s in samples])),
        xy=together("xy"),
        lidar_xy=together("lidar_xy"),
        batch_idx=torch.from_numpy(np.repeat(keyframes, num_points)),
        num_points=tuple(num_points),
        region=torch.from_numpy(region),
        region_mask=together("region_mask"),
        centre_xy=together("centre_xy"),
        size_xy=together("size_xy"),
        substitutes=tuple(entry for s in samples for entry in s.substitutes),
    )
