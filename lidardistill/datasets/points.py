"""Reading LiDAR scans from the raw float32 files of nuScenes and KITTI."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from lidardistill.data.frame import CorruptSample

log = logging.getLogger(__name__)

LEAST_FINITE = 0.25
"""Smallest share of finite points in a valid scan.

Organised point clouds store NaN for each beam without a return.
"""

_warned: set[Path] = set()


def read_points(path: Path, num_columns: int) -> np.ndarray:
    """Read the points of a scan; see `read_scan`."""
    return read_scan(path, num_columns)[0]


def read_scan(path: Path, num_columns: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a scan and drop NaN and infinite points, with one warning per process.

    Args:
        path: raw little-endian float32, row after row.
        num_columns: stored values of each point: 5 in nuScenes (x, y, z, intensity, ring), 4 in KITTI.

    Returns:
        points: (N, 4) float32: x, y, z in metres in the LiDAR frame, and the intensity as stored. N is at
            least 1.
        kept: (M,) bool mask of kept points, for the M points of the file; None if all were kept.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptSample: the file is empty, ends inside a point, or has too few finite points.
    """
    values = _read_values(path, num_columns)
    points = values[:, :4]
    finite = np.isfinite(points)
    if finite.all():
        return np.ascontiguousarray(points), None
    kept = finite.all(axis=1)
    dropped = len(kept) - int(kept.sum())
    if dropped > (1 - LEAST_FINITE) * len(kept):
        raise CorruptSample(
            f"LiDAR scan {path} holds NaN or infinity in {dropped} of {len(kept)} points (the first is point "
            f"{int(np.argmin(kept))}): expected finite x, y, z and intensity in at least {LEAST_FINITE:.0%} "
            f"of them. Is it {num_columns} float32 a point? `lidardistill doctor` looks at the layout."
        )
    if not _warned:
        _warned.add(path)
        log.warning(
            "LiDAR scan %s: dropped %d of %d points, which are NaN or infinite; other scans with such points "
            "are read in the same way",
            path,
            dropped,
            len(kept),
        )
    return np.ascontiguousarray(points[kept]), kept


def raw_values(path: Path) -> np.ndarray:
    """(n,) float32 values of a scan file, unchecked; used by `doctor`."""
    return np.fromfile(path, dtype="<f4")


def _read_values(path: Path, num_columns: int) -> np.ndarray:
    """(M, num_columns) float32 values of a scan file."""
    try:
        values = np.fromfile(path, dtype="<f4")
        num_bytes = path.stat().st_size
    except FileNotFoundError:
        raise FileNotFoundError(
            f"LiDAR scan {path} is missing although the data set names it. Expected: the data set's files "
            "beside its tables. Download the part that holds it, or leave out the scenes that are not on "
            "disk: "
            f"data.missing=skip."
        ) from None
    row_bytes = 4 * num_columns
    if num_bytes == 0 or num_bytes % row_bytes:
        what = "is empty" if num_bytes == 0 else "is truncated"
        raise CorruptSample(
            f"LiDAR scan {path} {what}: expected a positive multiple of {row_bytes} bytes ({num_columns} "
            f"float32 a point), got {num_bytes}. Copy or download the file again."
        )
    return values.reshape(-1, num_columns)
