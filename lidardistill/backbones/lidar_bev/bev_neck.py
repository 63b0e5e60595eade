"""SECOND's 2D backbone, and its feature pyramid that merges all stages into one map, for LiDAR encoders.

Parameters are named as in mmdet3d (`blocks.0.3.weight`, `deblocks.1.0.weight`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lidardistill.spans import spanned

BN_EPS, BN_MOMENTUM = 1e-3, 0.01  # SECOND, and everything after it


class BevBackbone(nn.Module):
    """SECOND's 2D backbone: a few stages of 3x3 convolutions, the first of each with a stride.

    Args:
        in_channels: of the map.
        widths: channels of each stage.
        layers: convolutions of each stage behind the first.
        strides: of each stage's first convolution.

    Raises:
        ValueError: lists of different lengths.

    Source: SECOND (Yan et al., Sensors 2018) section 3.3; PointPillars (Lang et al., CVPR 2019) section 2.2.
    """

    def __init__(
        self, in_channels: int, widths: Sequence[int], layers: Sequence[int], strides: Sequence[int]
    ) -> None:
        super().__init__()
        if not len(widths) == len(layers) == len(strides) > 0:
            raise ValueError(
                f"BevBackbone: expected widths, layers and strides of one length, got {tuple(widths)}, "
                f"{tuple(layers)}, {tuple(strides)}"
            )
        self.in_channels, self.out_channels, self.strides = in_channels, tuple(widths), tuple(strides)
        self.blocks = nn.ModuleList()
        width = in_channels
        for out, count, stride in zip(widths, layers, strides, strict=True):
            parts: list[nn.Module] = []
            for layer in range(count + 1):
                step = stride if layer == 0 else 1
                conv = nn.Conv2d(width, out, 3, stride=step, padding=1, bias=False)
                parts += [conv, nn.BatchNorm2d(out, BN_EPS, BN_MOMENTUM), nn.ReLU(inplace=True)]
                width = out
            self.blocks.append(nn.Sequential(*parts))
        _initialize(self)

    @spanned("dense convolutions")
    def forward(self, bev: Tensor) -> list[Tensor]:
        """(B, in_channels, H, W) to one map a stage, (B, widths[i], H / stride, W / stride)."""
        maps = []
        for block in self.blocks:
            bev = block(bev)
            maps.append(bev)
        return maps


class BevNeck(nn.Module):
    """SECOND-FPN: the maps of all stages, scaled to one resolution and concatenated.

    Args:
        in_channels: channels of each map.
        out_channels: channels that each becomes.
        up_strides: factor of each map's resolution: above 1 a transposed convolution, 1 a 1x1 convolution, 1
            / n a convolution with stride n.

    Attributes:
        out_channels: sum of the channels.

    Raises:
        ValueError: lists of different lengths, a factor that is neither n nor 1 / n.

    Source: SECOND (Yan et al., Sensors 2018) section 3.3. 1x1 convolutions at factor 1, as CenterPoint
        configures it.
    """

    def __init__(
        self, in_channels: Sequence[int], out_channels: Sequence[int], up_strides: Sequence[float]
    ) -> None:
        super().__init__()
        if not len(in_channels) == len(out_channels) == len(up_strides) > 0:
            raise ValueError(
                f"BevNeck: expected in_channels, out_channels and up_strides of one length, got "
                f"{tuple(in_channels)}, {tuple(out_channels)}, {tuple(up_strides)}"
            )
        self.out_channels = sum(out_channels)
        self.deblocks = nn.ModuleList()
        for width, out, factor in zip(in_channels, out_channels, up_strides, strict=True):
            step = round(factor if factor >= 1 else 1 / factor)
            if step < 1 or abs((factor if factor >= 1 else 1 / factor) - step) > 1e-6:
                raise ValueError(f"BevNeck: up_strides must be n or 1 / n, got {factor}")
            kind = nn.ConvTranspose2d if factor > 1 else nn.Conv2d
            layer = kind(width, out, step, stride=step, bias=False)
            self.deblocks.append(
                nn.Sequential(layer, nn.BatchNorm2d(out, BN_EPS, BN_MOMENTUM), nn.ReLU(inplace=True))
            )
        _initialize(self)

    @spanned("dense convolutions")
    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps of `BevBackbone` to (B, out_channels, H', W').

        Raises:
            ValueError: the scaled maps differ in size, because the sides of the input are no multiple of the
                strides.
        """
        resampled = [deblock(bev) for deblock, bev in zip(self.deblocks, maps, strict=True)]
        sizes = {tuple(bev.shape[2:]) for bev in resampled}
        if len(sizes) != 1:
            raise ValueError(
                f"BevNeck: maps of {[tuple(bev.shape[2:]) for bev in maps]} cells come to {sorted(sizes)}: "
                f"the sides of the grid must be multiples of all strides together"
            )
        return torch.cat(resampled, dim=1)


def _initialize(module: nn.Module) -> None:
    """Kaiming normal initialisation by fan-out, as mmdet3d initialises both."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
