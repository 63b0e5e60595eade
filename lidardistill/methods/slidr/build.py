"""Build of slidr."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import Any

import numpy as np
import torch

from lidardistill.data.augment import build_augment
from lidardistill.data.config import PairDataConfig
from lidardistill.data.view_image import build_image_reading
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.methods.slidr.config import SLidRConfig
from lidardistill.methods.slidr.feature_store import FeatureStore
from lidardistill.methods.slidr.method import SLidR
from lidardistill.methods.slidr.sample import PairDataset
from lidardistill.regions.superpixels.source import SuperpixelSource
from lidardistill.tasks.pretrain.config import PretrainConfig


def build_slidr(config: PretrainConfig) -> SLidR:
    """SLidR; raises ValueError for the config of another method."""
    if not isinstance(config.method, SLidRConfig) or config.teacher is None:
        raise ValueError(
            f"{config.name} is a {config.method.kind} config; expected slidr, which has a teacher"
        )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        student = config.student.build(config.voxels)
        teacher = config.teacher.build()
        settings = config.method.model_dump(exclude={"kind"})
        if (
            settings["pairing"] == "other_keyframe"
        ):  # the data set swaps the features, the method sees nothing
            settings["pairing"] = "real"
        return SLidR(
            student,
            teacher,
            student_channels=student.out_channels,
            teacher_channels=teacher.out_channels,
            **settings,
        )


def build_superpixels(config: PairDataConfig) -> SuperpixelSource:
    settings = config.superpixels
    return SuperpixelSource(
        **settings.model_dump(exclude={"cache", "masks"}), store=settings.cache, mask_root=settings.masks
    )


def feature_store(config: PretrainConfig) -> FeatureStore:
    """Where the teacher's pooled features of this config lie; shared by every run with the same teacher and images."""
    assert config.teacher_cache is not None
    assert config.teacher is not None
    key = _digest(
        {
            "teacher": config.teacher.model_dump(mode="json"),
            "superpixels": config.data.superpixels.model_dump(exclude={"cache"}),
            "images": config.data.images.model_dump(exclude={"cache"}),
            "image_size": config.data.augment.image_size,
            "data": [config.data.dataroot, config.data.version],
        }
    )
    return FeatureStore(config.teacher_cache, key)


def build_pair_dataset(
    config: PretrainConfig, index: NuScenesIndex, rows: np.ndarray, *, train: bool, from_cache: bool
) -> PairDataset:
    """Keyframes for pretraining; `from_cache` leaves images on disk and reads the teacher's features instead."""
    pooled = feature_row = None
    if from_cache:
        pooled = partial(_cached_features, feature_store(config), index)
        if config.method.pairing == "other_keyframe":
            feature_row = partial(_another_row, rows)
    return PairDataset(
        index,
        rows,
        superpixels=build_superpixels(config.data),
        augment=build_augment(config.data),
        voxels=config.student.scan_input(config.voxels),
        visibility=config.data.visibility,
        reading=build_image_reading(config.data.images),
        seed=config.seed,
        train=train,
        decode_images=not from_cache,
        pooled_features=pooled,
        feature_row=feature_row,
    )


def _cached_features(store: FeatureStore, index: NuScenesIndex, row: int) -> tuple[np.ndarray, np.ndarray]:
    return store.get(index.sample_token(row))


def _another_row(rows: np.ndarray, row: int) -> int:
    """A keyframe half the split away: the layout of a street, but not this street."""
    place = int(np.searchsorted(rows, row))
    return int(rows[(place + len(rows) // 2) % len(rows)])


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
