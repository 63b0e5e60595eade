"""MinkUNet: the sparse U-Net that SLidR and its family pretrain."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lidardistill.backbones.base import Backbone, Features
from lidardistill.backbones.minkunet.config import PRESETS, MinkUNetConfig, MinkUNetLayers
from lidardistill.data.batch import VoxelBatch
from lidardistill.sparse.row_linear import RowLinear
from lidardistill.sparse.sparse import SparseConv3d, SparseInverseConv3d, SparseTensor, SubMConv3d, sparse

LEVELS = 4
SPATIAL_MULTIPLE = 2**LEVELS


class VoxelBatchNorm(nn.BatchNorm1d):
    """BatchNorm over voxels that also accepts zero voxels or one in train mode.

    One voxel has no variance, and torch refuses it. Such a level (a nearly empty scan at stride 16) is
    normalised with the running statistics, which stay unchanged.
    `SyncBatchNorm.convert_sync_batchnorm` replaces it like any BatchNorm; there the count is that of all
    ranks.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.shape[0] < 2:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(input)


class ResidualBlock(nn.Module):
    """conv-BN-ReLU-conv-BN, plus the input (projected where the width changes), ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        indice_key: str,
        bn_momentum: float,
        projection_bn_momentum: float,
        bn_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.conv1 = SubMConv3d(in_channels, out_channels, 3, bias=False, indice_key=indice_key)
        self.norm1 = VoxelBatchNorm(out_channels, bn_eps, bn_momentum)
        self.conv2 = SubMConv3d(out_channels, out_channels, 3, bias=False, indice_key=indice_key)
        self.norm2 = VoxelBatchNorm(out_channels, bn_eps, bn_momentum)
        self.projection: nn.Sequential | None = None
        if in_channels != out_channels:
            linear = RowLinear(in_channels, out_channels, bias=False)
            nn.init.uniform_(linear.weight, -(in_channels**-0.5), in_channels**-0.5)
            self.projection = nn.Sequential(
                linear, VoxelBatchNorm(out_channels, bn_eps, projection_bn_momentum)
            )

    def forward(self, x: SparseTensor) -> SparseTensor:
        y = self.conv1(x)
        y = self.conv2(y.with_features(F.relu(self.norm1(y.features), inplace=True)))
        shortcut = x.features if self.projection is None else self.projection(x.features)
        return y.with_features(F.relu(self.norm2(y.features) + shortcut, inplace=True))


class _Resample(nn.Module):
    """Down- or up-sampling convolution, BN, ReLU."""

    def __init__(self, conv: nn.Module, channels: int, bn_momentum: float) -> None:
        super().__init__()
        self.conv = conv
        self.norm = VoxelBatchNorm(channels, momentum=bn_momentum)

    def forward(self, x: SparseTensor) -> SparseTensor:
        y = self.conv(x)
        return y.with_features(F.relu(self.norm(y.features), inplace=True))


class MinkUNet(Backbone):
    """Sparse residual U-Net with four levels (Res16UNet34C by default), without the final 1x1 convolution.

    Args:
        in_channels: F input features of a voxel (SLidR: 1, the raw intensity).
        config: preset and BatchNorm momenta.
        layers: other sizes than the preset's.

    Attributes:
        out_channels: width of the last decoder level.

    Source: SLidR (Sautier et al., CVPR 2022) section 4.1 and its released code.
    Differs from the paper in: the final 1x1 convolution is `methods.heads.PointHead`; levels with a single
    voxel are normalised by running statistics.

    Raises:
        ValueError: widths or blocks are not eight positive numbers.
    """

    def __init__(
        self, in_channels: int, config: MinkUNetConfig, layers: MinkUNetLayers | None = None
    ) -> None:
        super().__init__()
        stem, widths, blocks = PRESETS[config.preset] if layers is None else layers
        bn_momentum, block_bn_momentum = config.bn_momentum, config.block_bn_momentum
        if (
            len(widths) != 2 * LEVELS
            or len(blocks) != 2 * LEVELS
            or min(*widths, *blocks, stem, in_channels) < 1
        ):
            raise ValueError(
                f"MinkUNet: expected {2 * LEVELS} positive widths and blocks (4 encoder, 4 decoder levels), "
                f"got widths {tuple(widths)}, blocks {tuple(blocks)}, stem {stem}, in_channels {in_channels}"
            )
        self.in_channels, self.out_channels = in_channels, widths[-1]
        self.stem = _Resample(
            SubMConv3d(in_channels, stem, 3, bias=False, indice_key="subm0"), stem, bn_momentum
        )

        def level(width_in: int, width: int, count: int, key: str) -> nn.Sequential:
            return nn.Sequential(
                *(
                    ResidualBlock(width_in if i == 0 else width, width, key, block_bn_momentum, bn_momentum)
                    for i in range(count)
                )
            )

        self.down, self.encoder = nn.ModuleList(), nn.ModuleList()
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        skips = [stem, *widths[: LEVELS - 1]]
        width = stem
        for i in range(LEVELS):
            down = SparseConv3d(width, width, 2, 2, bias=False, indice_key=f"down{i + 1}")
            self.down.append(_Resample(down, width, bn_momentum))
            self.encoder.append(level(width, widths[i], blocks[i], f"subm{i + 1}"))
            width = widths[i]
        for i in range(LEVELS):
            to, up_width = LEVELS - 1 - i, widths[LEVELS + i]
            up = SparseInverseConv3d(width, up_width, 2, bias=False, indice_key=f"down{to + 1}")
            self.up.append(_Resample(up, up_width, bn_momentum))
            self.decoder.append(level(up_width + skips[to], up_width, blocks[LEVELS + i], f"subm{to}"))
            width = up_width

    def forward(self, scans: VoxelBatch) -> Features:
        """Features of a batch of scans; their rows are those of `scans.features`."""
        rows = self.convolve(scans.features, scans.voxel_coords, scans.spatial_shape, scans.batch_size)
        return Features(rows, scans.point2voxel, scans.point_mask)

    def convolve(
        self, features: Tensor, voxel_coords: Tensor, spatial_shape: Sequence[int], batch_size: int
    ) -> Tensor:
        """Features of the voxels of a batch.

        Args:
            features: (M, F) floating, one row a voxel; M may be 0.
            voxel_coords: (M, 4) int32 batch, z, y, x, every voxel once.
            spatial_shape: (3,) cells z, y, x; rounded up to multiples of 16, so that no odd last slice is
                lost.
            batch_size: scans.

        Returns:
            (M, out_channels), rows as given.
        """
        z, y, x_ = (-(-int(size) // SPATIAL_MULTIPLE) * SPATIAL_MULTIPLE for size in spatial_shape)
        x = self.stem(sparse(features, voxel_coords, (z, y, x_), batch_size))
        skips = []
        for down, encoder in zip(self.down, self.encoder, strict=True):
            skips.append(x.features)
            x = encoder(down(x))
        for up, decoder in zip(self.up, self.decoder, strict=True):
            x = up(x)
            x = decoder(x.with_features(torch.cat([x.features, skips.pop()], 1)))
        return x.features
