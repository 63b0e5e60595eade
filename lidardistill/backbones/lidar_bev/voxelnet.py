"""VoxelNet: SECOND's sparse encoder, which turns voxels into a bird's-eye-view map at an eighth of their
resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from lidardistill.backbones.minkunet.net import ResidualBlock, VoxelBatchNorm
from lidardistill.sparse.sparse import SparseConv3d, SparseTensor, SubMConv3d, sparse

STAGES = 4
BN_EPS, BN_MOMENTUM = 1e-3, 0.01  # SECOND, and everything after it
_PADDING = (1, 1, (0, 1, 1))
"""Padding z, y, x of the three convolutions with stride 2: the third leaves out z, so that 41 cells become
21, 11, 5.
"""


class ConvNormRelu(nn.Module):
    """Sparse convolution without bias, BatchNorm over voxels, ReLU."""

    def __init__(self, conv: SubMConv3d | SparseConv3d) -> None:
        super().__init__()
        self.conv = conv
        self.norm = VoxelBatchNorm(conv.out_channels, BN_EPS, BN_MOMENTUM)

    def forward(self, x: SparseTensor) -> SparseTensor:
        y = self.conv(x)
        return y.with_features(F.relu(self.norm(y.features), inplace=True))


class _Stage(nn.Module):
    """Down-sampling (but for the first stage), then blocks that leave the voxels as they are."""

    def __init__(self, down: ConvNormRelu | None, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.down = down
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: SparseTensor) -> SparseTensor:
        if self.down is not None:
            x = self.down(x)
        for block in self.blocks:
            x = block(x)
        return x


class VoxelNet(nn.Module):
    """SECOND's sparse encoder: a stem, four stages (three halve the grid), and a convolution that halves z.

    Args:
        in_channels: F features of a voxel, the mean of those of its points.
        grid: (3,) cells z, y, x; CenterPoint counts one more in z than the range holds (41).
        widths: channels of the four stages; the stem has the first.
        out_channels: channels of the last convolution.
        block: "residual": two residual blocks a stage, CenterPoint's configuration of nuScenes and
            OpenPCDet's VoxelResBackBone8x. "plain": two convolutions (one in the first stage), SECOND,
            OpenPCDet's VoxelBackBone8x and SLidR's VoxelNet.

    Attributes:
        out_channels: channels of the map, those of the last convolution times the cells that z has left (2 of
            41).
        stride: 8, voxels a cell of the map along y and x.

    Raises:
        ValueError: not four positive widths, a y or x that 8 does not divide, a z that leaves nothing.

    Source: SECOND (Yan et al., Sensors 2018) section 3.2; CenterPoint (Yin et al., CVPR 2021) for the
        residual blocks.
    Differs from the paper in: submanifold padding is always centred; BatchNorm of a single voxel uses the
        running statistics.
    """

    stride = 8

    def __init__(
        self,
        in_channels: int,
        grid: Sequence[int] = (41, 1024, 1024),
        widths: Sequence[int] = (16, 32, 64, 128),
        out_channels: int = 128,
        block: Literal["residual", "plain"] = "residual",
    ) -> None:
        super().__init__()
        if len(widths) != STAGES or min(*widths, in_channels, out_channels) < 1:
            raise ValueError(
                f"VoxelNet: expected {STAGES} positive widths and positive channels, got {tuple(widths)}, "
                f"in_channels {in_channels}, out_channels {out_channels}"
            )
        if block not in ("residual", "plain"):
            raise ValueError(f"VoxelNet: block must be residual or plain, got {block!r}")
        z, y, x = (int(cells) for cells in grid)
        for padding in (1, 1, 0):
            z = (z + 2 * padding - 3) // 2 + 1
        depth = (z - 3) // 2 + 1
        if min(y, x) < 8 or y % 8 or x % 8 or depth < 1:
            raise ValueError(
                f"VoxelNet: expected a grid whose y and x are multiples of 8 and whose z is at least 25, "
                f"got {tuple(grid)} (z, y, x)"
            )
        self.in_channels, self.grid = in_channels, (int(grid[0]), int(grid[1]), int(grid[2]))
        self.widths, self.block = tuple(widths), block
        self.out_channels, self.bev_shape = out_channels * depth, (y // 8, x // 8)
        self.stem = ConvNormRelu(SubMConv3d(in_channels, widths[0], 3, bias=False, indice_key="subm1"))
        self.stages = nn.ModuleList()
        width = widths[0]
        for i in range(STAGES):
            key, down = f"subm{i + 1}", None
            if i > 0:
                conv = SparseConv3d(
                    width, widths[i], 3, 2, _PADDING[i - 1], bias=False, indice_key=f"down{i + 1}"
                )
                down, width = ConvNormRelu(conv), widths[i]
            blocks: list[nn.Module]
            if block == "residual":
                blocks = [
                    ResidualBlock(width, width, key, BN_MOMENTUM, BN_MOMENTUM, BN_EPS) for _ in range(2)
                ]
            else:
                count = 1 if i == 0 else 2
                blocks = [
                    ConvNormRelu(SubMConv3d(width, width, 3, bias=False, indice_key=key))
                    for _ in range(count)
                ]
            self.stages.append(_Stage(down, blocks))
        last = SparseConv3d(width, out_channels, (3, 1, 1), (2, 1, 1), bias=False, indice_key="out")
        self.out = ConvNormRelu(last)

    def forward(self, features: Tensor, voxel_coords: Tensor, batch_size: int) -> Tensor:
        """
        Args:
            features: (M, F) floating, one row a voxel; M may be 0.
            voxel_coords: (M, 4) int32 batch, z, y, x inside `grid`, every voxel once.
            batch_size: scans, counting those without voxels.

        Returns:
            bev: (B, out_channels, H = y / 8, W = x / 8), channel c of height z at c * depth + z.
        """
        x = self.stem(sparse(features, voxel_coords, self.grid, batch_size))
        for stage in self.stages:
            x = stage(x)
        return to_bev(self.out(x))


def to_bev(x: SparseTensor) -> Tensor:
    """Voxels to a dense map, the heights of a column side by side: (B, C * z, H = y, W = x), zeros elsewhere.

    Every voxel occurs once, so forward and backward sum nothing and are bit-exact.
    """
    depth, height, width = x.spatial_shape
    b, z, row, col = x.coords.long().unbind(1)
    cell = ((b * depth + z) * height + row) * width + col
    flat = x.features.new_zeros(x.batch_size * depth * height * width, x.features.shape[1])
    dense = flat.index_copy(0, cell, x.features).view(x.batch_size, depth, height, width, -1)
    return dense.permute(0, 4, 1, 2, 3).reshape(x.batch_size, -1, height, width)
