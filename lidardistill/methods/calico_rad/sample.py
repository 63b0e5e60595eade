"""One keyframe with its images, its sweep and the sweep's regions, for pretraining a camera network. No label
is ever opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lidardistill.data.augment import CropWindow, augment_cloud
from lidardistill.data.batch import Batch, VoxelBatch
from lidardistill.data.collate import collate_voxels, offsets, sources_of
from lidardistill.data.config import AugmentConfig, ImageConfig
from lidardistill.data.frame import Frame
from lidardistill.data.image_augment import image_matrix, resize_image
from lidardistill.data.images import image_key
from lidardistill.data.keyframes import Recipe
from lidardistill.data.view_image import WHOLE_IMAGES, ViewImage, warm_up_images
from lidardistill.data.voxel_input import ScanInput, VoxelInput
from lidardistill.datasets.base import Source
from lidardistill.geometry.projection import pair_points
from lidardistill.methods.calico_rad.config import RADConfig
from lidardistill.regions.sweep.clusters import Proposals, propose_regions
from lidardistill.regions.sweep.sampling import RegionPoints, sample_region_points


@dataclass
class RegionImageSample:
    """One keyframe, cloud and images each augmented, in numpy.

    Attributes:
        sample_token: the requested keyframe.
        images: (V, 3, H, W) float32 in 0..1, RGB.
        lidar2img: (V, 4, 4) float64, augmented LiDAR frame to homogeneous pixels of these images.
        voxels: of the augmented sweep, moved for the LiDAR network alone.
        xy: (P, 2) float32 where the sampled points are, metres, augmented LiDAR frame.
        lidar_xy: (P, 2) float32 where they are in the moved sweep, metres.
        region: (P,) int64 region 0..R-1 of each; meaningless where `region_mask` is False.
        region_mask: (P,) bool, False for semantic-less points.
        centre_xy: (R, 2) float32 middle of all points of each region, along x and y, metres.
        size_xy: (R, 2) float32 their extent along x and y, metres.
        substitutes: (sample token, reason) of keyframes that could not be read and that this one replaces.
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
    """Keyframes: scan i of the voxels belongs to the views with `view_sample` i.

    Attributes:
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
        """Arguments of `backbones.camera_bev.net.CameraBev`, by name."""
        return {
            "images": self.images,
            "lidar2img": self.lidar2img,
            "view_sample": self.view_sample,
            "batch_size": self.batch_size,
        }


@dataclass(frozen=True)
class RegionImages(Recipe[RegionImageSample]):
    """Keyframes as CALICO's second stage reads them.

    Cloud and images may be turned and mirrored, each for itself: the matrix between them changes accordingly.

    Attributes:
        config: how regions are found, points drawn and the sweep moved.
        scan_input: turns points into voxels: cartesian, with the range that the map of the LiDAR network
            covers.
        augment: image size, turns and mirrors; without cuboid and crops.
        images: resolution at which images are read.
        visibility: "none": points in the frustum of a camera may be drawn; "zbuffer": only those that a
            camera sees.

    Source: CALICO (Sun et al., ICLR 2024), section 3. `RADConfig` names what the paper leaves open.
    """

    config: RADConfig
    scan_input: ScanInput
    augment: AugmentConfig
    images: ImageConfig = WHOLE_IMAGES
    visibility: Literal["none", "zbuffer"] = "none"

    def warm_up(self) -> None:
        """Compile the kernel that reduced images need."""
        warm_up_images(self.images)

    def sample(self, source: Source, row: int, generator: np.random.Generator) -> RegionImageSample:
        frame, config = source.frame(row), self.config
        proposals = propose_regions(frame.points, config.regions)
        points, augment_matrix = augment_cloud(frame.points, self.augment, generator)
        new2old = np.linalg.inv(augment_matrix)
        images, img2aug = self._images(source, frame, generator)
        moved2new = np.eye(4)
        moved2new[:2, 3] = -generator.uniform(-config.lidar_shift_m, config.lidar_shift_m, 2)
        moved = points.copy()
        moved[:, :2] -= moved2new[:2, 3].astype(np.float32)
        voxels = self.scan_input.read(moved, lidar2ego=frame.lidar2ego @ new2old @ moved2new)
        chosen = sample_region_points(
            proposals.region,
            proposals.region_mask,
            generator,
            num_rich=config.num_rich,
            num_plain=config.num_plain,
            max_per_region=config.max_per_region,
            eligible=voxels.point_mask & self._on_the_map(points) & self._in_a_camera(frame),
        )
        low, high = region_bounds(points[:, :2], proposals, chosen)
        return RegionImageSample(
            sample_token=frame.sample_token,
            images=images,
            lidar2img=img2aug @ frame.cam2img @ frame.lidar2cam @ new2old,
            voxels=voxels,
            xy=points[chosen.idx, :2],
            lidar_xy=moved[chosen.idx, :2],
            region=chosen.region_of,
            region_mask=chosen.rich_mask,
            centre_xy=(low + high) / 2,
            size_xy=high - low,
        )

    def _images(
        self, source: Source, frame: Frame, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """(V, 3, H, W) float32 in 0..1, and (V, 4, 4) float64 img2aug."""
        num_views, size = len(frame.image_paths), self.augment.image_size
        flipped = generator.random(num_views) < (0.5 if self.augment.flip_images else 0.0)
        pixels = np.empty((num_views, 3, *size), np.float32)
        img2aug = np.empty((num_views, 4, 4))
        sizes = frame.image_size.tolist()
        for view, (path, (height, width)) in enumerate(zip(frame.image_paths, sizes, strict=True)):
            image = ViewImage(path, image_key(path, source.dataroot), (height, width), self.images)
            whole, flip = CropWindow(0, 0, height, width), bool(flipped[view])
            resize_image(image.pixels(), whole, size, scale=image.scale, flipped=flip, out=pixels[view])
            image.close()
            img2aug[view] = image_matrix(whole, size, flipped=flip)
        return pixels, img2aug

    def _on_the_map(self, points: np.ndarray) -> np.ndarray:
        """(N,) bool, points in the range of the voxels, before the sweep is moved."""
        low, high = np.split(np.array(self.scan_input.voxels.point_cloud_range), 2)
        return np.all((points[:, :3] >= low) & (points[:, :3] < high), axis=1)

    def _in_a_camera(self, frame: Frame) -> np.ndarray:
        """(N,) bool, points that a camera sees."""
        pairing = pair_points(
            frame.points,
            frame.lidar2cam,
            frame.cam2img,
            frame.image_size,
            distortion=frame.distortion,
            visibility=self.visibility,
        )
        seen = np.zeros(len(frame.points), bool)
        seen[pairing.pairing_points] = True
        return seen

    def collate(self, samples: Sequence[RegionImageSample]) -> RegionImageBatch:
        """Concatenate keyframes; regions are renumbered.

        Args:
            samples: at least one; they may have no points, and different numbers of cameras.

        Raises:
            ValueError: no samples, images of different sizes, or scans with different numbers of features.
        """
        sources = sources_of(samples)
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
            **sources,
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
        )


def region_bounds(
    xy: np.ndarray, proposals: Proposals, chosen: RegionPoints
) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and largest x, y of every region that was drawn from, over all its points.

    Args:
        xy: (N, 2) float32, metres.
        proposals: of the sweep.
        chosen: drawn from it.

    Returns:
        (R, 2) and (R, 2) float32, metres.
    """
    of_sweep = np.zeros(proposals.num_regions, np.int64)
    drawn = np.zeros(proposals.num_regions, bool)
    rich = chosen.idx[chosen.rich_mask]
    of_sweep[proposals.region[rich]] = chosen.region_of[chosen.rich_mask]
    drawn[proposals.region[rich]] = True
    members = np.flatnonzero(proposals.region_mask)
    members = members[drawn[proposals.region[members]]]
    row = of_sweep[proposals.region[members]]
    low = np.full((chosen.num_regions, 2), np.inf, np.float32)
    high = np.full((chosen.num_regions, 2), -np.inf, np.float32)
    np.minimum.at(low, row, xy[members])
    np.maximum.at(high, row, xy[members])
    return low, high
