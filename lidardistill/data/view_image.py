"""One camera image of a keyframe on its way through the loader: read late, once, and no larger than needed."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from lidardistill.data.image_cache import ImageCache
from lidardistill.data.images import read_image
from lidardistill.regions.store import fingerprint


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
        scale: factor by which the loader wants it reduced; 1 for not at all.
        cache: where reduced images are kept, of the same scale; None decodes the JPEG reduced.
        is_shown: the pixels are wanted in any case. Otherwise nothing is read unless superpixels must be computed.
    """

    def __init__(
        self,
        path: Path,
        key: str,
        size: tuple[int, int],
        *,
        scale: int = 1,
        cache: ImageCache | None = None,
        is_shown: bool = True,
    ) -> None:
        self.path = path
        self.key = key
        self.size = size
        self.scale = scale
        self.is_shown = is_shown
        self._cache = cache
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
            else:
                self._pixels = self._decode(self.scale)
        return self._pixels

    def reduced(self, scale: int) -> np.ndarray | None:
        return self.pixels() if scale == self.scale else None

    def fingerprint(self) -> int | None:
        """None where the whole image is not read for its own sake: what is stored under its name is then trusted."""
        if self._fingerprint is None and self.is_shown:
            if self.scale == 1:
                self._fingerprint = fingerprint(self())
            elif self._cache is not None:
                self.pixels()
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
