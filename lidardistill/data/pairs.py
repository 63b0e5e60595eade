"""One keyframe for pretraining: read, paired, augmented, voxelised. No label is ever opened.

A sample is a pure function of (seed, epoch, position in that epoch): a run that resumes needs no loader state, and the
number of workers or of processes changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from torch.utils.data import Dataset

from lidardistill.data.augment import (
    AugmentSettings,
    augment_cloud,
    drop_cuboid,
    flip_horizontal,
    resized_crop,
    select_points,
)
from lidardistill.data.image_augment import resize_image, resize_labels
from lidardistill.data.images import read_image
from lidardistill.data.substitute import read_or_substitute
from lidardistill.data.types import Frame, PairSample
from lidardistill.data.voxel_input import VoxelSettings, voxelize_scan
from lidardistill.geometry.projection import pair_points

__all__ = ["FrameIndex", "PairDataset", "SuperpixelReader", "VoxelSettings"]

SampleKey = tuple[int, int, int]
"""Epoch, position in that epoch's order, row in the data set's `rows`."""


class FrameIndex(Protocol):
    """Whatever can read a keyframe: `NuScenesIndex`, or a few frames in memory."""

    def frame(self, row: int) -> Frame: ...

    def sample_token(self, row: int) -> str: ...


class SuperpixelReader(Protocol):
    """`regions.source.SuperpixelSource`: it asks for the image only when it has to compute."""

    num_superpixels: int

    def __call__(
        self, image: np.ndarray | Callable[[], np.ndarray], key: str
    ) -> tuple[np.ndarray, np.ndarray]: ...


class PairDataset(Dataset[PairSample]):
    """Keyframes as SLidR's pretraining sees them.

    Args:
        index: reads frames by index row.
        rows: (n,) index rows of this split; a key's last entry is a place in it.
        superpixels: gives each image its superpixels.
        augment: see `AugmentSettings`; only `image_size` and `pixel_exact` count where `train` is False.
        voxels: see `VoxelSettings`.
        visibility: "none" pairs every point in the frustum (SLidR); "zbuffer" drops points behind nearer ones.
        pair_options: further keyword arguments of `geometry.pair_points`, such as `min_depth_m` or `rounding`.
        seed: of all randomness here.
        train: augment, and replace keyframes that cannot be read.
        decode_images: False leaves the images on disk, where `pooled_features` stands in for them.
        pooled_features: index row -> (V * S, C) float32 pooled teacher features and (V * S,) pixels behind each.
        feature_row: index row -> index row whose teacher features are taken instead; the control "another keyframe".
        max_substitutes: give up after so many keyframes in a row that cannot be read.

    Raises:
        ValueError: `rows` is empty, or there is nothing for the teacher to work on.

    Source: SLidR (Sautier et al., CVPR 2022), section 3 and supplementary.
    Differs from SLidR in: the cameras keep their order (SLidR shuffles them, which its loss cannot see).
    """

    def __init__(
        self,
        index: FrameIndex,
        rows: Sequence[int] | np.ndarray,
        *,
        superpixels: SuperpixelReader,
        augment: AugmentSettings,
        voxels: VoxelSettings,
        visibility: Literal["none", "zbuffer"] = "none",
        pair_options: dict[str, Any] | None = None,
        seed: int,
        train: bool,
        decode_images: bool = True,
        pooled_features: Callable[[int], tuple[np.ndarray, np.ndarray]] | None = None,
        feature_row: Callable[[int], int] | None = None,
        max_substitutes: int = 8,
    ) -> None:
        self.rows = np.asarray(rows, dtype=np.int64)
        if len(self.rows) == 0:
            raise ValueError(
                "rows: expected at least one keyframe, got none; is the split empty in this version?"
            )
        if not decode_images and pooled_features is None:
            raise ValueError(
                "decode_images is False and there are no pooled_features: the teacher has nothing to see"
            )
        if feature_row is not None and pooled_features is None:
            raise ValueError("feature_row re-directs pooled_features, and there are none")
        self.index = index
        self.superpixels = superpixels
        self.augment = augment if train else augment.for_validation()
        self.voxels = voxels
        self.visibility = visibility
        self.pair_options = dict(pair_options or {})
        self.seed = seed
        self.train = train
        self.decode_images = decode_images
        self.pooled_features = pooled_features
        self.feature_row = feature_row
        self.max_substitutes = max_substitutes if train else 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: SampleKey) -> PairSample:
        """Read and augment one keyframe.

        Args:
            key: epoch, position in the epoch's order (they seed the randomness), place in `rows`.

        Returns:
            The sample, or that of a deterministic substitute with the reason in `substitutes`.

        Raises:
            CorruptSample: the keyframe, and `max_substitutes` others, cannot be read.
        """
        return read_or_substitute(self.index, self.rows, key, self.seed, self.max_substitutes, self._sample)

    def _sample(self, row: int, generator: np.random.Generator) -> PairSample:
        frame = self.index.frame(row)
        images = [_Image(path, size) for path, size in zip(frame.image_paths, frame.image_size, strict=True)]
        # Everything that can fail on a bad file comes before the first random draw.
        labels = [self._labels(image) for image in images]
        decoded = [image() for image in images] if self.decode_images else None
        teacher_features, teacher_count = self._teacher_features(row)

        pairing = pair_points(
            frame.points,
            frame.lidar2cam,
            frame.cam2img,
            frame.image_size,
            visibility=self.visibility,
            **self.pair_options,
        )
        points, augment_matrix = augment_cloud(frame.points, self.augment, generator)
        kept = drop_cuboid(
            points, pairing.pairing_points, pairing.pairing_images, len(images), self.augment, generator
        )
        points, pairing_points, pairing_images = select_points(
            points, pairing.pairing_points, pairing.pairing_images, *kept
        )
        windows, pairing_images, inside = resized_crop(
            pairing_images, frame.image_size, self.augment, generator
        )
        sizes = self._output_sizes(frame)
        pairing_images, flipped = flip_horizontal(pairing_images, sizes[:, 1], self.augment, generator)

        voxels = voxelize_scan(points, self.voxels, lidar2ego=frame.lidar2ego @ np.linalg.inv(augment_matrix))
        inside &= voxels.point_mask[pairing_points]

        num_views, size = len(images), (int(sizes[0, 0]), int(sizes[0, 1]))
        views = None if decoded is None else np.empty((num_views, 3, *size), np.float32)
        superpixels = np.empty((num_views, *size), np.int32)
        superpixel_mask = np.empty((num_views, *size), bool)
        for view, (window, flip) in enumerate(zip(windows, flipped.tolist(), strict=True)):
            if views is not None and decoded is not None:
                resize_image(decoded[view], window, size, flipped=flip, out=views[view])
            for source, target in zip(labels[view], (superpixels, superpixel_mask), strict=True):
                target[view] = resize_labels(
                    source,
                    window,
                    size,
                    image_size=images[view].size,
                    flipped=flip,
                    pixel_exact=self.augment.pixel_exact,
                )
        return PairSample(
            sample_token=frame.sample_token,
            points=points,
            images=views,
            superpixels=superpixels,
            superpixel_mask=superpixel_mask,
            num_superpixels=self.superpixels.num_superpixels,
            pairing_points=pairing_points[inside],
            pairing_images=pairing_images[inside],
            voxel_coords=voxels.voxel_coords,
            voxel_features=voxels.voxel_features,
            spatial_shape=voxels.spatial_shape,
            point2voxel=voxels.point2voxel,
            point_mask=voxels.point_mask,
            teacher_features=teacher_features,
            teacher_count=teacher_count,
        )

    def _labels(self, image: _Image) -> tuple[np.ndarray, np.ndarray]:
        """Superpixels of one image at its own size, (H, W) int32 ids and (H, W) bool mask, checked."""
        labels, mask = self.superpixels(image, str(image.path))
        limit = self.superpixels.num_superpixels
        # An id that is too large would be counted for the next image of the batch.
        outside = mask & ((labels < 0) | (labels >= limit))
        if outside.any():
            raise ValueError(
                f"superpixels of {image.path}: expected ids in 0..{limit - 1}, got {int(labels[outside].max())}; raise "
                f"superpixels.num_superpixels or renumber the masks"
            )
        return labels, mask

    def _teacher_features(self, row: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        if self.pooled_features is None:
            return None, None
        return self.pooled_features(row if self.feature_row is None else self.feature_row(row))

    def _output_sizes(self, frame: Frame) -> np.ndarray:
        """(V, 2) int64 rows, columns that the images get, one size for all."""
        if self.augment.image_size is not None:
            return np.tile(np.array(self.augment.image_size, np.int64), (len(frame.image_paths), 1))
        sizes = np.asarray(frame.image_size, np.int64)
        if (sizes != sizes[:1]).any():
            raise ValueError(
                f"augment.image_size is null and the cameras of {frame.sample_token} have different sizes "
                f"{sizes.tolist()}: give one size to resize them to"
            )
        return sizes


class _Image:
    """One camera image, decoded at the first call and kept."""

    def __init__(self, path: Path, size: np.ndarray) -> None:
        self.path = path
        self.size = (int(size[0]), int(size[1]))
        self._pixels: np.ndarray | None = None

    def __call__(self) -> np.ndarray:
        if self._pixels is None:
            self._pixels = read_image(self.path, self.size)
        return self._pixels
