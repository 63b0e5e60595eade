"""CALICO's second stage, and what it trains on: from a config to objects."""

from __future__ import annotations

import logging

import numpy as np
import torch

from lidardistill.backbones.camera_bev.build import build_camera
from lidardistill.backbones.lidar_bev.net import LidarBev
from lidardistill.data.augment import AugmentSettings
from lidardistill.data.view_image import ImageReading
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.exchange.of_run import load_student
from lidardistill.methods.calico_rad.config import RADConfig
from lidardistill.methods.calico_rad.lidar_teacher import LidarTeacher
from lidardistill.methods.calico_rad.method import RAD
from lidardistill.methods.calico_rad.sample import RegionImageDataset
from lidardistill.ops.bev_grid import BevGrid
from lidardistill.regions.sweep.clusters import build_proposals
from lidardistill.tasks.pretrain.config import PretrainConfig

log = logging.getLogger(__name__)


def build_rad(config: PretrainConfig) -> RAD:
    """CALICO's second stage: a fresh camera network, and the LiDAR network of the first stage."""
    method = config.method
    assert isinstance(method, RADConfig)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        lidar = config.student.build(config.voxels)
        assert isinstance(lidar, LidarBev)
        try:
            log.info("LiDAR network, frozen: %s", load_student(lidar, method.lidar_weights, config.voxels))
        except (ValueError, FileNotFoundError) as error:
            raise type(error)(f"method.lidar_weights: {error}") from error
        camera = build_camera(method.camera)
        if not _covers(camera.grid, lidar.grid):
            raise ValueError(
                f"method.camera.bev_range: the cameras' map {camera.grid} must cover the LiDAR's {lidar.grid}, whose "
                "range is voxels.point_cloud_range"
            )
        own = {"hidden", "embedding", "temperature", "denominator", "negatives", "weighting", "pairing"}
        return RAD(camera, LidarTeacher(lidar), **method.model_dump(include=own))


def build_region_image_dataset(
    config: PretrainConfig,
    index: NuScenesIndex,
    rows: np.ndarray,
    augment: AugmentSettings,
    reading: ImageReading,
) -> RegionImageDataset:
    """Keyframes with their images."""
    assert isinstance(config.method, RADConfig)
    return RegionImageDataset(
        index,
        rows,
        voxels=config.student.scan_input(config.voxels),
        proposals=build_proposals(config.method.regions),
        augment=augment,
        visibility=config.data.visibility,
        reading=reading,
        seed=config.seed,
        **config.method.model_dump(include={"num_rich", "num_plain", "max_per_region", "lidar_shift_m"}),
    )


def _covers(outer: BevGrid, inner: BevGrid) -> bool:
    """Whether every point of one grid lies on the other, a millimetre aside."""
    return (
        outer.x_min <= inner.x_min + 1e-3
        and outer.y_min <= inner.y_min + 1e-3
        and outer.x_min + outer.width * outer.cell_size >= inner.x_min + inner.width * inner.cell_size - 1e-3
        and outer.y_min + outer.height * outer.cell_size
        >= inner.y_min + inner.height * inner.cell_size - 1e-3
    )
