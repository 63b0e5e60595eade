"""What is trained, and what teaches it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lidardistill.backbones.lidar_bev.config import LidarBevConfig
from lidardistill.backbones.minkunet.config import MinkUNetConfig
from lidardistill.data.config import VoxelConfig

StudentConfig = Annotated[MinkUNetConfig | LidarBevConfig, Field(discriminator="kind")]


def check_student(student: MinkUNetConfig | LidarBevConfig, voxels: VoxelConfig) -> None:
    """Refuse voxels that a bird's-eye-view backbone cannot read.

    Raises:
        ValueError: voxels that are not cartesian, have no range, are rounded, or do not stand as the preset needs them.
    """
    if isinstance(student, MinkUNetConfig):
        return
    wanted: dict[str, tuple[str, str]] = {
        "kind": (voxels.kind, "cartesian"),
        "rounding": (voxels.rounding, "floor"),
    }
    if not student.is_pillars:
        wanted["reduce"] = (voxels.reduce, "mean")
    for key, (got, expected) in wanted.items():
        if got != expected:
            raise ValueError(f"voxels.{key}: student.preset {student.preset} needs {expected}, got {got}")
    if voxels.point_cloud_range is None:
        raise ValueError(
            f"voxels.point_cloud_range is missing: student.preset {student.preset} makes a map of a fixed range, such as "
            "[-51.2, -51.2, -5.0, 51.2, 51.2, 3.0]"
        )
    if student.is_pillars and voxels.point_features[:3] != ("x", "y", "z"):
        raise ValueError(
            f"voxels.point_features: student.preset {student.preset} needs x, y, z first, got "
            f"{', '.join(voxels.point_features)}"
        )
