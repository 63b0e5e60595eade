"""From a config to objects: the only place besides `cli` that knows both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from lidardistill.backbones.build import build_student, build_voxels
from lidardistill.data.augment import AugmentSettings
from lidardistill.data.collate import collate_pairs, collate_scan_pairs
from lidardistill.data.config import ImageConfig, PairDataConfig, ScanDataConfig
from lidardistill.data.image_cache import ImageCache
from lidardistill.data.view_image import ImageReading
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.datasets.nuscenes.splits import scenes_of_split
from lidardistill.engine.loop import LoopSettings
from lidardistill.engine.optim import Schedule, make_optimizer, make_schedule
from lidardistill.methods.bevcontrast.build import (
    add_bev_term,
    build_bevcontrast,
    build_prc,
    build_region_view_dataset,
    build_scan_pair_dataset,
)
from lidardistill.methods.bevcontrast.method import BEVContrast
from lidardistill.methods.bevcontrast.sample import ScanPairDataset, rows_with_partner
from lidardistill.methods.bevcontrast.term import WithBEVTerm
from lidardistill.methods.both import JointDataset, collate_joint
from lidardistill.methods.calico_prc.batch import collate_region_views
from lidardistill.methods.calico_prc.config import PRCConfig
from lidardistill.methods.calico_prc.method import PRC
from lidardistill.methods.calico_prc.sample import RegionViewDataset
from lidardistill.methods.calico_rad.batch import collate_region_images
from lidardistill.methods.calico_rad.build import build_rad, build_region_image_dataset
from lidardistill.methods.calico_rad.config import RADConfig
from lidardistill.methods.calico_rad.method import RAD
from lidardistill.methods.calico_rad.sample import RegionImageDataset
from lidardistill.methods.kinds import BEVContrastConfig, SLidRConfig
from lidardistill.methods.slidr.feature_store import FeatureStore
from lidardistill.methods.slidr.method import SLidR
from lidardistill.methods.slidr.sample import PairDataset
from lidardistill.regions.superpixels.source import SuperpixelSource
from lidardistill.tasks.pretrain.config import OptimizerConfig, PretrainConfig, ScheduleConfig, TrainerConfig
from lidardistill.teachers.kinds import build_teacher

Method = SLidR | BEVContrast | PRC | RAD | WithBEVTerm


def build_method(config: PretrainConfig) -> Method:
    """The method with freshly drawn weights: everything torch draws here follows from `config.seed`."""
    if isinstance(config.method, BEVContrastConfig):
        return build_bevcontrast(config)
    if isinstance(config.method, PRCConfig):
        return build_prc(config)
    if isinstance(config.method, RADConfig):
        return build_rad(config)
    method = build_slidr(config)
    return method if config.bev_term is None else add_bev_term(config, method)


def build_slidr(config: PretrainConfig) -> SLidR:
    """SLidR; raises ValueError for the config of another method."""
    if not isinstance(config.method, SLidRConfig) or config.teacher is None:
        raise ValueError(
            f"{config.name} is a {config.method.kind} config; expected slidr, which has a teacher"
        )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        student = build_student(config.student, config.voxels)
        options = config.teacher.model_dump(exclude={"kind"})
        teacher = build_teacher(config.teacher.kind, **options)
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
    """At most `count` rows, evenly spread."""
    if count is None or count >= len(rows):
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]


def build_augment(config: PairDataConfig) -> AugmentSettings:
    c = config.augment
    default = AugmentSettings()
    return AugmentSettings(
        image_size=c.image_size,
        rotate=c.rotate,
        flip_x_probability=default.flip_x_probability if c.flip else 0.0,
        flip_y_probability=default.flip_y_probability if c.flip else 0.0,
        drop_cuboid=c.drop_cuboid,
        crop_images=c.crop_images,
        image_flip_probability=default.image_flip_probability if c.flip_images else 0.0,
    )


def build_image_reading(images: ImageConfig) -> ImageReading:
    cache = None if images.cache is None else ImageCache(images.cache, images.scale)
    return ImageReading(images.scale, images.reduce, cache)


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


def build_training_data(
    config: PretrainConfig, index: NuScenesIndex, rows: np.ndarray
) -> tuple[
    PairDataset | ScanPairDataset | RegionViewDataset | RegionImageDataset | JointDataset,
    Callable[[list[Any]], Any],
]:
    """What the method trains on, and how its samples become batches."""
    if isinstance(config.method, BEVContrastConfig):
        return build_scan_pair_dataset(config, config.method, index, rows), collate_scan_pairs
    if isinstance(config.method, PRCConfig):
        return build_region_view_dataset(config, index, rows), collate_region_views
    if isinstance(config.method, RADConfig):
        augment, reading = build_augment(config.data), build_image_reading(config.data.images)
        return build_region_image_dataset(config, index, rows, augment, reading), collate_region_images
    from_cache = config.teacher_cache is not None
    images = build_pair_dataset(config, index, rows, train=True, from_cache=from_cache)
    if config.bev_term is None:
        return images, collate_pairs
    return JointDataset(images, build_scan_pair_dataset(config, config.bev_term, index, rows)), collate_joint


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
        voxels=build_voxels(config.voxels, config.student),
        visibility=config.data.visibility,
        reading=build_image_reading(config.data.images),
        seed=config.seed,
        train=train,
        decode_images=not from_cache,
        pooled_features=pooled,
        feature_row=feature_row,
    )


def build_optimizer(
    config: OptimizerConfig, params: nn.Module | list[dict[str, Any]]
) -> torch.optim.Optimizer:
    """An optimiser over the parameters that train."""
    return make_optimizer(config.kind, params, **config.model_dump(exclude={"kind"}))


def build_schedule(config: ScheduleConfig, *, steps: int, steps_per_epoch: float) -> Schedule:
    options = config.model_dump(exclude={"kind"})
    return make_schedule(config.kind, total_steps=steps, steps_per_epoch=steps_per_epoch, **options)


def loop_settings(trainer: TrainerConfig, steps: int) -> LoopSettings:
    kept = {f.name for f in fields(LoopSettings)} - {"total_steps"}
    return LoopSettings(total_steps=steps, **trainer.model_dump(include=kept))


def _split_rows(config: PairDataConfig, index: NuScenesIndex) -> np.ndarray:
    return index.rows_of_scenes(scenes_of_split(config.split, index.scene_names))


def _cached_features(store: FeatureStore, index: NuScenesIndex, row: int) -> tuple[np.ndarray, np.ndarray]:
    return store.get(index.sample_token(row))


def _another_row(rows: np.ndarray, row: int) -> int:
    """A keyframe half the split away: the layout of a street, but not this street."""
    place = int(np.searchsorted(rows, row))
    return int(rows[(place + len(rows) // 2) % len(rows)])


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
