"""Missing files of a data set, found by listing each folder once; and folders for caches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


def cache_folders(dataroot: Path) -> list[Path]:
    """Cache folders for the index and other derived files of a data set, best first.

    The first is in the data set, so all users of a disk share it. The second is the user's cache
    (LIDARDISTILL_CACHE, XDG_CACHE_HOME or ~/.cache), for read-only data sets.
    """
    user = os.environ.get("LIDARDISTILL_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "lidardistill"
    )
    return [dataroot / ".lidardistill", Path(user)]


class _Files(Protocol):
    def __len__(self) -> int: ...

    def files(self, row: int) -> tuple[Path, ...]: ...


def missing_files(source: _Files) -> dict[int, list[Path]]:
    """Missing files of keyframes; a broken link counts as missing. Opens no file.

    Returns:
        Maps the row of each incomplete keyframe, in ascending order, to its missing paths.
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
    """Names of the files of a folder. Follows links; other entries need no system call of their own."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if _is_file(entry)}
    except OSError:
        return set()


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a cycle of links
        return False
