"""Config of VoxelNet and PointPillars."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lidardistill.backbones.config import BackboneConfig
from lidardistill.config.lazy import class_at
from lidardistill.data.config import VoxelConfig

if TYPE_CHECKING:
    from lidardistill.backbones.base import Backbone
    from lidardistill.data.voxel_input import ScanInput


@dataclass(frozen=True)
class LidarBevLayers:
    """Layers of a network.

    Attributes:
        encoder: "voxelnet" or "pillars".
        encoder_options: arguments of `VoxelNet` but for `grid`, or of `PillarNet`.
        widths: channels of the 2D backbone's stages.
        layers: convolutions of each stage behind the first.
        strides: of each stage's first convolution.
        neck_widths: output channels of the neck for each stage.
        up_strides: factor of the neck for each stage.
    """

    encoder: Literal["voxelnet", "pillars"]
    encoder_options: dict[str, Any]
    widths: tuple[int, ...]
    layers: tuple[int, ...]
    strides: tuple[int, ...]
    neck_widths: tuple[int, ...]
    up_strides: tuple[float, ...]


_VOXELNET = LidarBevLayers("voxelnet", {}, (128, 256), (5, 5), (1, 2), (256, 256), (1, 2))
_PILLARS = LidarBevLayers("pillars", {}, (64, 128, 256), (3, 5, 5), (2, 2, 2), (128, 128, 128), (0.5, 1, 2))

PRESETS = {
    "voxelnet01": _VOXELNET,
    "voxelnet0075": _VOXELNET,
    "second01": replace(_VOXELNET, encoder_options={"widths": (16, 32, 64, 64), "block": "plain"}),
    "voxelnet_mini": LidarBevLayers(
        "voxelnet",
        {"widths": (8, 16, 32, 32), "out_channels": 32},
        (32, 64),
        (2, 2),
        (1, 2),
        (32, 32),
        (1, 2),
    ),
    "pillars02": _PILLARS,
    "pillars_mini": LidarBevLayers(
        "pillars", {"out_channels": 16}, (16, 32, 64), (1, 2, 2), (2, 2, 2), (32, 32, 32), (0.5, 1, 2)
    ),
}
"""Layers by preset. voxelnet01, voxelnet0075 and pillars02 are CenterPoint's on nuScenes in mmdet3d 1.4, at
voxels of 0.1, 0.075 and 0.2 m; second01 has VoxelBackBone8x for its encoder."""


class LidarBevConfig(BackboneConfig):
    """VoxelNet or PointPillars with SECOND's 2D backbone and neck: a bird's-eye-view map of a fixed range.

    The size of a voxel or pillar, and the range, are those of `voxels`.

    Attributes:
        preset: `voxelnet01`, `voxelnet0075` and `pillars02` are CenterPoint's networks on nuScenes,
            `second01` has SECOND's plain encoder, and both `mini` presets belong to the CPU demo.
    """

    makes: ClassVar[Literal["points", "map"]] = "map"

    kind: Literal["lidar_bev"]
    preset: Literal["voxelnet01", "voxelnet0075", "second01", "pillars02", "voxelnet_mini", "pillars_mini"]

    @property
    def is_pillars(self) -> bool:
        return PRESETS[self.preset].encoder == "pillars"

    def check(self, voxels: VoxelConfig) -> None:
        """Refuse voxels that are not cartesian, have no range or are rounded, and features in the wrong
        order.
        """
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
                f"voxels.point_cloud_range is missing: student.preset {self.preset} makes a map of a fixed "
                f"range, such as [-51.2, -51.2, -5.0, 51.2, 51.2, 3.0]"
            )
        if self.is_pillars and voxels.point_features[:3] != ("x", "y", "z"):
            raise ValueError(
                f"voxels.point_features: student.preset {self.preset} needs x, y, z first, got "
                f"{', '.join(voxels.point_features)}"
            )

    def scan_input(self, voxels: VoxelConfig) -> ScanInput:
        from lidardistill.data.voxel_input import ScanInput

        return ScanInput(voxels, align=1, per_point=self.is_pillars)

    def build(self, voxels: VoxelConfig) -> Backbone:
        net: Backbone = class_at("lidardistill.backbones.lidar_bev.net:LidarBev")(self, voxels)
        return net
