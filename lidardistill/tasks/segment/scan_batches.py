"""Scans with their labels, batch by batch, for probe, fine-tuning and evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from lidardistill.data.config import AugmentConfig
from lidardistill.data.keyframes import Keyframes
from lidardistill.data.voxel_input import ScanInput
from lidardistill.datasets.nuscenes.labels import read_lidarseg
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.datasets.nuscenes.splits import label_fraction, scenes_of_split
from lidardistill.engine.batches import batches_once
from lidardistill.tasks.rows import spread
from lidardistill.tasks.segment.config import ScanDataConfig
from lidardistill.tasks.segment.sample import ScanBatch, ScanRecipe, ScanSample


def labelled_rows(config: ScanDataConfig, index: NuScenesIndex) -> np.ndarray:
    """(n,) int64 index rows whose labels may be used for training."""
    split = scenes_of_split(config.train_split, index.scene_names)
    try:
        scenes = label_fraction(split, config.label_percent)
    except ValueError as error:
        raise ValueError(f"data.label_percent: {error}") from None
    return spread(index.rows_of_scenes(scenes), config.train_keyframes)


def check_labelled(index: NuScenesIndex, rows: np.ndarray, key: str) -> None:
    """Refuse keyframes without lidarseg labels before anything is trained; looks at no more than 32 files.

    Args:
        index: the data set.
        rows: (n,) index rows.
        key: of the config, for the message.

    Raises:
        ValueError: the tables name no labels for a keyframe.
        FileNotFoundError: a label file is missing.
    """
    for row in spread(rows, 32).tolist():
        path = index.lidarseg_path(row)
        if path is None:
            raise ValueError(
                f"{key}: {index.dataroot} ({index.version}) names no lidarseg labels for sample "
                f"{index.sample_token(row)}; datasets/README.md tells how to obtain nuScenes-lidarseg, and the test "
                "split has none"
            )
        if not path.is_file():
            raise FileNotFoundError(
                f"{key}: label file {path} is missing although lidarseg.json names it; download nuScenes-lidarseg for "
                f"{index.version}"
            )


def training_scans(
    config: ScanDataConfig, index: NuScenesIndex, rows: np.ndarray, voxels: ScanInput, seed: int
) -> Keyframes[ScanSample]:
    """Augmented, labelled scans."""
    augment = AugmentConfig(rotate=config.rotate, flip=config.flip)
    recipe = ScanRecipe(voxels, augment, partial(read_lidarseg, index))
    return Keyframes(index, rows, recipe, seed=seed)


def still_scans(
    config: ScanDataConfig,
    index: NuScenesIndex,
    rows: np.ndarray,
    voxels: ScanInput,
    device: torch.device,
    *,
    labels: bool,
) -> Iterator[ScanBatch]:
    """Each scan once, in order, without augmentation, on the device."""
    read_labels = partial(read_lidarseg, index) if labels else None
    dataset = Keyframes(index, rows, ScanRecipe(voxels, None, read_labels), seed=0, max_substitutes=0)
    return batches_once(dataset, device, batch_size=config.batch_size, num_workers=config.num_workers)
