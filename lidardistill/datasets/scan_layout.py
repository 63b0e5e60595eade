"""Does a scan file have the layout that its data set promises? Files tell no layout, so their values are
looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from lidardistill.datasets.base import Source

FARTHEST_M = 1000.0
"""No LiDAR of a car measures farther."""

MOST_INTENSITY = 255.0
MOST_RINGS = 256
FITS = 0.98
"""Share of plausible points in a file of the right layout: a few stray ones are no other layout."""

LEAST_POINTS = 10
"""Fewer points say nothing."""


class Layout(NamedTuple):
    """Type of the stored numbers, and how many a point has."""

    dtype: str
    columns: int

    def __str__(self) -> str:
        kind = {"<f4": "float32", "<f8": "float64", ">f4": "big-endian float32"}[self.dtype]
        return f"{self.columns} {kind} a point"


class Oddity(NamedTuple):
    """What is wrong with a scan file: an error if its values are no points, a warning if they may still
    be.
    """

    level: Literal["error", "warning"]
    text: str


LAYOUTS = tuple(Layout(dtype, columns) for dtype in ("<f4", "<f8", ">f4") for columns in (4, 5, 6))
_HEADS = {
    b"\x93NUMPY": "a NumPy file (.npy)",
    b"# .PCD": "a PCD file with a header",
    b"VERSION": "a PCD file with a header",
    b"ply": "a PLY file",
    b"PK": "a zip file (.npz?)",
}


def check_scan(source: Source, row: int) -> Oddity | None:
    """`check_layout` of a keyframe's own scan; None if the file is missing, because reading it says so."""
    path = source.lidar_path(row)
    return check_layout(path, source.columns, 1 / source.intensity_scale) if path.is_file() else None


def refuse_other_layout(source: Source, rows: np.ndarray) -> None:
    """Raise ValueError if the first, middle and last scan of a run all have another layout than promised.

    One damaged scan is no reason: the loader replaces it.

    Args:
        source: reads keyframes.
        rows: (n,) int64 rows of the run.
    """
    if len(rows) == 0:
        return
    found = [check_scan(source, int(rows[place])) for place in (0, len(rows) // 2, len(rows) - 1)]
    if all(odd is not None and odd.level == "error" for odd in found):
        assert found[0] is not None
        raise ValueError(found[0].text)


def check_layout(path: Path, columns: int, most_intensity: float) -> Oddity | None:
    """Look at the values of one scan file.

    Args:
        path: scan file, which exists.
        columns: float32 values a point that the data set promises: x, y, z, intensity, and the ring if there
            are 5.
        most_intensity: largest intensity that the data set promises, 255 or 1.

    Returns:
        An error for another layout, which is named if one fits; a warning for odd values; None if all is
        right.
    """
    data = path.read_bytes()
    promised = Layout("<f4", columns)
    for head, what in _HEADS.items():
        if data.startswith(head):
            return Oddity("error", f"scan {path} is {what}: expected {promised} and no header. Convert it")
    if not data:
        return None  # reading it says so
    share = plausible_share(data, promised, most_intensity)
    if share is not None and share >= FITS:
        return _odd_values(path, data, promised, most_intensity)
    others = {other: plausible_share(data, other, MOST_INTENSITY) for other in LAYOUTS if other != promised}
    fitting = [other for other, found in others.items() if found is not None and found >= FITS]
    got = (
        f"{len(data)} bytes, which is no whole number of points"
        if share is None
        else f"only {share:.0%} of the points are plausible (within {FARTHEST_M:.0f} m, "
        f"intensity 0..{most_intensity:g}" + (", whole ring number)" if columns == 5 else ")")
    )
    if fitting:
        return Oddity(
            "error",
            f"scan {path} has other columns: expected {promised}, got {got}; {fitting[0]} fits. Write the "
            f"points as {_names(columns)} in float32",
        )
    if share is None:
        return None  # a truncated file: reading it says so
    place = plausible_share(data, promised, np.inf, rings=False)
    if place is not None and place >= FITS:
        return _odd_values(path, data, promised, most_intensity)
    return Oddity(
        "error",
        f"scan {path} does not hold points: expected {promised} ({_names(columns)}), got {got}. Is it of "
        "another type?",
    )


def plausible_share(
    data: bytes, layout: Layout, most_intensity: float, *, rings: bool = True
) -> float | None:
    """Share of the finite points that a LiDAR could have measured, were the file of this layout.

    Returns:
        0..1; None if the file holds no whole number of such points, or too few finite ones.
    """
    size = np.dtype(layout.dtype).itemsize * layout.columns
    if len(data) % size:
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        values = np.frombuffer(data, layout.dtype).reshape(-1, layout.columns).astype(np.float64)
        points = values[np.isfinite(values[:, :4]).all(axis=1)]
        if len(points) < LEAST_POINTS:
            return None
        good = (np.abs(points[:, :3]) <= FARTHEST_M).all(axis=1)
        # numbers of another type or order are mostly tiny or huge
        good &= (np.abs(points[:, :3]) > 1e-6).any(axis=1) | (points[:, :3] == 0).all(axis=1)
        good &= (points[:, 3] >= 0) & (points[:, 3] <= most_intensity)
        if layout.columns == 5 and rings:
            ring = points[:, 4]
            good &= (ring >= 0) & (ring < MOST_RINGS) & (ring == np.floor(ring))
    return float(good.mean())


def _odd_values(path: Path, data: bytes, layout: Layout, most_intensity: float) -> Oddity | None:
    values = np.frombuffer(data, layout.dtype).reshape(-1, layout.columns)
    points = values[np.isfinite(values[:, :4]).all(axis=1)]
    odd = []
    far = int((np.abs(points[:, :3]) > FARTHEST_M).any(axis=1).sum())
    if far:
        odd.append(f"{far} points lie farther than {FARTHEST_M:.0f} m")
    largest, smallest = float(points[:, 3].max()), float(points[:, 3].min())
    if largest > most_intensity * 1.001 or smallest < 0:
        odd.append(
            f"intensities are {smallest:.3g}..{largest:.3g}, expected 0..{most_intensity:g}: set "
            "voxels.intensity_scale so that the largest becomes about 1"
        )
    elif most_intensity > 1 and largest <= 1.0 and largest > 0:
        odd.append(
            f"intensities are 0..{largest:.3g}, expected 0..{most_intensity:g}: set "
            "voxels.intensity_scale=1.0"
        )
    if layout.columns == 5:
        ring = values[:, 4]
        if not (np.isfinite(ring) & (ring == np.floor(ring)) & (ring >= 0) & (ring < MOST_RINGS)).all():
            odd.append(
                "the fifth column holds no ring numbers: `evaluate --corruption` needs them, nothing else "
                "does"
            )
    return Oddity("warning", f"scan {path}: {'; '.join(odd)}") if odd else None


def _names(columns: int) -> str:
    return ", ".join(("x", "y", "z", "intensity", "ring")[:columns])
