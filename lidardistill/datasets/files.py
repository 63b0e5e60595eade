"""Which files of a data set are on disk, found by listing each folder once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


def cache_folders(dataroot: Path) -> list[Path]:
    """Folders for what is derived from a data set, best first.

    The data set's own comes first, so that all users of a disk share it; the user's cache
    (LIDARDISTILL_CACHE, XDG_CACHE_HOME or ~/.cache) is for data sets that cannot be written.
    """
    user = os.environ.get("LIDARDISTILL_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "lidardistill"
    )
    return [dataroot / ".lidardistill", Path(user)]


class _Files(Protocol):
    def __len__(self) -> int: ...

    def files(self, row: int) -> tuple[Path, ...]: ...


def missing_files(source: _Files) -> dict[int, list[Path]]:
    """Files of keyframes that are not on disk; a link to nowhere counts as missing.

    Returns:
        Row of each incomplete keyframe, rising, to the paths that it lacks. No file is opened.
    """
    folders: dict[Path, set[str]] = {}
    found = {}
    for row in range(len(source)):
        lacking = list(_lacking(source.files(row), folders))
        if lacking:
            found[row] = lacking
    return found


def _lacking(paths: tuple[Path, ...], folders: dict[Path, set[str]]) -> Iterator[Path]:
    for path in paths:
        if path.parent not in folders:
            folders[path.parent] = _names(path.parent)
        if path.name not in folders[path.parent]:
            yield path


def _names(folder: Path) -> set[str]:
    """Names of the files of a folder. Links are followed, other entries cost no look at the file itself."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if _is_file(entry)}
    except OSError:
        return set()


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a circle of links
        return False
