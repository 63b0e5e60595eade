"""Build of calico_prc."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import torch

from lidardistill.backbones.lidar_bev.net import LidarBev
from lidardistill.data.augment import ViewAugment
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.methods.calico_prc.config import PRCConfig
from lidardistill.methods.calico_prc.method import PRC
from lidardistill.methods.calico_prc.sample import RegionViewDataset
from lidardistill.regions.sweep.clusters import build_proposals
from lidardistill.tasks.pretrain.config import PretrainConfig


def build_prc(config: PretrainConfig) -> PRC:
    """CALICO's first stage with freshly drawn weights."""
    assert isinstance(config.method, PRCConfig)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        student = config.student.build(config.voxels)
        assert isinstance(student, LidarBev)
        own = {
            "hidden",
            "embedding",
            "alpha",
            "temperature",
            "average",
            "equal_regions",
            "negatives",
            "pairing",
        }
        return PRC(
            student,
            student.grid,
            student_channels=student.out_channels,
            **config.method.model_dump(include=own),
        )


def build_region_view_dataset(
    config: PretrainConfig, index: NuScenesIndex, rows: np.ndarray
) -> RegionViewDataset:
    """Sweeps in two views."""
    assert isinstance(config.method, PRCConfig)
    moved = {field.name for field in fields(ViewAugment)}
    return RegionViewDataset(
        index,
        rows,
        voxels=config.student.scan_input(config.voxels),
        proposals=build_proposals(config.method.regions),
        augment=ViewAugment(**config.method.model_dump(include=moved)),
        seed=config.seed,
        **config.method.model_dump(include={"num_rich", "num_plain", "max_per_region"}),
    )
