"""From a config to objects: the only place besides `cli` that knows both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any, overload

import numpy as np
import torch
from torch import nn

from lidardistill.config.data import PairDataConfig, ScanDataConfig
from lidardistill.config.method import BEVContrastConfig, SLidRConfig
from lidardistill.config.model import LidarBevConfig, MinkUNetConfig, VoxelConfig
from lidardistill.config.run import OptimizerConfig, PretrainConfig, ScheduleConfig, TrainerConfig
from lidardistill.data.augment import AugmentSettings
from lidardistill.data.collate import collate_pairs, collate_scan_pairs
from lidardistill.data.feature_store import FeatureStore
from lidardistill.data.image_cache import ImageCache
from lidardistill.data.nuscenes import NuScenesIndex
from lidardistill.data.pairs import PairDataset
from lidardistill.data.scan_pairs import ScanAugment, ScanPairDataset, rows_with_partner
from lidardistill.data.splits import scenes_of_split
from lidardistill.data.view_image import ImageReading
from lidardistill.data.voxel_input import VoxelSettings
from lidardistill.engine.loop import LoopSettings
from lidardistill.engine.optim import Schedule, make_optimizer, make_schedule
from lidardistill.methods.bevcontrast import BEVContrast
from lidardistill.methods.slidr import SLidR
from lidardistill.models.lidar_bev import LidarBev, build_lidar_bev
from lidardistill.models.minkunet import PRESETS, MinkUNet
from lidardistill.models.teachers import build_teacher
from lidardistill.ops.bev_grid import BevGrid
from lidardistill.regions.source import SuperpixelSource

Method = SLidR | BEVContrast


def build_voxels(
    config: VoxelConfig, student: MinkUNetConfig | LidarBevConfig | None = None
) -> VoxelSettings:
    """How the points become what a student reads, a MinkUNet where none is named."""
    if not isinstance(student, LidarBevConfig):
        return VoxelSettings(**config.model_dump())
    return VoxelSettings(**config.model_dump(), align=1, per_point=student.is_pillars)


@overload
def build_student(config: MinkUNetConfig, voxels: VoxelConfig) -> MinkUNet: ...
@overload
def build_student(config: LidarBevConfig, voxels: VoxelConfig) -> LidarBev: ...
def build_student(config: MinkUNetConfig | LidarBevConfig, voxels: VoxelConfig) -> MinkUNet | LidarBev:
    """A freshly drawn backbone; raises ValueError where the voxels do not suit it."""
    if isinstance(config, LidarBevConfig):
        return build_lidar_bev(
            config.preset,
            len(voxels.point_features),
            voxel_size=voxels.voxel_size,
            point_cloud_range=voxels.point_cloud_range,
        )
    return MinkUNet(
        in_channels=len(voxels.point_features),
        bn_momentum=config.bn_momentum,
        block_bn_momentum=config.block_bn_momentum,
        **PRESETS[config.preset],
    )


def build_method(config: PretrainConfig) -> Method:
    """The method with freshly drawn weights: everything torch draws here follows from `config.seed`."""
    return build_bevcontrast(config) if isinstance(config.method, BEVContrastConfig) else build_slidr(config)


def build_bevcontrast(config: PretrainConfig) -> BEVContrast:
    assert isinstance(config.method, BEVContrastConfig)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        student = build_student(config.student, config.voxels)
        return BEVContrast(
            student,
            BevGrid.of_range(config.method.bev_range, config.method.cell_size),
            student_channels=student.out_channels,
            **config.method.model_dump(include={"embedding", "temperature", "max_cells", "pairing"}),
        )


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
    if not isinstance(config.method, BEVContrastConfig):
        return pretraining_rows(config.data, index)
    rows = rows_with_partner(index, _split_rows(config.data, index), config.method.stride)
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


def build_image_reading(config: PairDataConfig) -> ImageReading:
    images = config.images
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
) -> tuple[PairDataset | ScanPairDataset, Callable[[list[Any]], Any]]:
    """What the method trains on, and how its samples become batches."""
    if isinstance(config.method, BEVContrastConfig):
        return build_scan_pair_dataset(config, index, rows), collate_scan_pairs
    from_cache = config.teacher_cache is not None
    return build_pair_dataset(config, index, rows, train=True, from_cache=from_cache), collate_pairs


def build_scan_pair_dataset(
    config: PretrainConfig, index: NuScenesIndex, rows: np.ndarray
) -> ScanPairDataset:
    assert isinstance(config.method, BEVContrastConfig)
    return ScanPairDataset(
        index,
        rows,
        stride=config.method.stride,
        voxels=build_voxels(config.voxels, config.student),
        augment=ScanAugment(**config.method.model_dump(include={"shift_std_m", "shift_max_m", "rotate"})),
        seed=config.seed,
    )


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
        reading=build_image_reading(config.data),
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
