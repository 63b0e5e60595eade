"""Image cache: a folder of reduced, uncompressed camera images, so that later epochs decode no JPEG.

Decoding six JPEGs takes three quarters of the loading time of a keyframe. An entry is the image averaged over
blocks of scale x scale pixels, uncompressed, so that a crop reads only the rows of its window: 6.5 MB for a
keyframe of six 1600x900 images at scale 2. The first reading writes the entry. Missing, outdated or damaged
entries are decoded and written again, and a full disk costs time, but does not end the run.

Training on reduced images changes the augmentation: SLidR's crop samples the whole image without antialias,
this one samples block averages. On the real keyframe the two results differ by 0.005 (of 1.0) on average at
scale 2. Pairs and superpixels are exact, because windows are drawn in pixels of the whole image.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import secrets
import struct
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lidardistill.data.images import read_image
from lidardistill.regions.superpixels.scaling import reduce_by_area
from lidardistill.regions.superpixels.store import fingerprint
from lidardistill.spans import spanned

_VERSION = 1
_MAGIC = b"LDIM"
# magic, version, size and time (ns) of the picture file, its height and width, scale, fingerprint of its
# pixels
_FIELDS = struct.Struct("<4sIQqIIII")
_HEADER_SIZE = 64  # pixels begin on a cache line; the CRC-32 follows the fields


class CachedImage(NamedTuple):
    """One entry.

    Attributes:
        pixels: (ceil(H / scale), ceil(W / scale), 3) uint8 RGB, mapped from the file; private to this
            process.
        fingerprint: `regions.store.fingerprint` of the whole image.
    """

    pixels: np.ndarray
    fingerprint: int


class ImageCache:
    """Reduced images by name. Many processes may share the folder; instances are picklable.

    An entry is valid while the picture file keeps its size and time stamp. Pixels have no check sum, because
    computing one costs as much as reading them.

    Args:
        root: folder; the first write creates it.
        scale: whole factor of the reduction, 2 or more.

    Raises:
        ValueError: `scale` is no whole number of at least 2.
    """

    def __init__(self, root: Path | str, scale: int = 2) -> None:
        if isinstance(scale, bool) or not isinstance(scale, int) or scale < 2:
            raise ValueError(f"image cache: scale must be a whole number of at least 2, got {scale!r}")
        self.root = Path(root)
        self.scale = scale
        self.write = True

    def path_of(self, key: str) -> Path:
        """Return the path of this image's entry; 256 subfolders keep each folder small."""
        return Path(self._name_of(key))

    def _name_of(self, key: str) -> str:
        # Text, not Path: building Path objects for each image costs six per cent of a keyframe.
        identity = json.dumps({"image": key, "scale": self.scale, "version": _VERSION}, sort_keys=True)
        digest = hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
        return f"{self.root}/{digest[:2]}/{digest[2:]}.ldim"

    @spanned("decode images")
    def read(self, path: Path, key: str, size: tuple[int, int]) -> CachedImage:
        """Return the reduced image from its entry; without one, decode the picture file and write the entry.

        Args:
            path: picture file.
            key: its name inside the data set.
            size: height and width in pixels according to the tables.

        Returns:
            The reduced image.

        Raises:
            FileNotFoundError, CorruptSample: as in `read_image`, if there is no valid entry or no picture
                file.
        """
        fields = self._fields(path, size)
        if fields is not None and (found := self._read(self._name_of(key), fields, size)) is not None:
            return found
        whole = read_image(path, size)
        made = CachedImage(reduce_by_area(whole, self.scale), fingerprint(whole))
        if self.write and fields is not None:
            try:
                self._write(self.path_of(key), fields, made)
            except OSError as error:
                self.write = False
                warnings.warn(
                    f"reduced images are no longer stored below {self.root}: {error.strerror or error}; the "
                    "run continues and decodes them each time. Free some space, choose another "
                    "data.images.cache or set it to null",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return made

    def bytes_of(self, size: tuple[int, int]) -> int:
        """Return the bytes on disk of the entry of an image of `size` rows and columns."""
        height, width = self._reduced(size)
        return _HEADER_SIZE + height * width * 3

    def _reduced(self, size: tuple[int, int]) -> tuple[int, int]:
        return -(-size[0] // self.scale), -(-size[1] // self.scale)

    def _fields(self, path: Path, size: tuple[int, int]) -> bytes | None:
        """Return an entry's first fields, without the fingerprint; None if the picture file is missing."""
        try:
            status = os.stat(path)
        except OSError:
            return None
        fields = (_MAGIC, _VERSION, status.st_size, status.st_mtime_ns, *size, self.scale)
        return _FIELDS.pack(*fields, 0)[:-4]

    def _read(self, entry: str, fields: bytes, size: tuple[int, int]) -> CachedImage | None:
        try:
            with open(entry, "rb") as stream:
                if os.fstat(stream.fileno()).st_size != self.bytes_of(size):
                    return None
                # Copy on write: kernels are compiled for writable arrays, like decoded images.
                data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
        except OSError:
            return None
        head = data[:_HEADER_SIZE]
        checksum = int.from_bytes(head[_FIELDS.size : _FIELDS.size + 4], "little")
        if head[: len(fields)] != fields or zlib.crc32(head[: _FIELDS.size]) != checksum:
            return None
        pixels = np.frombuffer(data, np.uint8, offset=_HEADER_SIZE).reshape(*self._reduced(size), 3)
        return CachedImage(pixels, int.from_bytes(head[len(fields) : _FIELDS.size], "little"))

    def _write(self, entry: Path, fields: bytes, made: CachedImage) -> None:
        head = fields + made.fingerprint.to_bytes(4, "little")
        head = (head + zlib.crc32(head).to_bytes(4, "little")).ljust(_HEADER_SIZE, b"\0")
        temporary = entry.with_name(f".{entry.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        entry.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as stream:
                stream.write(head)
                stream.write(np.ascontiguousarray(made.pixels).data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, entry)
        finally:
            temporary.unlink(missing_ok=True)
