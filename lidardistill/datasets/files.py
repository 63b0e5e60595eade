"""Which files of a data set are on disk, found by listing each folder once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


class _Files(Protocol):
    def __len__(self) -> int: ...

    def lidar_path(self, row: int) -> Path: ...

    def image_paths(self, row: int) -> tuple[Path, ...]: ...


def missing_files(source: _Files) -> dict[int, list[Path]]:
    """Scans and pictures of keyframes that are not on disk; a link to nowhere counts as missing.

    Returns:
        Row of each incomplete keyframe, rising, to the paths that it lacks. No file is opened.
    """
    folders: dict[Path, set[str]] = {}
    found = {}
    for row in range(len(source)):
        lacking = list(_lacking((source.lidar_path(row), *source.image_paths(row)), folders))
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
