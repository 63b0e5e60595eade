"""Index folders: named arrays on disk, written atomically, memory-mapped by all processes, and rebuilt if
damaged.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

log = logging.getLogger(__name__)

FORMAT = 2
"""Format version of indexes. Increase it when a column changes its meaning; older indexes are rebuilt."""

_META = "meta.json"


def load_columns(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Map the columns of an index into memory.

    Args:
        folder: one index.

    Returns:
        Columns by name, read-only and shared by all processes that map them; and the `meta` of
        `save_columns`. None if there is no index or it is damaged.
    """
    try:
        meta = json.loads((folder / _META).read_text())
        columns = {
            # a plain view of the map, because indexing np.memmap is slow
            name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False).view(np.ndarray)
            for name in meta["columns"]
        }
        return columns, meta["meta"]
    except FileNotFoundError:
        if folder.exists():
            log.warning("index %s is incomplete: it is built anew", folder)
        return None
    except Exception as error:  # errors of json and numpy for damaged files: EOFError, AttributeError, ...
        log.warning("index %s is damaged (%s: %s): it is built anew", folder, type(error).__name__, error)
        return None


def save_columns(folder: Path, columns: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Write an index atomically, and delete the indexes of earlier states of the tables.

    Two processes may write the same index at once: the second finds the folder and deletes its own copy.

    Args:
        folder: folder of the index; its parent is created if needed.
        columns: arrays by name; object arrays are not allowed.
        meta: JSON-serializable values.

    Raises:
        OSError: the folder cannot be written or the disk is full; no partial index remains.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    try:
        for name, column in columns.items():
            with (temporary / f"{name}.npy").open("wb") as stream:
                np.save(stream, column, allow_pickle=False)
                _to_disk(stream)
        with (temporary / _META).open("w") as stream:
            stream.write(json.dumps({"columns": list(columns), "meta": dict(meta)}))
            _to_disk(stream)
        temporary.chmod(0o755)
        _move_into_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for other in folder.parent.glob(f"v{FORMAT}-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def _to_disk(stream: IO[Any]) -> None:
    """Flush a file to the disk, because after a power cut the folder must not contain empty files."""
    stream.flush()
    os.fsync(stream.fileno())


def _move_into_place(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError:
        if load_columns(folder) is not None:
            return
        # the existing index is damaged: move it aside and try again
        aside = Path(tempfile.mkdtemp(prefix=".damaged-", dir=folder.parent))
        folder.rename(aside / folder.name)
        shutil.rmtree(aside, ignore_errors=True)
        temporary.rename(folder)
