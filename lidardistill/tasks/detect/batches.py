"""Batches of keyframes with boxes, for training and evaluating a detector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from lidardistill.data.camera_input import CameraInput
from lidardistill.data.keyframes import Keyframes
from lidardistill.datasets.base import Source
from lidardistill.datasets.label_kinds import open_labels
from lidardistill.datasets.labelled import BoxLabels
from lidardistill.engine.batches import batches_once
from lidardistill.streams import Stream
from lidardistill.tasks.detect.batch import DetectionBatch, DetectionSample
from lidardistill.tasks.detect.class_balance import class_balanced_rows
from lidardistill.tasks.detect.config import (
    DetectConfig,
    DetectionDataConfig,
)
from lidardistill.tasks.detect.gt_database import GTDatabase
from lidardistill.tasks.detect.gt_sampling import GTSampler
from lidardistill.tasks.detect.sample import Corrupt, DetectionRecipe
from lidardistill.tasks.rows import labelled_keyframes


def training_keyframes(config: DetectConfig, index: Source) -> Keyframes[DetectionSample]:
    """Augmented keyframes with boxes; repeats rare classes if `class_balanced` is set.

    Raises:
        ValueError: no labelled keyframe has a box.
    """
    data = config.data
    table = open_labels(index).boxes()
    labelled = labelled_keyframes(data, index)
    present = table.classes_present(labelled, min_points=data.min_points)
    if not present.any():
        raise ValueError(
            f"data.label_percent: none of the {len(labelled)} labelled keyframes of {data.train_split} has a "
            "box of the ten classes; take more labels, or look at sample_annotation.json"
        )
    rows = labelled
    if data.class_balanced:
        generator = np.random.default_rng([config.seed, Stream.BALANCE])
        rows = class_balanced_rows(labelled, present, generator)
    recipe = DetectionRecipe(
        config.student.scan_input(config.voxels),
        table.read,
        num_sweeps=data.sweeps,
        augment=data.augment,
        gt_sampler=build_gt_sampler(data, index, table, labelled),
        cameras=build_camera_input(config),
        min_points=data.min_points,
    )
    return Keyframes(index, rows, recipe, seed=config.seed)


def still_keyframes(
    config: DetectConfig,
    index: Source,
    rows: np.ndarray,
    device: torch.device,
    corrupt: Corrupt | None = None,
) -> Iterator[DetectionBatch]:
    """Each keyframe once, in order, without boxes and augmentation, on the device."""
    recipe = DetectionRecipe(
        config.student.scan_input(config.voxels),
        num_sweeps=config.data.sweeps,
        cameras=build_camera_input(config),
        corrupt=corrupt,
    )
    dataset = Keyframes(index, rows, recipe, seed=0, max_substitutes=0)
    size = min(config.data.batch_size, 4)
    return batches_once(dataset, device, batch_size=size, num_workers=config.data.num_workers)


def build_camera_input(config: DetectConfig) -> CameraInput | None:
    """Image reader of a detector; None without cameras."""
    if config.camera is None:
        return None
    return CameraInput(config.data.image_size, images=config.data.images)


def build_gt_sampler(
    config: DetectionDataConfig, index: Source, table: BoxLabels, rows: np.ndarray
) -> GTSampler | None:
    """GT sampler with objects of the labelled keyframes only, so that `label_percent` also limits objects."""
    sampling = config.gt_sampling
    if sampling is None:
        return None
    folder = None if sampling.cache is None else Path(sampling.cache)
    database = GTDatabase.build(
        index,
        table,
        rows,
        num_sweeps=config.sweeps,
        min_points=(sampling.min_points,) * len(table.classes),
        folder=folder,
    )
    return GTSampler(database, sampling)
