"""From a config to what trains, and to what it reads."""

from __future__ import annotations

from typing import overload

from lidardistill.backbones.lidar_bev.config import LidarBevConfig
from lidardistill.backbones.lidar_bev.net import LidarBev, build_lidar_bev
from lidardistill.backbones.minkunet.config import MinkUNetConfig
from lidardistill.backbones.minkunet.net import PRESETS, MinkUNet
from lidardistill.data.config import VoxelConfig
from lidardistill.data.voxel_input import ScanInput


def build_voxels(config: VoxelConfig, student: MinkUNetConfig | LidarBevConfig | None = None) -> ScanInput:
    """What turns points into the input of a student, by default of a MinkUNet."""
    if not isinstance(student, LidarBevConfig):
        return ScanInput(config)
    return ScanInput(config, align=1, per_point=student.is_pillars)


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
