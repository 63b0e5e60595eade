"""What handing results to any evaluator of nuscenes-devkit needs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType

from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.datasets.nuscenes.splits import scenes_of_split
from lidardistill.packages import missing_package

META: dict[str, bool] = {
    "use_camera": False,
    "use_lidar": True,
    "use_radar": False,
    "use_map": False,
    "use_external": False,
}
"""What the prediction takes as input; pretraining with cameras is no camera input."""


def checked_meta(meta: Mapping[str, bool] | None) -> dict[str, bool]:
    """`META` with the flags that differ; raises ValueError for another flag, or one that is neither true nor false."""
    flags = {**META, **(meta or {})}
    if set(flags) != set(META) or not all(isinstance(value, bool) for value in flags.values()):
        raise ValueError(
            f"meta must hold true or false for some of {', '.join(META)}, got {dict(meta or {})}"
        )
    return flags


def rows_of_split(index: NuScenesIndex, split: str) -> list[int]:
    """Index rows of all keyframes of a split."""
    return index.rows_of_scenes(scenes_of_split(split, index.scene_names)).tolist()


def import_evaluator(task: str) -> ModuleType:
    """The devkit's module of the evaluator of "lidarseg" or "detection"; raises ImportError with what to install."""
    try:
        return importlib.import_module(f"nuscenes.eval.{task}.evaluate")
    except ImportError as error:
        raise missing_package("nuscenes-devkit", "the official evaluator", error) from error
