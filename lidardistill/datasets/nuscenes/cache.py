"""Cache folders of the nuScenes index: candidate folders, a digest of the tables, and saving."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lidardistill.datasets.columns import FORMAT, save_columns
from lidardistill.datasets.files import cache_folders
from lidardistill.datasets.nuscenes.tables import OPTIONAL, REQUIRED

log = logging.getLogger(__name__)


def source_digest(tables: Path, names: Sequence[str] = REQUIRED + OPTIONAL) -> str:
    """Digest of the tables: index format, and name, size and modification time of each file.

    Args:
        tables: folder of the version's JSON tables.
        names: tables to include.

    Returns:
        A short name for a folder. It changes when a table is replaced, added or removed.
    """
    state: list[tuple[str, int, int]] = []
    for name in names:
        try:
            stat = (tables / f"{name}.json").stat()
        except FileNotFoundError:
            continue
        state.append((name, stat.st_size, stat.st_mtime_ns))
    return f"v{FORMAT}-{hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]}"


def candidate_places(
    dataroot: Path, version: str, cache_dir: Path | None, *, kind: str = "index"
) -> list[Path]:
    """Candidate folders for the indexes of a version, best first.

    The folders are those of `cache_folders`; `cache_dir` replaces both. `kind` separates indexes of different
    kinds (index, boxes) of the same tables.
    """
    name = f"{kind}-{version}"
    root_key = hashlib.sha256(str(dataroot.resolve()).encode()).hexdigest()[:12]
    if cache_dir is not None:
        return [cache_dir / f"{name}-{root_key}"]
    own, user = cache_folders(dataroot)
    return [own / name, user / f"{name}-{root_key}"]


def save_in_first_place(
    places: Sequence[Path],
    digest: str,
    columns: Mapping[str, np.ndarray],
    meta: Mapping[str, Any],
    *,
    what: str,
    bytes_a_keyframe: str,
) -> Path:
    """Write an index to the first writable folder.

    Args:
        places: folders of `candidate_places`.
        digest: result of `source_digest`.
        columns, meta: as in `save_columns`.
        what: name of the index, for messages.
        bytes_a_keyframe: approximate size for each keyframe, for messages.

    Returns:
        Folder of the index.

    Raises:
        OSError: none of the folders is writable.
    """
    for number, place in enumerate(places, start=1):
        try:
            save_columns(place / digest, columns, meta)
        except OSError as error:
            if number == len(places):
                raise OSError(
                    f"{what} could not be written to {' or '.join(map(str, places))}: {error}. Expected a "
                    f"folder with about {bytes_a_keyframe} free for each keyframe; set LIDARDISTILL_CACHE to "
                    "one."
                ) from error
            log.info("%s cannot be kept in %s (%s)", what, place, error)
            continue
        return place / digest
    raise AssertionError("there is always a place")
