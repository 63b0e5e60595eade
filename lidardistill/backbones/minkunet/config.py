"""Config of MinkUNet."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import PositiveFloat

from lidardistill.backbones.config import BackboneConfig
from lidardistill.config.lazy import class_at
from lidardistill.data.config import VoxelConfig

if TYPE_CHECKING:
    from lidardistill.backbones.base import Backbone
    from lidardistill.data.voxel_input import ScanInput


class MinkUNetLayers(NamedTuple):
    """Sizes of a network.

    Attributes:
        stem: channels of the stem.
        widths: channels of the 4 encoder and the 4 decoder levels.
        blocks: residual blocks of the same 8 levels.
    """

    stem: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]


_WIDTHS = (32, 64, 128, 256, 256, 128, 96, 96)

PRESETS = {
    "minkunet34": MinkUNetLayers(32, _WIDTHS, (2, 3, 4, 6, 2, 2, 2, 2)),
    "minkunet18": MinkUNetLayers(32, _WIDTHS, (2,) * 8),
    "minkunet14": MinkUNetLayers(32, _WIDTHS, (1,) * 8),
    "mini": MinkUNetLayers(16, (16, 32, 64, 64, 64, 32, 32, 32), (1,) * 8),
}
"""Sizes by preset. minkunet34 is Res16UNet34C; 18 and 14 are not MinkowskiEngine's lettered 18A and 14A,
whose decoders have other widths."""


class MinkUNetConfig(BackboneConfig):
    """A sparse residual U-Net over voxels of any kind.

    Attributes:
        preset: `minkunet34` is SLidR's Res16UNet34C; 18 and 14 have fewer blocks; `mini` is the network of
            the CPU demo.
        bn_momentum: BatchNorm momentum of stem, down- and up-sampling and projections.
        block_bn_momentum: BatchNorm momentum inside the residual blocks. SLidR's released code does not pass
            its momentum to the blocks, so the paper's networks were trained with 0.05 outside and 0.1 inside.
    """

    makes: ClassVar[Literal["points", "map"]] = "points"

    kind: Literal["minkunet"] = "minkunet"
    preset: Literal["minkunet34", "minkunet18", "minkunet14", "mini"] = "minkunet34"
    bn_momentum: PositiveFloat = 0.05
    block_bn_momentum: PositiveFloat = 0.1

    def scan_input(self, voxels: VoxelConfig) -> ScanInput:
        from lidardistill.data.voxel_input import ScanInput

        return ScanInput(voxels)

    def build(self, voxels: VoxelConfig) -> Backbone:
        net: Backbone = class_at("lidardistill.backbones.minkunet.net:MinkUNet")(
            len(voxels.point_features), self
        )
        return net
