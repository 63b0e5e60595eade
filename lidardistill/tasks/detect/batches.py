"""Keyframes with boxes, batch by batch, for training and for judging a detector."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from lidardistill.data.camera_input import CameraInput
from lidardistill.datasets.nuscenes.boxes import BoxTable
from lidardistill.datasets.nuscenes.detection_classes import CLASSES
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.engine.batches import batches_once
from lidardistill.tasks.detect.batch import DetectionBatch
from lidardistill.tasks.detect.class_balance import class_balanced_rows
from lidardistill.tasks.detect.config import (
    DetectConfig,
    DetectionAugmentConfig,
    DetectionDataConfig,
)
from lidardistill.tasks.detect.gt_database import GTDatabase
from lidardistill.tasks.detect.gt_sampling import GTSampler, GTSampling
from lidardistill.tasks.detect.sample import Corrupt, DetectionAugment, DetectionDataset, collate_detection
from lidardistill.tasks.rows import labelled_keyframes

_BALANCE_STREAM = 5  # keeps the repeats of keyframes apart from their order and augmentation


def training_keyframes(config: DetectConfig, index: NuScenesIndex) -> DetectionDataset:
    """Augmented keyframes with boxes, rare classes repeated where the config says so.

    Raises:
        ValueError: no labelled keyframe has a box.
    """
    data = config.data
    table = BoxTable.open(index)
    labelled = labelled_keyframes(data, index)
    present = table.classes_present(labelled, min_points=data.min_points)
    if not present.any():
        raise ValueError(
            f"data.label_percent: none of the {len(labelled)} labelled keyframes of {data.train_split} has a box of the "
            "ten classes; take more labels, or look at sample_annotation.json"
        )
    rows = labelled
    if data.class_balanced:
        generator = np.random.default_rng([config.seed, _BALANCE_STREAM])
        rows = class_balanced_rows(labelled, present, generator)
    return DetectionDataset(
        index,
        rows,
        config.student.scan_input(config.voxels),
        seed=config.seed,
        train=True,
        read_boxes=table.read,
        num_sweeps=data.sweeps,
        augment=build_detection_augment(data.augment),
        gt_sampler=build_gt_sampler(data, index, table, labelled),
        cameras=build_camera_input(config),
        min_points=data.min_points,
    )


def still_keyframes(
    config: DetectConfig,
    index: NuScenesIndex,
    rows: np.ndarray,
    device: torch.device,
    corrupt: Corrupt | None = None,
) -> Iterator[DetectionBatch]:
    """Each keyframe once, in order, without boxes and augmentation, on the device."""
    dataset = DetectionDataset(
        index,
        rows,
        config.student.scan_input(config.voxels),
        seed=0,
        train=False,
        read_boxes=None,
        num_sweeps=config.data.sweeps,
        cameras=build_camera_input(config),
        corrupt=corrupt,
    )
    return batches_once(
        dataset,
        collate_detection,
        device,
        batch_size=min(config.data.batch_size, 4),
        num_workers=config.data.num_workers,
    )


def build_camera_input(config: DetectConfig) -> CameraInput | None:
    """How images are read; None for a detector without cameras."""
    if config.camera is None:
        return None
    return CameraInput(config.data.image_size, images=config.data.images)


def build_detection_augment(augment: DetectionAugmentConfig) -> DetectionAugment:
    default = DetectionAugment()
    return DetectionAugment(
        rotate_max_rad=math.radians(augment.rotate_max_deg),
        scale=augment.scale,
        flip_x_probability=default.flip_x_probability if augment.flip_x else 0.0,
        flip_y_probability=default.flip_y_probability if augment.flip_y else 0.0,
        shift_std_m=augment.shift_std_m,
    )


def build_gt_sampler(
    config: DetectionDataConfig, index: NuScenesIndex, table: BoxTable, rows: np.ndarray
) -> GTSampler | None:
    """Objects of the labelled keyframes alone, so that a share of the labels is a share of the objects."""
    sampling = config.gt_sampling
    if sampling is None:
        return None
    folder = None if sampling.cache is None else Path(sampling.cache)
    database = GTDatabase.build(
        index,
        table,
        rows,
        num_sweeps=config.sweeps,
        min_points=(sampling.min_points,) * len(CLASSES),
        folder=folder,
    )
    return GTSampler(database, GTSampling(counts=sampling.counts))
