"""What handing results to any evaluator of nuscenes-devkit needs."""

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
"""What the prediction takes as input; pretraining with cameras is no camera input."""


def checked_meta(meta: Mapping[str, bool] | None) -> dict[str, bool]:
    """`META` with the flags that differ; raises ValueError for another flag, or one that is neither true
    nor false.
    """
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
    """Scenes of a whole split: the official list, or for `all` and a list file those of the root."""
    return official_scenes(split) if split in SPLITS else scenes_of_split(split, index.scene_names)


def check_split(index: NuScenesIndex, split: str) -> None:
    """Refuse, with a ValueError, a split of which scenes are absent: a score is one over the whole split."""
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
    """The devkit's module of the evaluator of "lidarseg" or "detection"; raises ImportError with what to
    install.
    """
    try:
        return importlib.import_module(f"nuscenes.eval.{task}.evaluate")
    except ImportError as error:
        raise missing_package("nuscenes-devkit", "the official evaluator", error) from error
