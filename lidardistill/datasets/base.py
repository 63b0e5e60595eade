"""Base of datasets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from lidardistill.data.frame import Frame
from lidardistill.datasets.sweeps import SweepIndex


class SceneIndex(Protocol):
    """Keyframes by scene, then by time: `NuScenesIndex`, or a few frames in memory."""

    def frame(self, row: int) -> Frame: ...

    def sample_token(self, row: int) -> str: ...

    def scene_name(self, row: int) -> str: ...


def rows_with_partner(index: SceneIndex, rows: Sequence[int] | np.ndarray, stride: int) -> np.ndarray:
    """The rows whose scene goes on for `stride` keyframes.

    Args:
        index: rows are keyframes by scene, then by time.
        rows: (n,) index rows, whole scenes.
        stride: keyframes from a scan to its partner, at least 1.

    Returns:
        (m,) int64, those rows r for which r + stride is among `rows` and of the same scene.

    Raises:
        ValueError: there is none.
    """
    rows = np.asarray(rows, dtype=np.int64)
    first = rows[np.isin(rows + stride, rows)]
    kept = [r for r in first.tolist() if index.scene_name(r) == index.scene_name(r + stride)]
    if not kept:
        raise ValueError(
            f"no scene of the split has two keyframes {stride} apart ({len(rows)} keyframes): lower method.stride, "
            "or take scenes with more keyframes"
        )
    return np.array(kept, dtype=np.int64)


class FrameIndex(Protocol):
    """Whatever can read a keyframe: `NuScenesIndex`, or a few frames in memory; images lie below `dataroot`."""

    dataroot: Path

    def frame(self, row: int) -> Frame: ...

    def sample_token(self, row: int) -> str: ...


class DetectionIndex(SweepIndex, Protocol):
    """`NuScenesIndex`."""

    dataroot: Path

    def frame(self, row: int) -> Frame: ...

    def sample_token(self, row: int) -> str: ...
