"""Keyframes with boxes: one sample in numpy, and the batch on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lidardistill.data.batch import Batch, VoxelBatch
from lidardistill.data.collate import collate_voxels, offsets, sources_of
from lidardistill.data.voxel_input import VoxelInput


@dataclass
class DetectionSample:
    """One keyframe after augmentation, in numpy, ready to be collated.

    Attributes:
        sample_token: the keyframe.
        row: its index row.
        points: (N, 5) float32, augmented LiDAR frame: x, y, z metres, intensity as stored, seconds before the
            keyframe.
        voxels: input of the backbone.
        boxes: (n, 9) float32 x, y, z of the centre, length, width, height in metres, yaw about z in radians,
            velocity x, y in metres a second (NaN where unknown); augmented LiDAR frame.
        labels: (n,) int64 place in the classes of `BoxLabels`.
        old2new: (4, 4) float64, LiDAR frame to augmented LiDAR frame.
        lidar2global: (4, 4) float64, from the LiDAR frame before augmentation.
        images: (V, 3, H, W) float32 in 0..1, RGB; None without cameras, like lidar2cam and cam2img.
        lidar2cam: (V, 4, 4) float64, LiDAR frame before augmentation to camera frame.
        cam2img: (V, 4, 4) float64, camera frame to homogeneous pixels of `images`.
        substitutes: (sample token, reason) of keyframes that could not be read and that this one replaces.
    """

    sample_token: str
    row: int
    points: np.ndarray
    voxels: VoxelInput
    boxes: np.ndarray
    labels: np.ndarray
    old2new: np.ndarray
    lidar2global: np.ndarray
    images: np.ndarray | None = None
    lidar2cam: np.ndarray | None = None
    cam2img: np.ndarray | None = None
    substitutes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class DetectionBatch(Batch):
    """Keyframes with boxes.

    Attributes:
        rows: B index rows.
        voxels: B scans.
        boxes: B times (n, 9) float32, augmented LiDAR frame; see `DetectionSample`.
        labels: B times (n,) int64.
        old2new: (B, 4, 4) float64, LiDAR frame to augmented LiDAR frame; scaled and mirrored, so not rigid.
        lidar2global: (B, 4, 4) float64, from the LiDAR frame before augmentation.
        images: (V, 3, H, W) float32 in 0..1 of all cameras of the batch; None without cameras, like
            lidar2cam, cam2img and view_offsets.
        lidar2cam: (V, 4, 4) float64, from the LiDAR frame before augmentation; for the augmented frame use
            `lidar2cam @ inverse(old2new)`.
        cam2img: (V, 4, 4) float64 to pixels of `images`.
        view_offsets: (B + 1,) int64 from 0.
    """

    rows: tuple[int, ...]
    voxels: VoxelBatch
    boxes: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    old2new: Tensor
    lidar2global: Tensor
    images: Tensor | None = None
    lidar2cam: Tensor | None = None
    cam2img: Tensor | None = None
    view_offsets: Tensor | None = None

    def camera_inputs(self) -> dict[str, Any] | None:
        """Arguments of `models.camera_bev.CameraBev` by name; None without cameras.

        `lidar2img` maps from the augmented LiDAR frame to the image.
        """
        if self.images is None:
            return None
        assert self.lidar2cam is not None
        assert self.cam2img is not None
        assert self.view_offsets is not None
        view_sample = torch.repeat_interleave(self.view_offsets.diff())
        new2old = torch.linalg.inv(self.old2new).index_select(0, view_sample)
        return {
            "images": self.images,
            "lidar2img": self.cam2img @ self.lidar2cam @ new2old,
            "view_sample": view_sample,
            "batch_size": self.batch_size,
        }


def collate_detection(samples: Sequence[DetectionSample]) -> DetectionBatch:
    """Collate samples into a batch.

    Args:
        samples: at least one; all with cameras or all without. Samples without points or boxes are allowed.

    Returns:
        The batch.

    Raises:
        ValueError: no samples, voxels with different numbers of features, or images in some samples only or
            of different sizes.
    """
    sources = sources_of(samples)
    voxels = collate_voxels([s.voxels for s in samples])
    with_images = [s for s in samples if s.images is not None]
    if with_images and len(with_images) != len(samples):
        raise ValueError(
            f"images: {len(with_images)} of {len(samples)} samples have them; expected all or none"
        )
    sizes = {s.images.shape[1:] for s in with_images if s.images is not None}
    if len(sizes) > 1:
        raise ValueError(
            f"images: expected one size in the whole batch, got {sorted(sizes)}; give cameras an image_size"
        )
    cameras: dict[str, Any] = {}
    if with_images:
        for name in ("images", "lidar2cam", "cam2img"):
            cameras[name] = torch.from_numpy(np.concatenate([getattr(s, name) for s in samples]))
        cameras["view_offsets"] = torch.from_numpy(
            offsets([0 if s.images is None else len(s.images) for s in samples])
        )
    return DetectionBatch(
        rows=tuple(s.row for s in samples),
        voxels=voxels,
        boxes=tuple(torch.from_numpy(s.boxes) for s in samples),
        labels=tuple(torch.from_numpy(s.labels) for s in samples),
        old2new=torch.from_numpy(np.stack([s.old2new for s in samples])),
        lidar2global=torch.from_numpy(np.stack([s.lidar2global for s in samples])),
        **sources,
        **cameras,
    )
