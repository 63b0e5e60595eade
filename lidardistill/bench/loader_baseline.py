"""SLidR's way of loading one keyframe, re-expressed: what `lidardistill bench loader` measures against."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lidardistill.bench.projection import Rig, devkit_chain

if TYPE_CHECKING:
    from torch import Tensor

    from lidardistill.data.config import AugmentConfig
    from lidardistill.data.frame import Frame


@dataclass
class LoadedByBaseline:
    """What SLidR's loader hands over, as far as it is compared; shapes as in `PairSample`."""

    images: Tensor
    superpixels: Tensor
    pairing_points: np.ndarray
    pairing_images: np.ndarray
    voxel_coords: np.ndarray


class SLidRLoader:
    """SLidR's loading of one keyframe with cached superpixels, step by step as methods.md 1 and 12 describe it.

    Args:
        frame: the keyframe.
        augment: the same settings as ours.
        superpixels: V maps (H, W) below 256, kept as 8-bit PNG files as SLidR does.
        folder: where to keep them.
        seed: of the augmentation.
        on_the_fly: cut each image into superpixels by scikit-image's SLIC instead, as SLidR's own script does once.
    """

    def __init__(
        self,
        frame: Frame,
        augment: AugmentConfig,
        superpixels: list[np.ndarray],
        folder: Path,
        *,
        seed: int = 0,
        on_the_fly: bool = False,
    ) -> None:
        from PIL import Image

        self.frame = frame
        self.augment = augment
        self.seed = seed
        self.on_the_fly = on_the_fly
        self.rig = _rig_of(frame)
        self.superpixel_paths = [folder / f"{channel}.png" for channel in frame.channels]
        for path, labels in zip(self.superpixel_paths, superpixels, strict=True):
            assert labels.max() < 256
            Image.fromarray(labels.astype(np.uint8)).save(path)

    def __call__(self, position: int) -> LoadedByBaseline:
        import torch
        import torch.nn.functional as F
        from PIL import Image

        from lidardistill.data import augment
        from lidardistill.data.substitute import sample_generator
        from lidardistill.regions.slic.slic import slic

        frame, settings = self.frame, self.augment
        generator = sample_generator(self.seed, 0, position)
        rig = replace(self.rig, points=np.fromfile(frame.lidar_path, np.float32).reshape(-1, 5))
        images = [np.array(Image.open(path)) / 255 for path in frame.image_paths]
        if self.on_the_fly:
            maps = [
                slic(np.array(Image.open(path)), preset="reference").astype(np.uint8)
                for path in frame.image_paths
            ]
        else:
            maps = [np.array(Image.open(path)) for path in self.superpixel_paths]
        pairing_points, pairing_images = devkit_chain(rig)

        stacked = torch.tensor(np.array(images, dtype=np.float32).transpose(0, 3, 1, 2))
        labels = torch.tensor(np.array(maps))[:, None]
        points, _ = augment.augment_cloud(rig.points[:, :4], settings, generator)
        kept = augment.drop_cuboid(points, pairing_points, pairing_images, len(images), settings, generator)
        points, pairing_points, pairing_images = augment.select_points(
            points, pairing_points, pairing_images, *kept
        )
        windows, pairing_images, inside = augment.resized_crop(
            pairing_images, frame.image_size, settings, generator
        )
        assert settings.image_size is not None
        height, width = settings.image_size
        pairing_images, flipped = augment.flip_horizontal(
            pairing_images, np.full(len(images), width), settings, generator
        )
        resized = torch.empty((len(images), 3, height, width))
        superpixels = torch.empty((len(images), height, width), dtype=torch.uint8)
        for view, (top, left, rows, cols) in enumerate(windows):
            box = (slice(view, view + 1), slice(None), slice(top, top + rows), slice(left, left + cols))
            image = F.interpolate(stacked[box], size=(height, width), mode="bilinear", align_corners=False)[0]
            map_ = F.interpolate(labels[box], size=(height, width), mode="nearest")[0, 0]
            resized[view] = image.flip(-1) if flipped[view] else image
            superpixels[view] = map_.flip(-1) if flipped[view] else map_

        x, y, z = points[:, :3].T.astype(np.float64)
        cells = np.stack([np.sqrt(x * x + y * y) / 0.1, np.degrees(np.arctan2(y, x)), z / 0.1], axis=1)
        coords, inverse = np.unique(np.floor(cells).astype(np.int32), axis=0, return_inverse=True)
        assert len(inverse) == len(points)
        return LoadedByBaseline(resized, superpixels, pairing_points[inside], pairing_images[inside], coords)


def _rig_of(frame: Frame) -> Rig:
    """The frame's poses in the four steps that the devkit's chain takes, to the same effect."""
    lidar2global = frame.ego2global @ frame.lidar2ego
    height, width = frame.image_size[0].tolist()
    return Rig(
        points=frame.points,
        lidar2ego=frame.lidar2ego,
        ego2global=frame.ego2global,
        cam2ego=np.tile(np.eye(4), (len(frame.channels), 1, 1)),
        cam_ego2global=lidar2global @ np.linalg.inv(frame.lidar2cam),
        intrinsics=frame.cam2img[:, :3, :3],
        image_size=(height, width),
    )
