"""One camera image of a keyframe, decoded on demand, once, at the required resolution."""

from __future__ import annotations

import functools
import threading
from pathlib import Path

import numpy as np

from lidardistill.data.config import ImageConfig
from lidardistill.data.image_cache import ImageCache
from lidardistill.data.images import read_image
from lidardistill.regions.superpixels.scaling import reduce_by_area
from lidardistill.regions.superpixels.store import fingerprint


def warm_up_images(config: ImageConfig) -> None:
    """Compile the kernel that reduces an image without a cache entry."""
    if config.scale > 1:
        reduce_by_area(np.zeros((4, 4, 3), np.uint8), 2)


@functools.cache
def _cache_of(config: ImageConfig) -> ImageCache | None:
    """Return the cache of a config, one object for each process; it remembers a full disk."""
    return None if config.cache is None else ImageCache(config.cache, config.scale)


WHOLE_IMAGES = ImageConfig()
"""SLidR's resolution."""


class _Scratch(threading.local):
    """Decoding memory, one block for each thread. `take` returns it; set `free` to give it back."""

    free: np.ndarray | None = None

    def take(self, num_bytes: int) -> np.ndarray:
        taken, self.free = self.free, None
        return np.empty(num_bytes, np.uint8) if taken is None or taken.size < num_bytes else taken


_scratch = _Scratch()


class ViewImage:
    """A `regions.superpixels.source.LazyImage`.

    Do not use the returned arrays after `close`; calling `pixels` again decodes the file again.

    Args:
        path: picture file.
        key: its name inside the data set.
        size: height and width in pixels of the whole image.
        config: resolution, and the cache.
        is_shown: True if a network reads the pixels. False reads the file only to compute superpixels.
    """

    def __init__(
        self,
        path: Path,
        key: str,
        size: tuple[int, int],
        config: ImageConfig = WHOLE_IMAGES,
        *,
        is_shown: bool = True,
    ) -> None:
        self.path = path
        self.key = key
        self.size = size
        self.scale = config.scale
        self.is_shown = is_shown
        self._config = config
        self._cache = _cache_of(config)
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
            elif self._cache is not None:
                self._pixels, self._fingerprint = self._cache.read(self.path, self.key, self.size)
            elif self._config.reduce == "area":
                self._pixels = reduce_by_area(self(), self.scale)
            else:
                self._pixels = self._decode(self.scale)
        return self._pixels

    def reduced(self, scale: int) -> np.ndarray | None:
        return self.pixels() if scale == self.scale else None

    def fingerprint(self) -> int | None:
        """Return `store.fingerprint` of the whole image, or None if the image is not read.

        With None, the store trusts the name of the image.
        """
        if self._fingerprint is None and self.is_shown:
            if self._cache is not None:
                self.pixels()
            elif self._config.reduce == "area":
                self._fingerprint = fingerprint(self())
        return self._fingerprint

    def close(self) -> None:
        """Release the memory for the next image."""
        if self._buffer is not None:
            _scratch.free = self._buffer
        self._buffer = self._whole = self._pixels = None

    def _decode(self, scale: int) -> np.ndarray:
        buffer = None
        if self._buffer is None:
            height, width = self.size
            buffer = self._buffer = _scratch.take(height * width * 3)
        return read_image(self.path, self.size, scale, buffer=buffer)
