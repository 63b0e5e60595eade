"""Keyframes with boxes on their way to a detector: one sample in numpy, and the batch that crosses to the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lidardistill.data.batch import VoxelBatch
from lidardistill.data.collate import collate_voxels, offsets


@dataclass
class DetectionSample:
    """One keyframe after augmentation, in numpy, ready to be collated.

    Attributes:
        sample_token: the keyframe.
        row: its index row.
        points: (N, 5) float32, augmented LiDAR frame: x, y, z metres, intensity as stored, seconds before the keyframe.
        voxel_coords: (M, 3) int32 z, y, x.
        voxel_features: (M, F) float32.
        spatial_shape: (3,) cells z, y, x that hold every voxel.
        point2voxel: (N,) int64 row in `voxel_coords`; meaningless where `point_mask` is False.
        point_mask: (N,) bool, False for points outside the voxel grid.
        boxes: (n, 9) float32 x, y, z of the centre, length, width, height in metres, yaw about z in radians, velocity
            x, y in metres a second (NaN where unknown); augmented LiDAR frame.
        labels: (n,) int64 place in `detection_classes.CLASSES`.
        old2new: (4, 4) float64, LiDAR frame to augmented LiDAR frame.
        lidar2global: (4, 4) float64, from the LiDAR frame before augmentation.
        images: (V, 3, H, W) float32 in 0..1, RGB; None without cameras, and so the two below.
        lidar2cam: (V, 4, 4) float64, LiDAR frame before augmentation to camera frame.
        cam2img: (V, 4, 4) float64, camera frame to homogeneous pixels of `images`.
        point_features: (N, F) float32 of each point, or None where the student does not read them.
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
    boxes: np.ndarray
    labels: np.ndarray
    old2new: np.ndarray
    lidar2global: np.ndarray
    images: np.ndarray | None = None
    lidar2cam: np.ndarray | None = None
    cam2img: np.ndarray | None = None
    point_features: np.ndarray | None = None
    substitutes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class DetectionBatch:
    """Keyframes with boxes.

    Attributes:
        sample_tokens: B tokens.
        rows: B index rows.
        voxels: B scans.
        boxes: B times (n, 9) float32, augmented LiDAR frame; see `DetectionSample`.
        labels: B times (n,) int64.
        old2new: (B, 4, 4) float64, LiDAR frame to augmented LiDAR frame; scaled and mirrored, so not rigid.
        lidar2global: (B, 4, 4) float64, from the LiDAR frame before augmentation.
        images: (V, 3, H, W) float32 in 0..1 of all cameras of the batch, or None, and so the three below.
        lidar2cam: (V, 4, 4) float64, from the LiDAR frame before augmentation; `lidar2cam @ inverse(old2new)` from the
            augmented one.
        cam2img: (V, 4, 4) float64 to pixels of `images`.
        view_offsets: (B + 1,) int64 from 0.
        substitutes: what could not be read, as (sample token, reason).
    """

    sample_tokens: tuple[str, ...]
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
    substitutes: tuple[tuple[str, str], ...] = ()

    @property
    def batch_size(self) -> int:
        return len(self.sample_tokens)

    def camera_inputs(self) -> dict[str, Any] | None:
        """What `models.camera_bev.CameraBev` reads, by the names of its arguments; None without cameras.

        `lidar2img` goes from the augmented LiDAR frame.
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

    def to(self, device: torch.device | str, non_blocking: bool = False) -> DetectionBatch:
        return self._map(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> DetectionBatch:
        """The same batch in page-locked memory; a DataLoader calls it where it is asked to pin."""
        return self._map(lambda value: value.pin_memory())

    def _map(self, move: Callable) -> DetectionBatch:
        cameras: dict[str, Any] = {
            name: None if (value := getattr(self, name)) is None else move(value)
            for name in ("images", "lidar2cam", "cam2img", "view_offsets")
        }
        return replace(
            self,
            voxels=move(self.voxels),
            boxes=tuple(map(move, self.boxes)),
            labels=tuple(map(move, self.labels)),
            old2new=move(self.old2new),
            lidar2global=move(self.lidar2global),
            **cameras,
        )


def collate_detection(samples: Sequence[DetectionSample]) -> DetectionBatch:
    """Put samples together.

    Args:
        samples: at least one; all with cameras or all without. No points and no boxes are allowed.

    Returns:
        The batch.

    Raises:
        ValueError: no samples, voxels with different numbers of features, or images in some samples only or of
            different sizes.
    """
    voxels = collate_voxels(samples)
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
    cameras: dict[str, Tensor] = {}
    if with_images:
        for name in ("images", "lidar2cam", "cam2img"):
            cameras[name] = torch.from_numpy(np.concatenate([getattr(s, name) for s in samples]))
        cameras["view_offsets"] = torch.from_numpy(
            offsets([0 if s.images is None else len(s.images) for s in samples])
        )
    return DetectionBatch(
        sample_tokens=tuple(s.sample_token for s in samples),
        rows=tuple(s.row for s in samples),
        voxels=voxels,
        boxes=tuple(torch.from_numpy(s.boxes) for s in samples),
        labels=tuple(torch.from_numpy(s.labels) for s in samples),
        old2new=torch.from_numpy(np.stack([s.old2new for s in samples])),
        lidar2global=torch.from_numpy(np.stack([s.lidar2global for s in samples])),
        substitutes=tuple(entry for s in samples for entry in s.substitutes),
        **cameras,
    )
