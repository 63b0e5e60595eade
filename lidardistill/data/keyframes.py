"""Keyframes of data."""

from __future__ import annotations

from pathlib import Path

SampleKey = tuple[int, int, int]
"""Epoch, position in that epoch's order, row in the data set's `rows`."""


def image_key(path: Path, dataroot: Path) -> str:
    """What names an image in superpixel caches and mask folders: its path inside the data set.

    Args:
        path: image file.
        dataroot: root of its data set.

    Returns:
        Such as `samples/CAM_FRONT/x.jpg`, whatever the system; a data set that moves keeps its cache.
    """
    return path.relative_to(dataroot).as_posix()
