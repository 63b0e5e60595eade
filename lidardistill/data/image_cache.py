"""A folder of reduced camera images as bare bytes: what is read at each epoch need not be decoded at each epoch.

Decoding six JPEGs is three quarters of what a keyframe costs its loader. An entry is the image averaged over blocks of
scale x scale pixels, uncompressed, so that a crop touches the rows of its window and nothing else: 6.5 MB a keyframe of
six 1600x900 images at scale 2. It is made at the first reading, and never needed: whatever is missing, outdated or
damaged is decoded and written again, and a disk that is full costs time, not the run.

Training on reduced images is a change of the augmentation, not the same bits: SLidR's crop samples the whole image
without antialias, and this one samples block averages. On the real keyframe the two results differ by 0.005 (of 1.0)
on average at scale 2. Pairs and superpixels are exact, because windows are drawn in pixels of the whole image.
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
# magic, version, size and time (ns) of the picture file, its height and width, scale, fingerprint of its pixels
_FIELDS = struct.Struct("<4sIQqIIII")
_HEADER_SIZE = 64  # pixels begin on a cache line; the CRC-32 of the fields lies behind them


class CachedImage(NamedTuple):
    """One entry.

    Attributes:
        pixels: (ceil(H / scale), ceil(W / scale), 3) uint8 RGB, mapped from the file; private to this process.
        fingerprint: `regions.store.fingerprint` of the whole image.
    """

    pixels: np.ndarray
    fingerprint: int


class ImageCache:
    """Reduced images by name. Any number of processes may share the folder; instances travel to worker processes.

    An entry is valid as long as the picture file keeps its size and time stamp. Its pixels carry no check sum: adding
    them up would cost as much as reading them.

    Args:
        root: folder, made at the first write.
        scale: whole factor by which images are reduced, 2 or more.

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
        """The file that holds, or would hold, this image; 256 folders keep each of them small."""
        return Path(self._name_of(key))

    def _name_of(self, key: str) -> str:
        # Text, not Path: paths that are put together for each image cost six per cent of a keyframe.
        identity = json.dumps({"image": key, "scale": self.scale, "version": _VERSION}, sort_keys=True)
        digest = hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
        return f"{self.root}/{digest[:2]}/{digest[2:]}.ldim"

    @spanned("decode images")
    def read(self, path: Path, key: str, size: tuple[int, int]) -> CachedImage:
        """The reduced image, from its entry or from the picture file, which then gets an entry.

        Args:
            path: picture file.
            key: its name inside the data set.
            size: height and width in pixels that the tables promise.

        Returns:
            The reduced image.

        Raises:
            FileNotFoundError, CorruptSample: as in `read_image`, where there is no valid entry or no picture file.
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
                    f"reduced images are no longer stored below {self.root}: {error.strerror or error}; the run goes on "
                    "and decodes them each time. Free some space, choose another data.images.cache or set it to null",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return made

    def bytes_of(self, size: tuple[int, int]) -> int:
        """Bytes on disk of an image of so many rows and columns."""
        height, width = self._reduced(size)
        return _HEADER_SIZE + height * width * 3

    def _reduced(self, size: tuple[int, int]) -> tuple[int, int]:
        return -(-size[0] // self.scale), -(-size[1] // self.scale)

    def _fields(self, path: Path, size: tuple[int, int]) -> bytes | None:
        """What an entry of this picture begins with, without the fingerprint; None where there is no picture."""
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
                # Copy on write: kernels are compiled for arrays that may be written, as decoded images may.
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
