"""The small layers behind the backbones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lidardistill.backbones.minkunet.net import VoxelBatchNorm
from lidardistill.ops.unit_rows import unit_rows
from lidardistill.spans import spanned
from lidardistill.sparse.row_linear import RowLinear


class PointHead(nn.Module):
    """Linear layer with bias, then unit length: SLidR's final 1x1 convolution and normalisation.

    Differs from the paper in: a zero row stays zero, with zero gradient (the authors' division has no epsilon
    and gives NaN).

    Args:
        in_channels: width of the backbone's features.
        out_channels: width of the embedding.
        normalize: give each row unit length.
    """

    def __init__(self, in_channels: int, out_channels: int, normalize: bool = True) -> None:
        super().__init__()
        self.linear = RowLinear(in_channels, out_channels)
        self.normalize = normalize

    @spanned("heads")
    def forward(self, features: Tensor) -> Tensor:
        """(M, in_channels) to (M, out_channels), float32 also under autocast (float64 stays)."""
        embedding = self.linear(features)
        if embedding.dtype != torch.float64:
            embedding = embedding.float()
        return unit_rows(embedding) if self.normalize else embedding


class ProjectionHead(nn.Module):
    """Linear layer, BatchNorm over rows, ReLU, and a `PointHead`: the projector of contrastive learning.

    Fewer than two rows are normalised with the running statistics.

    Args:
        in_channels: width of the backbone's features.
        hidden: width between the two layers.
        out_channels: width of the embedding.

    Source: SimCLR (Chen et al., ICML 2020), section 4.2; BatchNorm in the projector as in its second version.
    """

    def __init__(self, in_channels: int, hidden: int, out_channels: int) -> None:
        super().__init__()
        self.linear = RowLinear(in_channels, hidden, bias=False)
        self.norm = VoxelBatchNorm(hidden)
        self.head = PointHead(hidden, out_channels)

    @spanned("heads")
    def forward(self, features: Tensor) -> Tensor:
        """(M, in_channels) to (M, out_channels) unit rows, float32 also under autocast (float64 stays)."""
        return self.head(F.relu(self.norm(self.linear(features))))


class ImageHead(nn.Module):
    """1x1 convolution with bias, the only part of SLidR's image branch that trains.

    Args:
        in_channels: width of the teacher's features.
        out_channels: width of the embedding.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=1)

    @spanned("heads")
    def forward(self, maps: Tensor) -> Tensor:
        """(V, in_channels, h, w) to (V, out_channels, h, w)."""
        return self.conv(maps)

    @spanned("heads")
    def rows(self, features: Tensor) -> Tensor:
        """The same layer on (K, in_channels) rows, to (K, out_channels)."""
        return F.linear(features, self.conv.weight[:, :, 0, 0], self.conv.bias)
