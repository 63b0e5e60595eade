"""Digests of the contents of files, for cache keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

_HASHED_BYTES = 1 << 28
"""Largest hashed file (a tenth of a second). Larger files are identified by size and time of change."""


def digest_of(path: Path) -> str:
    """Return a digest of a file's contents, or of all files below a folder; their location does not count.

    Raises:
        OSError: a file cannot be read.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return _short([[file.relative_to(path).as_posix(), digest_of(file)] for file in files])
    status = path.stat()
    if status.st_size > _HASHED_BYTES:
        return _short([status.st_size, status.st_mtime_ns])
    with path.open("rb") as stream:
        found = hashlib.blake2b(digest_size=8)
        while block := stream.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def state_of(paths: Iterable[Path | None]) -> str:
    """Return a digest of the sizes and change times of files. Missing files and None count as a state.

    File names do not count: a data set keeps its state if it is moved together with its file times.
    """
    state: list[list[int] | None] = []
    for path in paths:
        try:
            status = None if path is None else path.stat()
        except OSError:
            status = None
        state.append(None if status is None else [status.st_size, status.st_mtime_ns])
    return _short(state)


def _short(value: object) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=8).hexdigest()
