"""Superpixel store: an optional cache folder with one small file for each image, for many processes.

A write creates a temporary file in the same folder, syncs and renames it, so that entries are whole or
absent, also after a kill. A damaged entry counts as missing, with a warning, and the next `put` replaces it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import struct
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lidardistill.regions.superpixels.run_codec import CODEC_VERSION, decode, decode_at, encode, encoded_size
from lidardistill.regions.superpixels.scaling import scale_places

_MAGIC = b"LDSP"
_HEADER = struct.Struct("<4sI")  # magic, CRC-32 of the rest
_LEAD = struct.Struct("<II")  # fingerprint of the image or 0, length of the identity after it
_SUFFIX = ".ldsp"


def recipe_key(num_superpixels: int, compactness: float, sigma: float, preset: str, scale: int = 1) -> str:
    """Return the parameters of a segmentation as one line of text; equal parameters give equal text."""
    recipe = {
        "num_superpixels": int(num_superpixels),
        "compactness": float(compactness),
        "sigma": float(sigma),
        "preset": preset,
        "scale": int(scale),
    }
    return json.dumps(recipe, sort_keys=True)


def fingerprint(image: np.ndarray) -> int:
    """Return a 32-bit number that identifies an image, computed from every 16th pixel (some 0.1 ms).

    Args:
        image: (H, W, 3) uint8.

    Returns:
        1..2**32 - 1; never 0, which stands for "unknown".
    """
    return (
        zlib.crc32(np.ascontiguousarray(image[::16, ::16]).tobytes(), zlib.crc32(repr(image.shape).encode()))
        or 1
    )


class SuperpixelStore:
    """Superpixel maps by image, for one recipe. Several recipes may share a folder.

    Args:
        root: folder; the first `put` creates it. Reading needs no write permission.
        key: recipe of the maps, see `recipe_key`. The file name is a hash of it, the image's key and the
            version of the codec; the entry contains it in plain text.

    Instances hold only these two and are picklable.
    """

    def __init__(self, root: Path | str, key: str) -> None:
        self.root = Path(root)
        self.key = key

    def path_of(self, image_key: str | Path) -> Path:
        """Return the path of this image's entry; 256 subfolders keep each folder small."""
        return Path(self._name_of(self._identity(image_key)))

    def has(self, image_key: str | Path, *, made_from: int | None = None) -> bool:
        """Return whether `get` would find an entry; its check sum is compared, the map is not decoded."""
        return self._read(image_key, made_from) is not None

    def get(self, image_key: str | Path, *, made_from: int | None = None) -> np.ndarray | None:
        """Return the map of an image.

        Args:
            image_key: name of the image, such as its path inside the data set.
            made_from: `fingerprint` of the current image; an entry of another image with the same name (such
                as in a rebuilt synthetic world) then counts as missing. None does not compare.

        Returns:
            (H, W) int32, or None if there is no entry or an unusable one (then with a RuntimeWarning).
        """
        return self._decoded(image_key, made_from, decode)

    def get_at(
        self,
        image_key: str | Path,
        image_size: tuple[int, int],
        rows: np.ndarray,
        cols: np.ndarray,
        *,
        out: np.ndarray,
        made_from: int | None = None,
    ) -> np.ndarray | None:
        """Return the map of an image at the crossings of some rows and columns, without building the rest.

        Args:
            image_key, made_from: as in `get`.
            image_size: height and width of the image in pixels; the map may be coarser or finer.
            rows: (R,) int64 rows of the image, ascending.
            cols: (C,) int64 columns of the image, ascending or descending.
            out: (R, C) int32 to write into.

        Returns:
            `out`, or None as in `get`.
        """

        def decode_crossings(data: bytes) -> np.ndarray:
            size = encoded_size(data)
            places = (rows, cols) if size == image_size else scale_places(rows, cols, image_size, size)
            return decode_at(data, *places, out=out)

        return self._decoded(image_key, made_from, decode_crossings)

    def _decoded(
        self, image_key: str | Path, made_from: int | None, decoder: Callable[[bytes], np.ndarray]
    ) -> np.ndarray | None:
        data = self._read(image_key, made_from)
        if data is None:
            return None
        try:
            return decoder(data)
        except ValueError as error:  # the check sum is right, so another program wrote this entry
            return self._missing(self.path_of(image_key), f"cannot be decoded ({error})")

    def put(self, image_key: str | Path, labels: np.ndarray, *, made_from: int | None = None) -> Path:
        """Write or replace the map of an image.

        Args:
            image_key: as in `get`.
            labels: (H, W) integers within int32.
            made_from: `fingerprint` of the image, if known.

        Returns:
            The file.

        Raises:
            OSError: the entry cannot be written (disk full, read-only folder); no temporary file stays.
        """
        path = self.path_of(image_key)
        identity = self._identity(image_key)
        body = _LEAD.pack(made_from or 0, len(identity)) + identity + encode(labels)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "xb") as file:
                file.write(_HEADER.pack(_MAGIC, zlib.crc32(body)) + body)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            if isinstance(error, OSError):
                raise OSError(
                    error.errno,
                    f"cannot write the superpixels of {str(image_key)!r}: {error.strerror}; free some space "
                    "or choose another folder (nothing was left behind, existing entries stay usable)",
                    str(path),
                ) from error
            raise
        return path

    def remove_temporary(self, older_than_s: float = 3600.0) -> int:
        """Delete old temporary files of killed writers, not those of running ones; return their number."""
        removed = 0
        for path in self.root.glob(f"??/.*{_SUFFIX}.*.tmp"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > older_than_s:
                    path.unlink()
                    removed += 1
        return removed

    def _identity(self, image_key: str | Path) -> bytes:
        name = image_key.as_posix() if isinstance(image_key, Path) else image_key
        return json.dumps(
            {"codec": CODEC_VERSION, "image": name, "recipe": self.key}, sort_keys=True
        ).encode()

    def _name_of(self, identity: bytes) -> str:
        # Text, not Path: building Path objects for each image costs six per cent of a keyframe.
        digest = hashlib.blake2b(identity, digest_size=16).hexdigest()
        return f"{self.root}/{digest[:2]}/{digest[2:]}{_SUFFIX}"

    def _read(self, image_key: str | Path, made_from: int | None) -> bytes | None:
        expected = self._identity(image_key)
        path = self._name_of(expected)
        try:
            with open(path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            return self._missing(path, f"cannot be read ({error.strerror})")
        if len(data) < _HEADER.size + _LEAD.size:
            return self._missing(path, f"is truncated to {len(data)} bytes")
        magic, checksum = _HEADER.unpack_from(data)
        body = data[_HEADER.size :]
        if magic != _MAGIC or zlib.crc32(body) != checksum:
            return self._missing(path, "is truncated or damaged (its check sum does not match)")
        stored_from, identity_size = _LEAD.unpack_from(body)
        identity = body[_LEAD.size : _LEAD.size + identity_size]
        if identity != expected:
            return self._missing(path, f"belongs to another image or recipe: {identity!r}")
        if made_from and stored_from and made_from != stored_from:
            return self._missing(path, f"was made from another image than today's {str(image_key)!r}")
        return body[_LEAD.size + identity_size :]

    @staticmethod
    def _missing(path: Path | str, what: str) -> None:
        warnings.warn(
            f"superpixel entry {path} {what}; it counts as missing and is computed anew",
            RuntimeWarning,
            stacklevel=5,
        )
