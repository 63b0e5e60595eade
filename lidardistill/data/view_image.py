"""One camera image of a keyframe on its way through the loader: read late, once, and no larger than needed."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lidardistill.data.config import ImageConfig
from lidardistill.data.image_cache import ImageCache
from lidardistill.data.images import JPEG_SCALES, read_image
from lidardistill.regions.superpixels.scaling import reduce_by_area
from lidardistill.regions.superpixels.store import fingerprint


@dataclass(frozen=True)
class ImageReading:
    """At which resolution a loader reads images before it crops them.

    Attributes:
        scale: whole factor by which they are reduced; 1 is the data set's own resolution, as in SLidR.
        reduce: "area" averages blocks of pixels; "jpeg" lets libjpeg decode a reduced image, which costs a third less
            than the whole and is close to the average. What any scale but 1 changes is said in `image_cache`.
        cache: keeps averaged images, of the same scale; whether there is one changes no pixel.
    """

    scale: int = 1
    reduce: Literal["area", "jpeg"] = "area"
    cache: ImageCache | None = None

    def __post_init__(self) -> None:
        if self.scale < 1 or (self.reduce == "jpeg" and self.scale not in JPEG_SCALES):
            expected = "one of 1, 2, 4, 8" if self.reduce == "jpeg" else "at least 1"
            raise ValueError(f"images.scale: expected {expected}, got {self.scale}")
        if self.reduce not in ("area", "jpeg"):
            raise ValueError(f"images.reduce: expected area or jpeg, got {self.reduce!r}")
        if self.cache is not None and (self.reduce != "area" or self.cache.scale != self.scale):
            raise ValueError(
                f"images.cache keeps area averages of scale {self.cache.scale}, and images are asked for as "
                f"{self.reduce} of scale {self.scale}"
            )

    def warm_up(self) -> None:
        """Compile the kernel that only an image cache needs that is not filled yet."""
        if self.scale > 1:
            reduce_by_area(np.zeros((4, 4, 3), np.uint8), 2)


WHOLE_IMAGES = ImageReading()
"""SLidR's way."""


class _Scratch(threading.local):
    """Memory to decode into, at most one piece a thread; whoever takes it owns it until it gives it back."""

    free: np.ndarray | None = None

    def take(self, num_bytes: int) -> np.ndarray:
        taken, self.free = self.free, None
        return np.empty(num_bytes, np.uint8) if taken is None or taken.size < num_bytes else taken


_scratch = _Scratch()


class ViewImage:
    """A `regions.source.LazyImage`. Its pixels are valid until it is closed; a closed one would read them again.

    Args:
        path: picture file.
        key: its name inside the data set.
        size: height and width in pixels of the whole image.
        reading: how the loader wants it.
        is_shown: the pixels are wanted in any case. Otherwise nothing is read unless superpixels must be computed.
    """

    def __init__(
        self,
        path: Path,
        key: str,
        size: tuple[int, int],
        reading: ImageReading = WHOLE_IMAGES,
        *,
        is_shown: bool = True,
    ) -> None:
        self.path = path
        self.key = key
        self.size = size
        self.scale = reading.scale
        self.is_shown = is_shown
        self._reading = reading
        self._buffer: np.ndarray | None = None
        self._whole: np.ndarray | None = None
        self._pixels: np.ndarray | None = None
        self._fingerprint: int | None = None

    def __call__(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB, the whole image."""
        if self._whole is None:
            self._whole = self._decode(1)
        return self._whole

    def pixels(self) -> np.ndarray:
        """(ceil(H / scale), ceil(W / scale), 3) uint8 RGB."""
        if self._pixels is None:
            if self.scale == 1:
                self._pixels = self()
            elif self._reading.cache is not None:
                self._pixels, self._fingerprint = self._reading.cache.read(self.path, self.key, self.size)
            elif self._reading.reduce == "area":
                self._pixels = reduce_by_area(self(), self.scale)
            else:
                self._pixels = self._decode(self.scale)
        return self._pixels

    def reduced(self, scale: int) -> np.ndarray | None:
        return self.pixels() if scale == self.scale else None

    def fingerprint(self) -> int | None:
        """None where the whole image is not read for its own sake: what is stored under its name is then trusted."""
        if self._fingerprint is None and self.is_shown:
            if self._reading.cache is not None:
                self.pixels()
            elif self._reading.reduce == "area":
                self._fingerprint = fingerprint(self())
        return self._fingerprint

    def close(self) -> None:
        """Let the next image be decoded into the same memory."""
        if self._buffer is not None:
            _scratch.free = self._buffer
        self._buffer = self._whole = self._pixels = None

    def _decode(self, scale: int) -> np.ndarray:
        buffer = None
        if self._buffer is None:
            height, width = self.size
            buffer = self._buffer = _scratch.take(height * width * 3)
        return read_image(self.path, self.size, scale, buffer=buffer)


def build_image_reading(images: ImageConfig) -> ImageReading:
    cache = None if images.cache is None else ImageCache(images.cache, images.scale)
    return ImageReading(images.scale, images.reduce, cache)
