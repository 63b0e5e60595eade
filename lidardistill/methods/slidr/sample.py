"""One keyframe for pretraining: read, paired, augmented, voxelised. No label is ever opened.

A sample is a pure function of (seed, epoch, position in that epoch): a run that resumes needs no loader state, and the
number of workers or of processes changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lidardistill.data.augment import (
    AugmentSettings,
    CropWindow,
    augment_cloud,
    drop_cuboid,
    flip_horizontal,
    resized_crop,
    select_points,
)
from lidardistill.data.batch import Batch, VoxelBatch
from lidardistill.data.collate import check_some, collate_voxels, concatenate, offsets, optional
from lidardistill.data.frame import Frame
from lidardistill.data.image_augment import label_places, resize_image, resize_labels
from lidardistill.data.images import image_key
from lidardistill.data.keyframes import SampleKey
from lidardistill.data.substitute import keyframe_rows, read_or_substitute
from lidardistill.data.view_image import WHOLE_IMAGES, ImageReading, ViewImage
from lidardistill.data.voxel_input import ScanInput
from lidardistill.datasets.base import FrameIndex
from lidardistill.geometry.projection import pair_points


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


@dataclass(frozen=True, kw_only=True)
class PairBatch(Batch):
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


__all__ = ["FrameIndex", "PairDataset", "ScanInput", "SuperpixelReader", "image_key"]


class SuperpixelReader(Protocol):
    """Every id is below `max_id_bound`; a callable image may stay undecoded.

    `regions.source.SuperpixelSource` also has a method `at`, which makes no more of a map than its crop; a reader
    without one gives whole maps.
    """

    max_id_bound: int

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
        voxels: see `ScanInput`.
        visibility: "none" pairs every point in the frustum (SLidR); "zbuffer" drops points behind nearer ones.
        pair_options: further keyword arguments of `geometry.pair_points`, such as `min_depth_m` or `rounding`.
        seed: of all randomness here.
        train: augment, and replace keyframes that cannot be read.
        reading: at which resolution images are read, see `ImageReading`.
        decode_images: False leaves the images on disk, where `pooled_features` stands in for them.
        pooled_features: index row -> (V * S, C) float32 pooled teacher features and (V * S,) pixels behind each.
        feature_row: index row -> index row whose teacher features are taken instead; the control "another keyframe".
        max_substitutes: give up after so many keyframes in a row that cannot be read.

    Raises:
        ValueError: `rows` is empty, or there is nothing for the teacher to work on.

    Source: SLidR (Sautier et al., CVPR 2022), section 3, and its public code.
    Differs from SLidR in: the cameras keep their order (SLidR shuffles them, which its loss cannot see).
    """

    def __init__(
        self,
        index: FrameIndex,
        rows: Sequence[int] | np.ndarray,
        *,
        superpixels: SuperpixelReader,
        augment: AugmentSettings,
        voxels: ScanInput,
        visibility: Literal["none", "zbuffer"] = "none",
        pair_options: dict[str, Any] | None = None,
        seed: int,
        train: bool,
        reading: ImageReading = WHOLE_IMAGES,
        decode_images: bool = True,
        pooled_features: Callable[[int], tuple[np.ndarray, np.ndarray]] | None = None,
        feature_row: Callable[[int], int] | None = None,
        max_substitutes: int = 8,
    ) -> None:
        self.rows = keyframe_rows(rows)
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
        self.reading = reading
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

    def warm_up(self) -> None:
        """Compile the kernel that only some images need."""
        self.reading.warm_up()

    def _sample(self, row: int, generator: np.random.Generator) -> PairSample:
        frame = self.index.frame(row)
        images = self._images(frame)
        teacher_features, teacher_count = self._teacher_features(row)

        pairing = pair_points(
            frame.points,
            frame.lidar2cam,
            frame.cam2img,
            frame.image_size,
            visibility=self.visibility,
            **self.pair_options,
        )
        pairing_points, pairing_images = pairing.pairing_points, pairing.pairing_images

        # SLidR's order: cloud, cuboid, crops of all views, flips of all views.
        points, augment_matrix = augment_cloud(frame.points, self.augment, generator)
        kept = drop_cuboid(points, pairing_points, pairing_images, len(images), self.augment, generator)
        points, pairing_points, pairing_images = select_points(points, pairing_points, pairing_images, *kept)
        windows, pairing_images, inside = resized_crop(
            pairing_images, frame.image_size, self.augment, generator
        )
        size = self._view_size(frame)
        width_px = np.full(len(images), size[1])
        pairing_images, flipped = flip_horizontal(pairing_images, width_px, self.augment, generator)

        voxels = self.voxels.read(points, lidar2ego=frame.lidar2ego @ np.linalg.inv(augment_matrix))
        inside &= voxels.point_mask[pairing_points]
        pixels, superpixels, superpixel_mask = self._resample(images, windows, flipped, size)
        return PairSample(
            sample_token=frame.sample_token,
            points=points,
            images=pixels,
            superpixels=superpixels,
            superpixel_mask=superpixel_mask,
            num_superpixels=self.superpixels.max_id_bound,
            pairing_points=pairing_points[inside],
            pairing_images=pairing_images.take(np.flatnonzero(inside), axis=0),
            teacher_features=teacher_features,
            teacher_count=teacher_count,
            **voxels._asdict(),
        )

    def _images(self, frame: Frame) -> list[ViewImage]:
        return [
            ViewImage(
                path,
                image_key(path, self.index.dataroot),
                (height, width),
                self.reading,
                is_shown=self.decode_images,
            )
            for path, (height, width) in zip(frame.image_paths, frame.image_size.tolist(), strict=True)
        ]

    def _resample(
        self, images: list[ViewImage], windows: list[CropWindow], flipped: np.ndarray, size: tuple[int, int]
    ) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
        """(V, 3, H, W) float32 in 0..1 or None, (V, H, W) int32 superpixels, (V, H, W) bool mask; view by view."""
        pixels = np.empty((len(images), 3, *size), np.float32) if self.decode_images else None
        superpixels = np.empty((len(images), *size), np.int32)
        mask = np.ones((len(images), *size), bool)
        for view, (image, window, flip) in enumerate(zip(images, windows, flipped.tolist(), strict=True)):
            if pixels is not None:
                resize_image(image.pixels(), window, size, scale=image.scale, flipped=flip, out=pixels[view])
            self._resample_superpixels(image, window, flip, superpixels[view], mask[view])
            image.close()
        return pixels, superpixels, mask

    def _resample_superpixels(
        self, image: ViewImage, window: CropWindow, flipped: bool, ids: np.ndarray, mask: np.ndarray
    ) -> None:
        """Fill (H, W) int32 ids and (H, W) bool mask, which comes all True, of one view; the ids that are seen are checked."""
        size, pixel_exact = (ids.shape[0], ids.shape[1]), self.augment.pixel_exact
        read_at = getattr(self.superpixels, "at", None)
        if read_at is not None:
            rows, cols = label_places(window, size, flipped=flipped, pixel_exact=pixel_exact)
            found = read_at(image, image.key, rows, cols, out=ids)
            if found is not None:
                mask[:] = found
        else:
            # With the pixels at hand a reader can tell whether it holds this very image; without them it is trusted.
            whole = self.superpixels(image() if self.decode_images else image, image.key)
            for source, out in zip(whole, (ids, mask), strict=True):
                resize_labels(
                    source,
                    window,
                    size,
                    image_size=image.size,
                    flipped=flipped,
                    pixel_exact=pixel_exact,
                    out=out,
                )
        # An id that is too large would be counted for the next view of the batch.
        limit = self.superpixels.max_id_bound
        if ids.min() < 0 or ids.max() >= limit:
            outside = mask & ((ids < 0) | (ids >= limit))
            if outside.any():
                raise ValueError(
                    f"superpixels of {image.path}: expected ids in 0..{limit - 1}, got {ids[outside].max()}; raise "
                    "max_id_bound or renumber the masks"
                )

    def _teacher_features(self, row: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        if self.pooled_features is None:
            return None, None
        return self.pooled_features(row if self.feature_row is None else self.feature_row(row))

    def _view_size(self, frame: Frame) -> tuple[int, int]:
        """Rows and columns that every view of the sample gets."""
        if self.augment.image_size is not None:
            return self.augment.image_size
        sizes = {(int(height), int(width)) for height, width in frame.image_size}
        if len(sizes) != 1:
            raise ValueError(
                f"augment.image_size is null and the cameras of {frame.sample_token} have different sizes "
                f"{sorted(sizes)}: give one size to resize them to"
            )
        return sizes.pop()


def collate_pairs(samples: Sequence[PairSample]) -> PairBatch:
    """Concatenate samples of pretraining; pairs are renumbered to the points and views of the batch.

    Args:
        samples: at least one; no points, no pairs are allowed.

    Returns:
        The batch.

    Raises:
        ValueError: no samples; images, superpixel tables or precomputed features that do not fit together.
    """
    check_some(samples)
    num_superpixels = {s.num_superpixels for s in samples}
    if len(num_superpixels) != 1:
        raise ValueError(f"num_superpixels: expected the same in every sample, got {sorted(num_superpixels)}")
    point_offsets = offsets([len(s.points) for s in samples])
    view_offsets = offsets([len(s.superpixels) for s in samples])
    pairing_images = np.concatenate([s.pairing_images for s in samples])
    pairing_images[:, 0] += np.repeat(view_offsets[:-1], [len(s.pairing_images) for s in samples])
    pairing_points = np.concatenate(
        [s.pairing_points + start for s, start in zip(samples, point_offsets, strict=False)]
    )
    return PairBatch(
        sample_tokens=tuple(s.sample_token for s in samples),
        points=concatenate([s.points for s in samples], "points"),
        point_offsets=torch.from_numpy(point_offsets),
        voxels=collate_voxels(samples),
        images=optional([s.images for s in samples], "images"),
        view_offsets=torch.from_numpy(view_offsets),
        superpixels=concatenate([s.superpixels for s in samples], "superpixels"),
        superpixel_mask=concatenate([s.superpixel_mask for s in samples], "superpixel_mask"),
        num_superpixels=num_superpixels.pop(),
        pairing_points=torch.from_numpy(pairing_points),
        pairing_images=torch.from_numpy(pairing_images),
        teacher_features=optional([s.teacher_features for s in samples], "teacher_features"),
        teacher_count=optional([s.teacher_count for s in samples], "teacher_count"),
        substitutes=tuple(entry for s in samples for entry in s.substitutes),
    )
