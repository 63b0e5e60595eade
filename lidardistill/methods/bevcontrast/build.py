"""Methods that look at scans from above, and what they train on: from a config to objects."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import torch
from torch import nn

from lidardistill.backbones.build import build_student, build_voxels
from lidardistill.backbones.lidar_bev.net import LidarBev
from lidardistill.backbones.minkunet.net import MinkUNet
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.methods.bevcontrast.method import BEVContrast
from lidardistill.methods.bevcontrast.sample import ScanAugment, ScanPairDataset
from lidardistill.methods.bevcontrast.term import WithBEVTerm
from lidardistill.methods.calico_prc.config import PRCConfig, RegionConfig
from lidardistill.methods.calico_prc.method import PRC
from lidardistill.methods.calico_prc.sample import RegionViewDataset, ViewAugment
from lidardistill.methods.kinds import BEVContrastConfig
from lidardistill.ops.bev_grid import BevGrid
from lidardistill.regions.sweep.clusters import ProposalSettings
from lidardistill.regions.sweep.ground import GroundSettings
from lidardistill.tasks.pretrain.config import PretrainConfig

_TERM_STREAM = 7  # keeps the first weights of a term's head apart from those of the student


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
    stream = np.random.SeedSequence([config.seed, _TERM_STREAM]).generate_state(1)
    with torch.random.fork_rng():
        torch.manual_seed(int(stream[0]))
        term = _bevcontrast(method.student, config.bev_term)
    return WithBEVTerm(method, term, config.bev_term.weight)


def build_prc(config: PretrainConfig) -> PRC:
    """CALICO's first stage with freshly drawn weights."""
    assert isinstance(config.method, PRCConfig)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        student = build_student(config.student, config.voxels)
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


def build_proposals(config: RegionConfig) -> ProposalSettings:
    """How regions are found."""
    ground = GroundSettings(**config.ground.model_dump())
    return ProposalSettings(ground=ground, **config.model_dump(exclude={"ground"}))


def build_region_view_dataset(
    config: PretrainConfig, index: NuScenesIndex, rows: np.ndarray
) -> RegionViewDataset:
    """Sweeps in two views."""
    assert isinstance(config.method, PRCConfig)
    moved = {field.name for field in fields(ViewAugment)}
    return RegionViewDataset(
        index,
        rows,
        voxels=build_voxels(config.voxels, config.student),
        proposals=build_proposals(config.method.regions),
        augment=ViewAugment(**config.method.model_dump(include=moved)),
        seed=config.seed,
        **config.method.model_dump(include={"num_rich", "num_plain", "max_per_region"}),
    )


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
