"""Config of MinkUNet."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveFloat

from lidardistill.backbones.config import BackboneConfig
from lidardistill.data.config import VoxelConfig

if TYPE_CHECKING:
    from lidardistill.backbones.minkunet.net import MinkUNet
    from lidardistill.data.voxel_input import ScanInput


class MinkUNetConfig(BackboneConfig):
    """A sparse residual U-Net over voxels of any kind.

    Attributes:
        preset: `minkunet34` is SLidR's Res16UNet34C; 18 and 14 have fewer blocks; `mini` is the network of the CPU demo.
        bn_momentum: BatchNorm momentum of stem, down- and up-sampling and projections.
        block_bn_momentum: BatchNorm momentum inside the residual blocks.
    """

    makes: ClassVar[Literal["points", "map"]] = "points"

    kind: Literal["minkunet"] = "minkunet"
    preset: Literal["minkunet34", "minkunet18", "minkunet14", "mini"] = "minkunet34"
    bn_momentum: PositiveFloat = 0.05
    block_bn_momentum: PositiveFloat = 0.1

    def scan_input(self, voxels: VoxelConfig) -> ScanInput:
        from lidardistill.data.voxel_input import ScanInput

        return ScanInput(voxels)

    def build(self, voxels: VoxelConfig) -> MinkUNet:
        from lidardistill.backbones.minkunet.net import PRESETS, MinkUNet

        return MinkUNet(
            in_channels=len(voxels.point_features),
            bn_momentum=self.bn_momentum,
            block_bn_momentum=self.block_bn_momentum,
            **PRESETS[self.preset],
        )
