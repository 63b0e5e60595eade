"""Config of VoxelNet and PointPillars."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from lidardistill.backbones.config import BackboneConfig
from lidardistill.data.config import VoxelConfig

if TYPE_CHECKING:
    from lidardistill.backbones.lidar_bev.net import LidarBev
    from lidardistill.data.voxel_input import ScanInput


class LidarBevConfig(BackboneConfig):
    """VoxelNet or PointPillars with SECOND's 2D backbone and neck: a bird's-eye-view map of a fixed range.

    The size of a voxel or pillar, and the range, are those of `voxels`.

    Attributes:
        preset: `voxelnet01`, `voxelnet0075` and `pillars02` are CenterPoint's networks on nuScenes, `second01` has
            SECOND's plain encoder, and the two `mini` are those of the CPU demo.
    """

    makes: ClassVar[Literal["points", "map"]] = "map"

    kind: Literal["lidar_bev"]
    preset: Literal["voxelnet01", "voxelnet0075", "second01", "pillars02", "voxelnet_mini", "pillars_mini"]

    @property
    def is_pillars(self) -> bool:
        return self.preset.startswith("pillars")

    def check(self, voxels: VoxelConfig) -> None:
        """Refuse voxels that are not cartesian, have no range or are rounded, and features in the wrong order."""
        wanted: dict[str, tuple[str, str]] = {
            "kind": (voxels.kind, "cartesian"),
            "rounding": (voxels.rounding, "floor"),
        }
        if not self.is_pillars:
            wanted["reduce"] = (voxels.reduce, "mean")
        for key, (got, expected) in wanted.items():
            if got != expected:
                raise ValueError(f"voxels.{key}: student.preset {self.preset} needs {expected}, got {got}")
        if voxels.point_cloud_range is None:
            raise ValueError(
                f"voxels.point_cloud_range is missing: student.preset {self.preset} makes a map of a fixed range, such "
                "as [-51.2, -51.2, -5.0, 51.2, 51.2, 3.0]"
            )
        if self.is_pillars and voxels.point_features[:3] != ("x", "y", "z"):
            raise ValueError(
                f"voxels.point_features: student.preset {self.preset} needs x, y, z first, got "
                f"{', '.join(voxels.point_features)}"
            )

    def scan_input(self, voxels: VoxelConfig) -> ScanInput:
        from lidardistill.data.voxel_input import ScanInput

        return ScanInput(voxels, align=1, per_point=self.is_pillars)

    def build(self, voxels: VoxelConfig) -> LidarBev:
        from lidardistill.backbones.lidar_bev.net import build_lidar_bev

        return build_lidar_bev(
            self.preset,
            len(voxels.point_features),
            voxel_size=voxels.voxel_size,
            point_cloud_range=voxels.point_cloud_range,
        )
