"""Atomic writes: a file is whole or absent, also after a kill or on a full disk."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

_TEMPORARY = ".tmp"


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; on leaving, sync it, rename it to `path` and sync the folder.

    On any error the temporary file is removed and the old file at `path` stays unchanged.

    Raises:
        OSError: the file cannot be written; the message names `path`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write {path}: {error.strerror or error}. Nothing was lost: the file that stood there is "
            "untouched and no temporary file is left. Free some space or choose another folder, and run the "
            "same command again",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_json_atomic(path: Path, content: Mapping[str, Any] | list[Any]) -> None:
    """Write plain values as indented JSON, atomically.

    Raises:
        OSError: the file cannot be written.
        TypeError: JSON cannot represent a value.
    """
    data = json.dumps(content, indent=1).encode() + b"\n"
    with atomic_write(path) as stream:
        stream.write(data)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of a killed process. No other process may write to the folder meanwhile."""
    for leftover in folder.glob(f".*{_TEMPORARY}"):
        leftover.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
