"""LiDAR scans from the raw float32 files that nuScenes and KITTI keep them in."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lidardistill.data.frame import CorruptSample


def read_points(path: Path, num_columns: int) -> np.ndarray:
    """Read a scan and refuse what a network must not see.

    Args:
        path: raw little-endian float32, row after row.
        num_columns: values stored for a point: 5 in nuScenes (x, y, z, intensity, ring), 4 in KITTI.

    Returns:
        (N, 4) float32: x, y, z in metres in the LiDAR frame, and the intensity as stored. N is at least 1.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptSample: the file is empty, ends inside a point, or holds NaN or infinity.
    """
    try:
        values = np.fromfile(path, dtype="<f4")
        num_bytes = path.stat().st_size
    except FileNotFoundError:
        raise FileNotFoundError(
            f"LiDAR scan {path} is missing although the tables name it. Expected: the data set's files beside "
            f"its tables. Download the part that holds it, or leave its scene out of the split."
        ) from None
    row_bytes = 4 * num_columns
    if num_bytes == 0 or num_bytes % row_bytes:
        what = "is empty" if num_bytes == 0 else "is truncated"
        raise CorruptSample(
            f"LiDAR scan {path} {what}: expected a positive multiple of {row_bytes} bytes ({num_columns} float32 "
            f"a point), got {num_bytes}. Copy or download the file again."
        )
    points = values.reshape(-1, num_columns)[:, :4]
    finite = np.isfinite(points)
    if not finite.all():
        bad = np.flatnonzero(~finite.all(axis=1))
        raise CorruptSample(
            f"LiDAR scan {path} holds NaN or infinity in {len(bad)} of {len(points)} points (the first is point "
            f"{bad[0]}): expected finite x, y, z and intensity. Copy or download the file again."
        )
    return np.ascontiguousarray(points)
