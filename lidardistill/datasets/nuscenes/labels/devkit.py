"""Helpers for all evaluators of nuscenes-devkit: flags of submissions, splits, imports."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType

from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.datasets.nuscenes.splits import SPLITS, official_scenes, scenes_of_split
from lidardistill.packages import missing_package

META: dict[str, bool] = {
    "use_camera": False,
    "use_lidar": True,
    "use_radar": False,
    "use_map": False,
    "use_external": False,
}
"""Flags of a submission: inputs of the predictor. Cameras during pretraining do not count as input."""


def checked_meta(meta: Mapping[str, bool] | None) -> dict[str, bool]:
    """`META`, updated with the given flags; raises ValueError for an unknown or non-boolean flag."""
    flags = {**META, **(meta or {})}
    if set(flags) != set(META) or not all(isinstance(value, bool) for value in flags.values()):
        raise ValueError(
            f"meta must hold true or false for some of {', '.join(META)}, got {dict(meta or {})}"
        )
    return flags


def rows_of_split(index: NuScenesIndex, split: str) -> list[int]:
    """Index rows of all keyframes of a split."""
    return index.rows_of_split(split).tolist()


def scenes_judged(index: NuScenesIndex, split: str) -> tuple[str, ...]:
    """All scenes of a split: the official list; for `all` and list files, scenes of the root."""
    return official_scenes(split) if split in SPLITS else scenes_of_split(split, index.scene_names)


def check_split(index: NuScenesIndex, split: str) -> None:
    """Raise ValueError if scenes of the split are missing: a score must cover the whole split."""
    present = set(index.scenes_of_split(split))
    absent = [name for name in scenes_judged(index, split) if name not in present]
    if absent:
        raise ValueError(
            f"a figure for {split} is one over all of its scenes, and {index.dataroot} lacks {len(absent)} "
            f"of them, such as {', '.join(absent[:3])}; complete the data set, or list the scenes that are "
            "here in a "
            ".txt file and name that as the split (a synthetic world needs train_scenes=8 for mini_train and "
            "val_scenes=2 for mini_val)"
        )


def import_evaluator(task: str) -> ModuleType:
    """Import the devkit's evaluator of "lidarseg" or "detection"; the ImportError says what to install."""
    try:
        return importlib.import_module(f"nuscenes.eval.{task}.evaluate")
    except ImportError as error:
        raise missing_package("nuscenes-devkit", "the official evaluator", error) from error
