"""Short ways to backbones, and the voxels that each preset was made for."""

from __future__ import annotations

from typing import Any

from lidardistill.backbones.lidar_bev.config import LidarBevConfig, LidarBevLayers
from lidardistill.backbones.lidar_bev.net import LidarBev
from lidardistill.backbones.minkunet.config import MinkUNetConfig
from lidardistill.backbones.minkunet.net import MinkUNet
from lidardistill.data.config import VoxelConfig

COLUMNS = ("x", "y", "z", "intensity", "time_lag")
_RANGE = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)
_VOXELS: dict[str, tuple[tuple[float, float, float], tuple[float, ...]]] = {
    "voxelnet01": ((0.1, 0.1, 0.2), _RANGE),
    "voxelnet0075": ((0.075, 0.075, 0.2), (-54.0, -54.0, -5.0, 54.0, 54.0, 3.0)),
    "second01": ((0.1, 0.1, 0.2), _RANGE),
    "pillars02": ((0.2, 0.2, 8.0), _RANGE),
    "voxelnet_mini": ((0.2, 0.2, 0.2), _RANGE),
    "pillars_mini": ((0.4, 0.4, 8.0), _RANGE),
}


def map_voxels(preset: str, in_channels: int = 4, **keys: Any) -> VoxelConfig:
    """The voxels of a preset that makes a map; features are the first of `COLUMNS`."""
    size, extent = _VOXELS[preset]
    common = {"voxel_size": size, "point_cloud_range": extent, "point_features": COLUMNS[:in_channels]}
    return VoxelConfig(**{"kind": "cartesian", "reduce": "mean", **common, **keys})


def map_config(preset: str) -> LidarBevConfig:
    return LidarBevConfig(kind="lidar_bev", preset=preset)  # type: ignore[arg-type]


def lidar_bev(preset: str, in_channels: int = 4, *, layers: LidarBevLayers | None = None, **keys: Any) -> LidarBev:
    """VoxelNet or PointPillars; `keys` change its voxels."""
    return LidarBev(map_config(preset), map_voxels(preset, in_channels, **keys), layers)


def minkunet(preset: str, in_channels: int = 1) -> MinkUNet:
    return MinkUNet(in_channels, MinkUNetConfig(preset=preset))  # type: ignore[arg-type]
