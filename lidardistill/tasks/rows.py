"""Index rows of the keyframes that a task uses."""

from __future__ import annotations

from typing import Any

import numpy as np

from lidardistill.data.keyframes import Recipe
from lidardistill.datasets.base import Source
from lidardistill.datasets.config import PairDataConfig
from lidardistill.datasets.fractions import label_fraction
from lidardistill.tasks.detect.config import (
    LabelledDataConfig,
)


def pretraining_rows(config: PairDataConfig, source: Source) -> np.ndarray:
    """(n,) int64 index rows of the pretraining split; if `keyframes` is set, that many, evenly spread."""
    return spread(source.rows_of_split(config.split), config.keyframes)


def recipe_rows(config: PairDataConfig, source: Source, recipe: Recipe[Any]) -> np.ndarray:
    """(n,) int64 index rows of the pretraining split that a recipe can read; `keyframes` spreads evenly."""
    return spread(recipe.rows(source, source.rows_of_split(config.split)), config.keyframes)


def spread(rows: np.ndarray, count: int | None) -> np.ndarray:
    """At most `count` rows, evenly spread; all for None."""
    if count is None or count >= len(rows):
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]


def rows_of_key(source: Source, key: str, split: str) -> np.ndarray:
    """`Source.rows_of_split`, whose ValueError names the key of the config that holds the split."""
    try:
        return source.rows_of_split(split)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def labelled_keyframes(config: LabelledDataConfig, source: Source) -> np.ndarray:
    """(n,) int64 index rows whose labels may be used for training."""
    scenes = source.scenes_of_split(config.train_split)
    return source.rows_of_scenes(label_fraction(scenes, config.label_percent, at_least_one=True))
