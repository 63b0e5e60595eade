"""Rows of tasks."""

from __future__ import annotations

from typing import Any

import numpy as np

from lidardistill.data.config import PairDataConfig
from lidardistill.data.keyframes import Recipe
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.datasets.nuscenes.splits import label_fraction, scenes_of_split
from lidardistill.tasks.detect.config import (
    LabelledDataConfig,
)
from lidardistill.tasks.segment.config import ScanDataConfig


def open_index(config: PairDataConfig | ScanDataConfig) -> NuScenesIndex:
    return NuScenesIndex.open(config.dataroot, config.version)


def pretraining_rows(config: PairDataConfig, index: NuScenesIndex) -> np.ndarray:
    """(n,) int64 index rows of the pretraining split, the first `keyframes` of them spread evenly if given."""
    return spread(_split_rows(config, index), config.keyframes)


def recipe_rows(config: PairDataConfig, index: NuScenesIndex, recipe: Recipe[Any]) -> np.ndarray:
    """(n,) int64 index rows of the pretraining split that a recipe can read, the first `keyframes` spread evenly."""
    return spread(recipe.rows(index, _split_rows(config, index)), config.keyframes)


def spread(rows: np.ndarray, count: int | None) -> np.ndarray:
    """At most `count` rows, evenly spread."""
    if count is None or count >= len(rows):
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]


def _split_rows(config: PairDataConfig, index: NuScenesIndex) -> np.ndarray:
    return index.rows_of_scenes(scenes_of_split(config.split, index.scene_names))


def split_rows(index: NuScenesIndex, split: str) -> np.ndarray:
    """(n,) int64 index rows of all keyframes of a split."""
    return index.rows_of_scenes(scenes_of_split(split, index.scene_names))


def labelled_keyframes(config: LabelledDataConfig, index: NuScenesIndex) -> np.ndarray:
    """(n,) int64 index rows whose labels may be used for training."""
    scenes = scenes_of_split(config.train_split, index.scene_names)
    return index.rows_of_scenes(label_fraction(scenes, config.label_percent, at_least_one=True))
