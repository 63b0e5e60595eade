"""Batches of scans with labels, for probe, fine-tuning and evaluation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from lidardistill.data.config import AugmentConfig
from lidardistill.data.keyframes import Keyframes
from lidardistill.data.voxel_input import ScanInput
from lidardistill.datasets.base import Source
from lidardistill.datasets.fractions import label_fraction
from lidardistill.datasets.label_kinds import open_labels
from lidardistill.engine.batches import batches_once
from lidardistill.tasks.rows import spread
from lidardistill.tasks.segment.config import ScanDataConfig
from lidardistill.tasks.segment.sample import ScanBatch, ScanRecipe, ScanSample


def labelled_rows(config: ScanDataConfig, index: Source) -> np.ndarray:
    """(n,) int64 index rows whose labels may be used for training."""
    split = index.scenes_of_split(config.train_split)
    try:
        scenes = label_fraction(split, config.label_percent)
    except ValueError as error:
        raise ValueError(f"data.label_percent: {error}") from None
    return spread(index.rows_of_scenes(scenes), config.train_keyframes)


def check_labelled(index: Source, rows: np.ndarray, key: str) -> None:
    """Refuse keyframes without point labels before training; checks at most 32 files.

    Args:
        index: the data set.
        rows: (n,) index rows.
        key: config key for the error message.

    Raises:
        ValueError: the data set names no labels for a keyframe.
        FileNotFoundError: a label file is missing.
    """
    try:
        open_labels(index).points().check(rows)
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"{key}: {error}") from None


def training_scans(
    config: ScanDataConfig, index: Source, rows: np.ndarray, voxels: ScanInput, seed: int
) -> Keyframes[ScanSample]:
    """Augmented, labelled scans."""
    augment = AugmentConfig(rotate=config.rotate, flip=config.flip)
    recipe = ScanRecipe(voxels, augment, open_labels(index).points())
    return Keyframes(index, rows, recipe, seed=seed)


def still_scans(
    config: ScanDataConfig,
    index: Source,
    rows: np.ndarray,
    voxels: ScanInput,
    device: torch.device,
    *,
    labels: bool,
) -> Iterator[ScanBatch]:
    """Each scan once, in order, without augmentation, on the device."""
    read = open_labels(index).points() if labels else None
    dataset = Keyframes(index, rows, ScanRecipe(voxels, None, read), seed=0, max_substitutes=0)
    return batches_once(dataset, device, batch_size=config.batch_size, num_workers=config.num_workers)
