"""Which keyframes a task takes."""

from __future__ import annotations

import numpy as np

from lidardistill.data.config import PairDataConfig
from lidardistill.datasets.base import rows_with_partner
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.datasets.nuscenes.splits import label_fraction, scenes_of_split
from lidardistill.methods.bevcontrast.config import BEVContrastConfig
from lidardistill.tasks.detect.config import (
    LabelledDataConfig,
)
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.segment.config import ScanDataConfig


def open_index(config: PairDataConfig | ScanDataConfig) -> NuScenesIndex:
    return NuScenesIndex.open(config.dataroot, config.version)


def pretraining_rows(config: PairDataConfig, index: NuScenesIndex) -> np.ndarray:
    """(n,) int64 index rows of the pretraining split, the first `keyframes` of them spread evenly if given."""
    return spread(_split_rows(config, index), config.keyframes)


def method_rows(config: PretrainConfig, index: NuScenesIndex) -> np.ndarray:
    """(n,) int64 index rows that the method's samples are named after, of the pretraining split."""
    scans = config.method if isinstance(config.method, BEVContrastConfig) else config.bev_term
    if scans is None:
        return pretraining_rows(config.data, index)
    rows = rows_with_partner(index, _split_rows(config.data, index), scans.stride)
    return spread(rows, config.data.keyframes)


def spread(rows: np.ndarray, count: int | None) -> np.ndarray:
    """At most `count` rows, evenly spread; all for None."""
    if count is None or count >= len(rows):
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]


def _split_rows(config: PairDataConfig, index: NuScenesIndex) -> np.ndarray:
    return index.rows_of_scenes(scenes_of_split(config.split, index.scene_names))


def split_rows(index: NuScenesIndex, split: str) -> np.ndarray:
    """(n,) int64 index rows of all keyframes of a split."""
    return index.rows_of_scenes(scenes_of_split(split, index.scene_names))


def rows_of_key(index: NuScenesIndex, key: str, split: str) -> np.ndarray:
    """`split_rows`, whose ValueError names the key of the config that holds the split."""
    try:
        return split_rows(index, split)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def labelled_keyframes(config: LabelledDataConfig, index: NuScenesIndex) -> np.ndarray:
    """(n,) int64 index rows whose labels may be used for training."""
    scenes = scenes_of_split(config.train_split, index.scene_names)
    return index.rows_of_scenes(label_fraction(scenes, config.label_percent, at_least_one=True))
