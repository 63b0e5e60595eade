"""Methods that look at scans from above, and what they train on: from a config to objects."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from lidardistill.backbones.build import build_student, build_voxels
from lidardistill.backbones.lidar_bev.net import LidarBev
from lidardistill.backbones.minkunet.net import MinkUNet
from lidardistill.data.augment import ScanAugment
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.methods.bevcontrast.config import BEVContrastConfig
from lidardistill.methods.bevcontrast.method import BEVContrast
from lidardistill.methods.bevcontrast.sample import ScanPairDataset
from lidardistill.methods.bevcontrast.term import WithBEVTerm
from lidardistill.ops.bev_grid import BevGrid
from lidardistill.streams import Stream
from lidardistill.tasks.pretrain.config import PretrainConfig


def build_bevcontrast(config: PretrainConfig) -> BEVContrast:
    """BEVContrast with freshly drawn weights."""
    assert isinstance(config.method, BEVContrastConfig)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return _bevcontrast(build_student(config.student, config.voxels), config.method)


def _bevcontrast(student: MinkUNet | LidarBev, config: BEVContrastConfig) -> BEVContrast:
    makes_maps = isinstance(student, LidarBev)
    return BEVContrast(
        student,
        student.grid
        if isinstance(student, LidarBev)
        else BevGrid.of_range(config.bev_range, config.cell_size),
        student_channels=student.out_channels,
        student_makes="maps" if makes_maps else "voxels",
        **config.model_dump(include={"embedding", "temperature", "max_cells", "pairing"}),
    )


def add_bev_term(config: PretrainConfig, method: nn.Module) -> WithBEVTerm:
    """A method and the term that its config asks for."""
    assert config.bev_term is not None
    assert isinstance(method.student, (MinkUNet, LidarBev))
    stream = np.random.SeedSequence([config.seed, Stream.TERM]).generate_state(1)
    with torch.random.fork_rng():
        torch.manual_seed(int(stream[0]))
        term = _bevcontrast(method.student, config.bev_term)
    return WithBEVTerm(method, term, config.bev_term.weight)


def build_scan_pair_dataset(
    config: PretrainConfig, scans: BEVContrastConfig, index: NuScenesIndex, rows: np.ndarray
) -> ScanPairDataset:
    """Pairs of scans for BEVContrast, as a method or as a term."""
    return ScanPairDataset(
        index,
        rows,
        stride=scans.stride,
        voxels=build_voxels(config.voxels, config.student),
        augment=ScanAugment(**scans.model_dump(include={"shift_std_m", "shift_max_m", "rotate"})),
        seed=config.seed,
    )
