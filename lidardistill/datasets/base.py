"""The interface of data sets, `Source`. Labels and judges have their own interface in `labelled`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from lidardistill.data.frame import Frame, Sweep


class Source(Protocol):
    """Keyframes of one data set. Rows are ordered by scene, then by time. Picklable.

    Pretraining uses only this interface.

    Attributes:
        kind: kind of the data set, as in `datasets.kinds`.
        dataroot: root folder; image names are relative to it.
        columns: number of float32 values of a point in a scan file.
        rings: number of LiDAR beams, None if unknown.
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
        """Scene (drive) of a keyframe."""
        ...

    def row_of(self, token: str) -> int:
        """Row of a sample token; raises ValueError if no keyframe has it."""
        ...

    def scenes_of_split(self, split: str) -> tuple[str, ...]:
        """Scenes of a split, in the order of the rows; raises as `rows_of_split`."""
        ...

    def rows_of_scenes(self, names: Iterable[str]) -> np.ndarray:
        """(n,) int64 ascending rows of all keyframes of some scenes; ValueError for an unknown scene."""
        ...

    def rows_of_split(self, split: str) -> np.ndarray:
        """(n,) int64 ascending rows of all keyframes of a split.

        Args:
            split: a split of the data set, `all`, or a text file with one scene (KITTI: one frame) in each
                line.

        Raises:
            FileNotFoundError: the list file does not exist.
            ValueError: the split is unknown or empty.
        """
        ...

    def lidar_path(self, row: int) -> Path:
        """Scan file of a keyframe."""
        ...

    def image_paths(self, row: int) -> tuple[Path, ...]:
        """V picture files."""
        ...

    def files(self, row: int) -> tuple[Path, ...]:
        """All files of a keyframe, including its scan and pictures."""
        ...

    def splits(self) -> dict[str, tuple[int, int]]:
        """Maps each split to two numbers: scenes present in this data set, and scenes in the full split."""
        ...

    def frame(self, row: int) -> Frame:
        """Read a keyframe's scan and calibration; does not read pictures or labels.

        Raises:
            FileNotFoundError: a file is missing.
            CorruptSample: a file cannot be used.
        """
        ...

    def sweeps(self, row: int) -> tuple[Sweep, ...]:
        """LiDAR scans between the previous keyframe and this one, by time; () if the data set has none."""
        ...

    def keyframe_scan(self, row: int) -> Sweep:
        """File, time and pose of a keyframe's own scan; reads no file."""
        ...


def rows_with_partner(source: Source, rows: Sequence[int] | np.ndarray, stride: int) -> np.ndarray:
    """Rows with a partner: a keyframe of the same scene, `stride` keyframes later.

    Args:
        source: data set; supplies the scene of each row.
        rows: (n,) rows of whole scenes.
        stride: keyframes from a scan to its partner, at least 1.

    Returns:
        (m,) int64 rows r, where r + stride is also in `rows` and in the same scene.

    Raises:
        ValueError: no row has a partner.
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
