"""Scans with their labels, batch by batch, for everything downstream."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from lidardistill.data.augment import AugmentSettings
from lidardistill.data.voxel_input import VoxelSettings
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
    config: ScanDataConfig, index: NuScenesIndex, rows: np.ndarray, voxels: VoxelSettings, seed: int
) -> ScanDataset:
    """Augmented, labelled scans."""
    default = AugmentSettings()
    augment = AugmentSettings(
        rotate=config.rotate,
        flip_x_probability=default.flip_x_probability if config.flip else 0.0,
        flip_y_probability=default.flip_y_probability if config.flip else 0.0,
    )
    return ScanDataset(
        index, rows, voxels, seed=seed, train=True, augment=augment, read_labels=partial(read_lidarseg, index)
    )


def still_scans(
    config: ScanDataConfig,
    index: NuScenesIndex,
    rows: np.ndarray,
    voxels: VoxelSettings,
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
