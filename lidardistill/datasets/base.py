"""The contract between data sets and everything that reads them. Labels and judges are apart from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from lidardistill.data.frame import Frame, Sweep


class Source(Protocol):
    """Keyframes of one data set, row by row: by scene, then by time. Pretraining sees this and nothing more.
    Picklable.

    Attributes:
        kind: of data set, as in `datasets.kinds`.
        dataroot: root that image names are relative to.
        columns: float32 values of a point in a scan file.
        rings: beams of the LiDAR, None if the data set does not tell.
        intensity_scale: factor that maps stored intensities to 0..1.
        channels: V camera names, in the order of every per-view array.
    """

    kind: str
    dataroot: Path
    columns: int
    rings: int | None
    intensity_scale: float
    channels: tuple[str, ...]

    def __len__(self) -> int:
        """Number of keyframes."""
        ...

    def sample_token(self, row: int) -> str:
        """Unique name of a keyframe; safe as a file name."""
        ...

    def scene_name(self, row: int) -> str:
        """Scene, or drive, that a keyframe belongs to."""
        ...

    def row_of(self, token: str) -> int:
        """Row of a sample token; raises ValueError if no keyframe has it."""
        ...

    def scenes_of_split(self, split: str) -> tuple[str, ...]:
        """Scenes of a split, in the order of the rows; raises as `rows_of_split`."""
        ...

    def rows_of_scenes(self, names: Iterable[str]) -> np.ndarray:
        """(n,) int64 rising rows of all keyframes of some scenes; raises ValueError for an unknown scene."""
        ...

    def rows_of_split(self, split: str) -> np.ndarray:
        """(n,) int64 rising rows of all keyframes of a split.

        Args:
            split: a split of the data set, `all`, or a text file with a scene (KITTI: a frame) a line.

        Raises:
            FileNotFoundError: no such list file.
            ValueError: unknown or empty split.
        """
        ...

    def lidar_path(self, row: int) -> Path:
        """Scan file of a keyframe."""
        ...

    def image_paths(self, row: int) -> tuple[Path, ...]:
        """V picture files."""
        ...

    def files(self, row: int) -> tuple[Path, ...]:
        """Every file that a keyframe is read from, scan and pictures among them."""
        ...

    def splits(self) -> dict[str, tuple[int, int]]:
        """Name of each split to the number of its scenes that are here and the number that it has."""
        ...

    def frame(self, row: int) -> Frame:
        """Read a keyframe's scan and calibration; pictures stay on disk and labels stay closed.

        Raises:
            FileNotFoundError: a file is missing.
            CorruptSample: a file cannot be used.
        """
        ...

    def sweeps(self, row: int) -> tuple[Sweep, ...]:
        """LiDAR scans between the keyframe before and this one, by time; () if the data set has none."""
        ...

    def keyframe_scan(self, row: int) -> Sweep:
        """File, time and pose of a keyframe's own scan; nothing is read."""
        ...


def rows_with_partner(source: Source, rows: Sequence[int] | np.ndarray, stride: int) -> np.ndarray:
    """The rows whose scene goes on for `stride` keyframes.

    Args:
        source: names the scene of each row.
        rows: (n,) rows of whole scenes.
        stride: keyframes from a scan to its partner, at least 1.

    Returns:
        (m,) int64, those rows r for which r + stride is among `rows` and of the same scene.

    Raises:
        ValueError: there is none.
    """
    rows = np.asarray(rows, dtype=np.int64)
    first = rows[np.isin(rows + stride, rows)]
    kept = [r for r in first.tolist() if source.scene_name(r) == source.scene_name(r + stride)]
    if not kept:
        raise ValueError(
            f"no scene of the split has two keyframes {stride} apart ({len(rows)} keyframes): lower "
            "method.stride, or take scenes with more keyframes"
        )
    return np.array(kept, dtype=np.int64)
