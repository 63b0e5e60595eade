"""A keyframe's images for a network that looks at all of them whole, with cameras that fit the resized images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lidardistill.data.augment import CropWindow
from lidardistill.data.frame import Frame
from lidardistill.data.image_augment import resize_image
from lidardistill.data.view_image import WHOLE_IMAGES, ImageConfig, ViewImage


@dataclass(frozen=True)
class CameraInput:
    """How images are prepared.

    Attributes:
        image_size: height and width that every image gets; None keeps their own, which must then be the same.
        window: "whole" resizes the whole image, whatever that does to its proportions; "bottom" keeps them and cuts off
            the sky, or equally much at the left and right where the image is too wide.
        images: resolution at which images are read.
    """

    image_size: tuple[int, int] | None = None
    window: Literal["whole", "bottom"] = "whole"
    images: ImageConfig = WHOLE_IMAGES

    def __post_init__(self) -> None:
        if self.image_size is not None and (len(self.image_size) != 2 or min(self.image_size) < 1):
            raise ValueError(
                f"cameras.image_size: expected height and width of at least 1, got {self.image_size}"
            )
        if self.window not in ("whole", "bottom"):
            raise ValueError(f"cameras.window: expected whole or bottom, got {self.window!r}")


def read_cameras(
    frame: Frame, settings: CameraInput, image_keys: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Read all images of a keyframe.

    Args:
        frame: names them.
        settings: see `CameraInput`.
        image_keys: V names inside the data set, for an image cache.

    Returns:
        images: (V, 3, H, W) float32 in 0..1, RGB.
        cam2img: (V, 4, 4) float64 to their pixels.

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
        window = choose_window(sizes[view], size, settings.window)
        image = ViewImage(path, key, sizes[view], settings.images)
        resize_image(image.pixels(), window, size, scale=image.scale, out=images[view])
        image.close()
        cam2img[view] = window_matrix(window, size) @ frame.cam2img[view]
    return images, cam2img


def choose_window(
    image_size: tuple[int, int], target: tuple[int, int], window: Literal["whole", "bottom"]
) -> CropWindow:
    """What of an image is resized; see `CameraInput`.

    Args:
        image_size: height, width of the image, pixels.
        target: height, width that it gets.
        window: "whole" or "bottom".

    Returns:
        The window; "bottom" keeps the proportions of `target` to within a pixel.
    """
    height, width = image_size
    if window == "whole":
        return CropWindow(0, 0, height, width)
    scale = min(height / target[0], width / target[1])
    kept_height = min(height, max(1, round(target[0] * scale)))
    kept_width = min(width, max(1, round(target[1] * scale)))
    return CropWindow(height - kept_height, (width - kept_width) // 2, kept_height, kept_width)


def window_matrix(window: CropWindow, size: tuple[int, int]) -> np.ndarray:
    """Where the pixels of an image go when a window of it is resized.

    Args:
        window: pixels of the image.
        size: height, width that the window gets.

    Returns:
        (4, 4) float64 from homogeneous pixels u, v, w, 1 of the image to those of the result: `matrix @ cam2img` is the
        camera that took the result. A pixel is centred at whole coordinates, so borders lie at halves, and the scale is
        about those, as `resize_image` does it.
    """
    scale_y, scale_x = size[0] / window.height, size[1] / window.width
    matrix = np.eye(4)
    matrix[0, 0], matrix[1, 1] = scale_x, scale_y
    matrix[0, 2] = (0.5 - window.left) * scale_x - 0.5
    matrix[1, 2] = (0.5 - window.top) * scale_y - 0.5
    return matrix
