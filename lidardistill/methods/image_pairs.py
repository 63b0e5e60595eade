"""Keyframes with images for SLidR and its family: points, images, superpixels, and point-pixel pairs.

No label is ever opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lidardistill.data.augment import (
    CropWindow,
    augment_cloud,
    drop_cuboid,
    flip_horizontal,
    resized_crop,
    select_points,
)
from lidardistill.data.batch import Batch, VoxelBatch
from lidardistill.data.collate import collate_voxels, concatenate, offsets, optional, sources_of
from lidardistill.data.config import AugmentConfig, ImageConfig
from lidardistill.data.frame import Frame
from lidardistill.data.image_augment import label_places, resize_image, resize_labels
from lidardistill.data.images import image_key
from lidardistill.data.keyframes import Recipe
from lidardistill.data.view_image import WHOLE_IMAGES, ViewImage, warm_up_images
from lidardistill.data.voxel_input import ScanInput, VoxelInput
from lidardistill.datasets.base import Source
from lidardistill.geometry.projection import pair_points
from lidardistill.methods.base import JointSpace


@dataclass
class PairSample:
    """One keyframe after augmentation, in numpy.

    Attributes:
        sample_token: the keyframe.
        points: (N, 4) float32, augmented LiDAR frame, metres; intensity as stored.
        voxels: the same points as voxels.
        images: (V, 3, H, W) float32 in 0..1, RGB; None if the teacher's features are cached.
        superpixels: (V, H, W) int32 id inside the view; None for methods without superpixels, as the next
            two.
        superpixel_mask: (V, H, W) bool, False for pixels without a superpixel.
        num_superpixels: rows reserved for each view; every valid id is smaller.
        pairing_points: (P,) int64 row in `points`.
        pairing_images: (P, 3) int64 view, row, col.
        teacher_features: (V * num_superpixels, C) float32 cached pooled teacher features, or None.
        teacher_count: (V * num_superpixels,) float32 pixels behind each row of them, or None.
        substitutes: (sample token, reason) of keyframes that could not be read and that this one replaces.
    """

    sample_token: str
    points: np.ndarray
    voxels: VoxelInput
    images: np.ndarray | None
    superpixels: np.ndarray | None
    superpixel_mask: np.ndarray | None
    num_superpixels: int
    pairing_points: np.ndarray
    pairing_images: np.ndarray
    teacher_features: np.ndarray | None = None
    teacher_count: np.ndarray | None = None
    substitutes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class PairBatch(Batch):
    """Concatenated keyframes with images.

    Attributes:
        points: (N, 4) float32 of all scans.
        point_offsets: (B + 1,) int64 from 0.
        voxels: the same points as voxels.
        images: (V, 3, H, W) float32 in 0..1 of all cameras of the batch, or None.
        view_offsets: (B + 1,) int64 from 0.
        superpixels: (V, H, W) int32 id inside the view, or None.
        superpixel_mask: (V, H, W) bool, or None.
        num_superpixels: rows reserved for each view.
        pairing_points: (P,) int64 row in `points`; each of these points has a voxel.
        pairing_images: (P, 3) int64 view in 0..V-1, row, col.
        teacher_features: (V * num_superpixels, C) float32 or None.
        teacher_count: (V * num_superpixels,) float32 or None.
    """

    points: Tensor
    point_offsets: Tensor
    voxels: VoxelBatch
    images: Tensor | None
    view_offsets: Tensor
    superpixels: Tensor | None
    superpixel_mask: Tensor | None
    num_superpixels: int
    pairing_points: Tensor
    pairing_images: Tensor
    teacher_features: Tensor | None = None
    teacher_count: Tensor | None = None


class Superpixels(Protocol):
    """Ids of an image are below `max_id_bound`. A callable image may stay undecoded.

    `regions.superpixels.source.SuperpixelSource` also has a method `at`, which reads only the crop of a map;
    a reader without `at` returns whole maps.
    """

    max_id_bound: int

    def __call__(
        self, image: np.ndarray | Callable[[], np.ndarray], key: str
    ) -> tuple[np.ndarray, np.ndarray]: ...


class CachedFeatures(Protocol):
    """Pooled teacher features of a keyframe: (V * S, C) float32 and the (V * S,) float32 pixels behind each
    row."""

    def of_run(self, rows: np.ndarray) -> CachedFeatures: ...

    def read(self, source: Any, row: int) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True)
class ImagePairs(Recipe[PairSample]):
    """Keyframes with images as SLidR's pretraining reads them.

    Attributes:
        scan_input: turns points into voxels.
        augment: of cloud, images and pairs.
        images: resolution at which images are read.
        visibility: "none" pairs every point in the frustum (SLidR); "zbuffer" drops points behind nearer
            ones.
        superpixels: gives each image its superpixels, or None for methods without.
        cached: replaces the images by cached features of the teacher, or None.
        pair_options: further arguments of `geometry.projection.pair_points`.

    Source: SLidR (Sautier et al., CVPR 2022), section 3, and its public code.
    Differs from SLidR in: the cameras keep their order (SLidR shuffles them, which changes no loss).
    """

    scan_input: ScanInput
    augment: AugmentConfig
    images: ImageConfig = WHOLE_IMAGES
    visibility: Literal["none", "zbuffer"] = "none"
    superpixels: Superpixels | None = None
    cached: CachedFeatures | None = None
    pair_options: dict[str, Any] = field(default_factory=dict)

    def of_run(self, rows: np.ndarray) -> ImagePairs:
        return self if self.cached is None else replace(self, cached=self.cached.of_run(rows))

    def still(self) -> ImagePairs:
        """The same keyframes without augmentation, with images, without cached features."""
        return replace(self, augment=self.augment.still(), cached=None)

    def warm_up(self) -> None:
        """Compile the kernels that reduced images and missing superpixels need."""
        warm_up_superpixels = getattr(self.superpixels, "warm_up", None)
        if warm_up_superpixels is not None:
            warm_up_superpixels()
        warm_up_images(self.images)

    def sample(self, source: Source, row: int, generator: np.random.Generator) -> PairSample:
        frame = source.frame(row)
        images = self._images(source, frame)
        features, count = (None, None) if self.cached is None else self.cached.read(source, row)

        pairing = pair_points(
            frame.points,
            frame.lidar2cam,
            frame.cam2img,
            frame.image_size,
            distortion=frame.distortion,
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
        width_px = np.full(len(images), self.augment.image_size[1])
        pairing_images, flipped = flip_horizontal(pairing_images, width_px, self.augment, generator)

        lidar2ego = frame.lidar2ego @ np.linalg.inv(augment_matrix)
        voxels = self.scan_input.read(points, lidar2ego=lidar2ego)
        inside &= voxels.point_mask[pairing_points]
        pixels, superpixels, mask = self._resample(images, windows, flipped)
        return PairSample(
            sample_token=frame.sample_token,
            points=points,
            voxels=voxels,
            images=pixels,
            superpixels=superpixels,
            superpixel_mask=mask,
            num_superpixels=0 if self.superpixels is None else self.superpixels.max_id_bound,
            pairing_points=pairing_points[inside],
            pairing_images=pairing_images.take(np.flatnonzero(inside), axis=0),
            teacher_features=features,
            teacher_count=count,
        )

    def _images(self, source: Source, frame: Frame) -> list[ViewImage]:
        is_shown = self.cached is None
        return [
            ViewImage(path, image_key(path, source.dataroot), (height, width), self.images, is_shown=is_shown)
            for path, (height, width) in zip(frame.image_paths, frame.image_size.tolist(), strict=True)
        ]

    def _resample(
        self, images: list[ViewImage], windows: list[CropWindow], flipped: np.ndarray
    ) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
        """(V, 3, H, W) float32 in 0..1, (V, H, W) int32 superpixels, (V, H, W) bool mask, or None; view by
        view."""
        size, reader = self.augment.image_size, self.superpixels
        pixels = np.empty((len(images), 3, *size), np.float32) if self.cached is None else None
        ids = None if reader is None else np.empty((len(images), *size), np.int32)
        mask = None if reader is None else np.ones((len(images), *size), bool)
        for view, (image, window, flip) in enumerate(zip(images, windows, flipped.tolist(), strict=True)):
            if pixels is not None:
                resize_image(image.pixels(), window, size, scale=image.scale, flipped=flip, out=pixels[view])
            if reader is not None and ids is not None and mask is not None:
                resample_superpixels(reader, image, window, flip, ids[view], mask[view])
            image.close()
        return pixels, ids, mask

    def collate(self, samples: Sequence[PairSample]) -> PairBatch:
        """Concatenate samples; pairs are renumbered to the points and views of the batch.

        Args:
            samples: at least one; a sample may have no points and no pairs.

        Raises:
            ValueError: no samples; images, superpixel tables or cached features that do not fit together.
        """
        return collate_pairs(samples)


def collate_pairs(samples: Sequence[PairSample]) -> PairBatch:
    """As `ImagePairs.collate`."""
    sources = sources_of(samples)
    num_superpixels = {s.num_superpixels for s in samples}
    if len(num_superpixels) != 1:
        raise ValueError(f"num_superpixels: expected the same in every sample, got {sorted(num_superpixels)}")
    point_offsets = offsets([len(s.points) for s in samples])
    views = [s.images if s.superpixels is None else s.superpixels for s in samples]
    view_offsets = offsets([0 if v is None else len(v) for v in views])
    pairing_images = np.concatenate([s.pairing_images for s in samples])
    pairing_images[:, 0] += np.repeat(view_offsets[:-1], [len(s.pairing_images) for s in samples])
    pairing_points = np.concatenate(
        [s.pairing_points + start for s, start in zip(samples, point_offsets, strict=False)]
    )
    return PairBatch(
        **sources,
        points=concatenate([s.points for s in samples], "points"),
        point_offsets=torch.from_numpy(point_offsets),
        voxels=collate_voxels([s.voxels for s in samples]),
        images=optional([s.images for s in samples], "images"),
        view_offsets=torch.from_numpy(view_offsets),
        superpixels=optional([s.superpixels for s in samples], "superpixels"),
        superpixel_mask=optional([s.superpixel_mask for s in samples], "superpixel_mask"),
        num_superpixels=num_superpixels.pop(),
        pairing_points=torch.from_numpy(pairing_points),
        pairing_images=torch.from_numpy(pairing_images),
        teacher_features=optional([s.teacher_features for s in samples], "teacher_features"),
        teacher_count=optional([s.teacher_count for s in samples], "teacher_count"),
    )


def resample_superpixels(
    reader: Superpixels,
    image: ViewImage,
    window: CropWindow,
    flipped: bool,
    ids: np.ndarray,
    mask: np.ndarray,
) -> None:
    """Read the superpixels of one view at the pixels of its crop.

    Args:
        reader: gives superpixels.
        image: the view.
        window: the crop, in pixels of the whole image.
        flipped: mirror left to right.
        ids: (H, W) int32, to be filled.
        mask: (H, W) bool, all True; pixels without a superpixel become False.

    Raises:
        ValueError: an id that is not below `max_id_bound`.
    """
    size = (ids.shape[0], ids.shape[1])
    read_at = getattr(reader, "at", None)
    if read_at is not None:
        rows, cols = label_places(window, size, flipped=flipped)
        found = read_at(image, image.key, rows, cols, out=ids)
        if found is not None:
            mask[:] = found
    else:
        # The reader compares the pixels with those of its stored image.
        whole = reader(image() if image.is_shown else image, image.key)
        for source, out in zip(whole, (ids, mask), strict=True):
            resize_labels(source, window, size, image_size=image.size, flipped=flipped, out=out)
    # Too large an id would belong to the next view of the batch.
    limit = reader.max_id_bound
    if ids.min() < 0 or ids.max() >= limit:
        outside = mask & ((ids < 0) | (ids >= limit))
        if outside.any():
            raise ValueError(
                f"superpixels of {image.path}: expected ids in 0..{limit - 1}, twice "
                f"data.superpixels.num_superpixels, got {ids[outside].max()}; raise that key, or number the "
                "regions anew"
            )


def describe_pairs(batch: PairBatch) -> list[str]:
    """Lines of the dry run about a batch."""
    voxels = batch.voxels
    images = "none" if batch.images is None else tuple(batch.images.shape)
    superpixels = (
        ""
        if batch.superpixels is None
        else f", superpixels {tuple(batch.superpixels.shape)}, {batch.num_superpixels} rows each"
    )
    return [
        f"points      {tuple(batch.points.shape)} in {len(voxels.features)} voxels of "
        f"{voxels.spatial_shape} cells (z, y, x)",
        f"images      {images}{superpixels}",
        f"pairs       {len(batch.pairing_points)}",
    ]


@torch.no_grad()
def embed_pairs(
    student: nn.Module, student_head: nn.Module, teacher: nn.Module, teacher_head: nn.Module, batch: PairBatch
) -> JointSpace:
    """Student and teacher of one keyframe behind their heads, for `Method.joint_space`."""
    features = student(batch.voxels)
    rows = F.normalize(student_head(features.rows).float(), dim=1)
    known = features.point_mask
    points = rows.new_zeros(len(known), rows.shape[1])
    points[known] = rows[features.point2row[known]]
    assert batch.images is not None
    maps = torch.cat([teacher_head(teacher(view[None])) for view in batch.images])
    return JointSpace(points.numpy(), maps.float())
