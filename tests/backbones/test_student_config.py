"""A bird's-eye-view backbone asks for voxels that it can read."""

from __future__ import annotations

import pytest

from lidardistill.backbones.lidar_bev.config import LidarBevConfig
from lidardistill.backbones.minkunet.config import MinkUNetConfig
from lidardistill.data.config import VoxelConfig

RANGE = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)
VOXELS = VoxelConfig(
    kind="cartesian",
    voxel_size=(0.2, 0.2, 0.2),
    point_cloud_range=RANGE,
    point_features=("x", "y", "z", "intensity"),
    reduce="mean",
)


@pytest.mark.parametrize("preset", ["voxelnet_mini", "pillars_mini"])
def test_what_suits(preset: str) -> None:
    LidarBevConfig(kind="lidar_bev", preset=preset).check(VOXELS)
    MinkUNetConfig().check(VoxelConfig())


@pytest.mark.parametrize(
    ("preset", "change", "message"),
    [
        ("voxelnet_mini", {"kind": "cylindrical"}, r"voxels\.kind: .*voxelnet_mini needs cartesian, got cyl"),
        ("voxelnet_mini", {"rounding": "round"}, r"voxels\.rounding: .*needs floor, got round"),
        ("voxelnet_mini", {"reduce": "first"}, r"voxels\.reduce: .*needs mean, got first"),
        ("voxelnet_mini", {"point_cloud_range": None}, r"voxels\.point_cloud_range is missing"),
        (
            "pillars_mini",
            {"point_features": ("intensity",)},
            r"pillars_mini needs x, y, z first, got intensity",
        ),
    ],
)
def test_what_does_not(preset: str, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LidarBevConfig(kind="lidar_bev", preset=preset).check(VOXELS.model_copy(update=change))
