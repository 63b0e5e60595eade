"""One keyframe: its images, its sweep and the sweep's regions, for pretraining a camera network. No label is ever opened.

A sample is a pure function of (seed, epoch, position in that epoch), as that of `lidardistill.methods.slidr.sample`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from torch.utils.data import Dataset

from lidardistill.data.augment import AugmentSettings, CropWindow, augment_cloud
from lidardistill.data.frame import Frame
from lidardistill.data.image_augment import image_matrix, resize_image
from lidardistill.data.images import image_key
from lidardistill.data.keyframes import SampleKey
from lidardistill.data.substitute import keyframe_rows, read_or_substitute
from lidardistill.data.view_image import WHOLE_IMAGES, ImageReading, ViewImage
from lidardistill.data.voxel_input import ScanInput
from lidardistill.datasets.base import FrameIndex
from lidardistill.geometry.projection import pair_points
from lidardistill.methods.calico_rad.batch import RegionImageSample
from lidardistill.regions.sweep.clusters import Proposals, ProposalSettings, propose_regions
from lidardistill.regions.sweep.sampling import RegionPoints, sample_region_points


class RegionImageDataset(Dataset[RegionImageSample]):
    """Keyframes as CALICO's second stage sees them.

    Cloud and images may be turned and mirrored, each for itself: the matrix between them knows.

    Args:
        index: reads frames by index row.
        rows: (n,) index rows of this split; a key's last entry is a place in it.
        voxels: see `ScanInput`; cartesian, with a range, as the frozen LiDAR network needs them.
        proposals: how the regions are found, in the sweep as it was measured.
        augment: image size, turns and mirrors; it must not drop a cuboid or crop images.
        num_rich: points of regions that are compared, at most.
        num_plain: semantic-less points at most.
        max_per_region: points of one region at most.
        lidar_shift_m: the LiDAR network sees the sweep moved along x and along y by at most so much, drawn anew for each
            keyframe; the cameras see it where it is.
        visibility: "none": points in the frustum of a camera may be drawn; "zbuffer": those that it sees, too.
        reading: at which resolution images are read, see `ImageReading`.
        seed: of all randomness here.
        max_substitutes: give up after so many keyframes in a row that cannot be read.

    Raises:
        ValueError: `rows` is empty, voxels that are not cartesian or have no range, an augmentation that is not meant.

    Source: CALICO (Sun et al., ICLR 2024), section 3. What the paper leaves open is named in `config.calico_rad`.
    """

    def __init__(
        self,
        index: FrameIndex,
        rows: Sequence[int] | np.ndarray,
        *,
        voxels: ScanInput,
        proposals: ProposalSettings,
        augment: AugmentSettings,
        num_rich: int = 1024,
        num_plain: int = 1024,
        max_per_region: int = 32,
        lidar_shift_m: float = 0.0,
        visibility: Literal["none", "zbuffer"] = "none",
        reading: ImageReading = WHOLE_IMAGES,
        seed: int,
        max_substitutes: int = 8,
    ) -> None:
        self.rows = keyframe_rows(rows)
        if augment.drop_cuboid or augment.crop_images or augment.image_size is None:
            raise ValueError(
                "augment: a camera network needs whole images of one size and the whole sweep: expected drop_cuboid and "
                f"crop_images False and an image_size, got {augment.drop_cuboid}, {augment.crop_images} and "
                f"{augment.image_size}"
            )
        self.index = index
        self.voxels = voxels
        self.proposals = proposals
        self.augment = augment
        self.image_size: tuple[int, int] = augment.image_size
        self.num_rich = num_rich
        self.num_plain = num_plain
        self.max_per_region = max_per_region
        self.lidar_shift_m = lidar_shift_m
        self.visibility = visibility
        self.reading = reading
        self.seed = seed
        self.max_substitutes = max_substitutes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: SampleKey) -> RegionImageSample:
        """Read one keyframe, find its regions and draw points of them.

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

    def _sample(self, row: int, generator: np.random.Generator) -> RegionImageSample:
        frame = self.index.frame(row)
        proposals = propose_regions(frame.points, self.proposals)
        points, augment_matrix = augment_cloud(frame.points, self.augment, generator)
        new2old = np.linalg.inv(augment_matrix)
        images, img2aug = self._images(frame, generator)
        moved2new = np.eye(4)
        moved2new[:2, 3] = -generator.uniform(-self.lidar_shift_m, self.lidar_shift_m, 2)
        moved = points.copy()
        moved[:, :2] -= moved2new[:2, 3].astype(np.float32)
        voxels = self.voxels.read(moved, lidar2ego=frame.lidar2ego @ new2old @ moved2new)
        chosen = sample_region_points(
            proposals.region,
            proposals.region_mask,
            generator,
            num_rich=self.num_rich,
            num_plain=self.num_plain,
            max_per_region=self.max_per_region,
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

    def _images(self, frame: Frame, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(V, 3, H, W) float32 in 0..1, and (V, 4, 4) float64 img2aug."""
        num_views = len(frame.image_paths)
        flipped = generator.random(num_views) < self.augment.image_flip_probability
        pixels = np.empty((num_views, 3, *self.image_size), np.float32)
        img2aug = np.empty((num_views, 4, 4))
        sizes = frame.image_size.tolist()
        for view, (path, (height, width)) in enumerate(zip(frame.image_paths, sizes, strict=True)):
            image = ViewImage(path, image_key(path, self.index.dataroot), (height, width), self.reading)
            whole, flip = CropWindow(0, 0, height, width), bool(flipped[view])
            resize_image(
                image.pixels(), whole, self.image_size, scale=image.scale, flipped=flip, out=pixels[view]
            )
            image.close()
            img2aug[view] = image_matrix(whole, self.image_size, flipped=flip)
        return pixels, img2aug

    def _on_the_map(self, points: np.ndarray) -> np.ndarray:
        """(N,) bool, points in the voxels' range, as they are before the sweep is moved."""
        low, high = np.split(np.array(self.voxels.voxels.point_cloud_range), 2)
        return np.all((points[:, :3] >= low) & (points[:, :3] < high), axis=1)

    def _in_a_camera(self, frame: Frame) -> np.ndarray:
        """(N,) bool, points that a camera sees."""
        pairing = pair_points(
            frame.points, frame.lidar2cam, frame.cam2img, frame.image_size, visibility=self.visibility
        )
        seen = np.zeros(len(frame.points), bool)
        seen[pairing.pairing_points] = True
        return seen


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
