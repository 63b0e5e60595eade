"""From a config to objects: the only place besides `cli` that knows both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lidardistill.data.augment import build_augment
from lidardistill.data.view_image import build_image_reading
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.methods.bevcontrast.build import add_bev_term, build_bevcontrast, build_scan_pair_dataset
from lidardistill.methods.bevcontrast.config import BEVContrastConfig
from lidardistill.methods.bevcontrast.method import BEVContrast
from lidardistill.methods.bevcontrast.sample import ScanPairDataset, collate_scan_pairs
from lidardistill.methods.bevcontrast.term import WithBEVTerm
from lidardistill.methods.both import JointDataset, collate_joint
from lidardistill.methods.calico_prc.batch import collate_region_views
from lidardistill.methods.calico_prc.build import build_prc, build_region_view_dataset
from lidardistill.methods.calico_prc.config import PRCConfig
from lidardistill.methods.calico_prc.method import PRC
from lidardistill.methods.calico_prc.sample import RegionViewDataset
from lidardistill.methods.calico_rad.batch import collate_region_images
from lidardistill.methods.calico_rad.build import build_rad, build_region_image_dataset
from lidardistill.methods.calico_rad.config import RADConfig
from lidardistill.methods.calico_rad.method import RAD
from lidardistill.methods.calico_rad.sample import RegionImageDataset
from lidardistill.methods.slidr.build import build_pair_dataset, build_slidr
from lidardistill.methods.slidr.method import SLidR
from lidardistill.methods.slidr.sample import PairDataset, collate_pairs
from lidardistill.tasks.pretrain.config import PretrainConfig

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
