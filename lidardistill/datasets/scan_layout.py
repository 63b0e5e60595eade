"""Layout check of scan files: number type and columns. Scan files have no header, so the check tests whether
the values are plausible.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from lidardistill.datasets.base import Source

FARTHEST_M = 1000.0
"""Largest plausible range: no automotive LiDAR measures farther."""

MOST_INTENSITY = 255.0
MOST_RINGS = 256
FITS = 0.98
"""Smallest share of plausible points in a file of the right layout; a few stray points are allowed."""

LEAST_POINTS = 10
"""Smallest number of points for the check."""


class Layout(NamedTuple):
    """Type of the stored numbers, and number of columns of a point."""

    dtype: str
    columns: int

    def __str__(self) -> str:
        kind = {"<f4": "float32", "<f8": "float64", ">f4": "big-endian float32"}[self.dtype]
        return f"{self.columns} {kind} a point"


class Oddity(NamedTuple):
    """Problem of a scan file: an error if its values cannot be points, a warning if they are unusual."""

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
    """`check_layout` for a keyframe's scan; None for a missing file, which other checks report."""
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
    """Check the values of one scan file.

    Args:
        path: existing scan file.
        columns: expected float32 values of each point: x, y, z, intensity, and the ring if there are 5.
        most_intensity: largest expected intensity, 255 or 1.

    Returns:
        An error if the layout is wrong, with the name of a layout that fits; a warning for unusual values;
        None if the file is right.
    """
    data = path.read_bytes()
    promised = Layout("<f4", columns)
    for head, what in _HEADS.items():
        if data.startswith(head):
            return Oddity("error", f"scan {path} is {what}: expected {promised} and no header. Convert it")
    if not data:
        return None  # reading the scan reports this error
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
        return None  # a truncated file: reading the scan reports this error
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
    """Share of plausible points among the finite points of a file, if the file has this layout.

    Returns:
        0..1; None if the file size is not a multiple of the point size, or there are too few finite points.
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
        # a wrong number type or byte order gives mostly tiny or huge values
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
