"""Whole, resized images of a keyframe for a camera network, with matching camera matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lidardistill.data.augment import CropWindow
from lidardistill.data.config import ImageConfig
from lidardistill.data.frame import Frame
from lidardistill.data.image_augment import image_matrix, resize_image
from lidardistill.data.view_image import WHOLE_IMAGES, ViewImage


@dataclass(frozen=True)
class CameraInput:
    """Size and resolution of the images of a camera network.

    Attributes:
        image_size: height and width of every image; None keeps the original size, which must then be common
            to all cameras.
        images: resolution of reading.
    """

    image_size: tuple[int, int] | None = None
    images: ImageConfig = WHOLE_IMAGES

    def __post_init__(self) -> None:
        if self.image_size is not None and (len(self.image_size) != 2 or min(self.image_size) < 1):
            raise ValueError(
                f"cameras.image_size: expected height and width of at least 1, got {self.image_size}"
            )


def read_cameras(
    frame: Frame, settings: CameraInput, image_keys: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Read all images of a keyframe.

    Args:
        frame: the keyframe.
        settings: see `CameraInput`.
        image_keys: V names inside the data set, for an image cache.

    Returns:
        images: (V, 3, H, W) float32 in 0..1, RGB.
        cam2img: (V, 4, 4) float64, camera frame to the pixels of `images`.

    Raises:
        ValueError: cameras of different sizes and no `image_size`.
        FileNotFoundError: an image is missing.
        CorruptSample: an image cannot be decoded.
    """
    sizes = [(int(height), int(width)) for height, width in frame.image_size]
    size = settings.image_size
    if size is None:
        if len(set(sizes)) != 1:
            raise ValueError(
                f"cameras.image_size is null and the cameras of {frame.sample_token} have different sizes "
                f"{sorted(set(sizes))}: give one size to resize them to"
            )
        size = sizes[0]
    images = np.empty((len(sizes), 3, *size), np.float32)
    cam2img = np.empty((len(sizes), 4, 4))
    for view, (path, key) in enumerate(zip(frame.image_paths, image_keys, strict=True)):
        window = CropWindow(0, 0, *sizes[view])
        image = ViewImage(path, key, sizes[view], settings.images)
        resize_image(image.pixels(), window, size, scale=image.scale, out=images[view])
        image.close()
        cam2img[view] = image_matrix(window, size) @ frame.cam2img[view]
    return images, cam2img
