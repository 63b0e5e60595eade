"""Scans with their labels, batch by batch, for everything downstream."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from lidardistill.data.config import AugmentConfig
from lidardistill.data.voxel_input import ScanInput
from lidardistill.datasets.nuscenes.labels import read_lidarseg
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.datasets.nuscenes.splits import label_fraction, scenes_of_split
from lidardistill.engine.batches import batches_once
from lidardistill.tasks.rows import spread
from lidardistill.tasks.segment.config import ScanDataConfig
from lidardistill.tasks.segment.sample import ScanBatch, ScanDataset, collate_scans


def labelled_rows(config: ScanDataConfig, index: NuScenesIndex) -> np.ndarray:
    """(n,) int64 index rows whose labels may be used for training."""
    scenes = label_fraction(scenes_of_split(config.train_split, index.scene_names), config.label_percent)
    return spread(index.rows_of_scenes(scenes), config.train_keyframes)


def training_scans(
    config: ScanDataConfig, index: NuScenesIndex, rows: np.ndarray, voxels: ScanInput, seed: int
) -> ScanDataset:
    """Augmented, labelled scans."""
    augment = AugmentConfig(rotate=config.rotate, flip=config.flip)
    return ScanDataset(
        index, rows, voxels, seed=seed, train=True, augment=augment, read_labels=partial(read_lidarseg, index)
    )


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
    dataset = ScanDataset(index, rows, voxels, seed=0, train=False, read_labels=read_labels)
    return batches_once(
        dataset, collate_scans, device, batch_size=config.batch_size, num_workers=config.num_workers
    )
