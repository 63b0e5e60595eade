"""Sparse voxel tensors and their three convolutions; the only file that imports spconv.

On CUDA the arithmetic is spconv's (implicit GEMM). On a CPU it is ours (`rulebook`, `gather_matmul`). The
weights are the same parameters in spconv's KRSC layout, (out, kz, ky, kx, in), so a state dict travels
between the two unchanged.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lidardistill.packages import install_command, missing_package
from lidardistill.spans import count_flops, span, spanned
from lidardistill.sparse.gather_matmul import convolution_layer
from lidardistill.sparse.rulebook import Rulebook, Shape, strided_rulebook, submanifold_rulebook, triple


@dataclass(frozen=True)
class SparseTensor:
    """Features on the active voxels of a batch.

    Attributes:
        features: (M, C) floating.
        coords: (M, 4) int32 batch, z, y, x; every row once.
        spatial_shape: (3,) cells z, y, x.
        batch_size: scans, counting those without voxels.
        pairs: index pairs by indice_key, shared by all tensors that descend from one call of `sparse`.
    """

    features: Tensor
    coords: Tensor
    spatial_shape: Shape
    batch_size: int
    pairs: dict[str, Any]

    def with_features(self, features: Tensor) -> SparseTensor:
        """The same voxels with other features."""
        return replace(self, features=features)


@dataclass(frozen=True)
class _Strided:
    """State of a strided convolution that its inverse needs."""

    book: Rulebook
    kernel_size: Shape
    in_coords: Tensor
    in_shape: Shape


def sparse(
    features: Tensor, coords: Tensor, spatial_shape: Shape, batch_size: int, *, check: bool = False
) -> SparseTensor:
    """Check voxels and make a sparse tensor of them.

    Args:
        features: (M, C) floating; M may be 0.
        coords: (M, 4) int32 batch, z, y, x.
        spatial_shape: (3,) cells z, y, x.
        batch_size: scans.
        check: also look at the values of `coords` (on CUDA this waits for the device). spconv accepts voxels
            outside the grid and duplicates silently. Duplicates are found on a CPU even without it.

    Returns:
        A sparse tensor without any index pairs yet.

    Raises:
        ValueError: wrong shape or dtype; with `check` a voxel outside the grid or given twice.
    """
    if features.ndim != 2 or not features.is_floating_point():
        raise ValueError(f"features: expected (M, C) floating, got {tuple(features.shape)} {features.dtype}")
    if coords.dtype != torch.int32 or coords.ndim != 2 or coords.shape[1] != 4:
        raise ValueError(
            f"voxel_coords: expected (M, 4) int32 batch, z, y, x, got {tuple(coords.shape)} {coords.dtype}"
        )
    if coords.shape[0] != features.shape[0]:
        raise ValueError(f"voxel_coords has {coords.shape[0]} rows, features has {features.shape[0]}")
    if len(spatial_shape) != 3 or min(spatial_shape) < 1 or batch_size < 1:
        raise ValueError(
            f"expected three positive spatial_shape and batch_size >= 1, got {tuple(spatial_shape)}, "
            f"{batch_size}"
        )
    shape = (int(spatial_shape[0]), int(spatial_shape[1]), int(spatial_shape[2]))
    if check and coords.shape[0]:
        limits = torch.tensor([batch_size, *shape], device=coords.device)
        outside = ((coords < 0) | (coords >= limits)).any(1)
        if bool(outside.any()):
            row = int(outside.nonzero()[0])
            raise ValueError(
                f"voxel_coords: row {row} is {coords[row].tolist()} (batch, z, y, x), outside batch_size "
                f"{batch_size} "
                f"and spatial_shape {shape}"
            )
        unique, count = coords.unique(dim=0, return_counts=True)
        if unique.shape[0] != coords.shape[0]:
            raise ValueError(
                f"voxel_coords: voxel {unique[count > 1][0].tolist()} (batch, z, y, x) stands in more than "
                "one row; "
                "give every voxel once (lidardistill.geometry.voxelize does)"
            )
    return SparseTensor(features, coords, shape, batch_size, {})


class _SparseConvolution(nn.Module):
    """Base of the three convolutions: parameters, and the call of spconv on CUDA."""

    spconv_name = ""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Shape,
        stride: int | Shape,
        padding: int | Shape,
        bias: bool,
        indice_key: str,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.padding = triple(kernel_size), triple(stride), triple(padding)
        self.indice_key = indice_key
        self.weight = nn.Parameter(torch.empty(out_channels, *self.kernel_size, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()
        self._shadow: list[Any] = []

    def reset_parameters(self) -> None:
        """Uniform in +-1 / sqrt(fan * K^3), as MinkowskiEngine 0.5.4 does.

        Source: `MinkowskiConvolutionBase.reset_parameters`.
        """
        bound = 1 / math.sqrt(self._fan() * math.prod(self.kernel_size))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def _fan(self) -> int:
        """Channels that the bound of the first weights counts."""
        return self.in_channels

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, bias={self.bias is not None}, indice_key={self.indice_key!r}"
        )

    @spanned("convolutions")
    def forward(self, x: SparseTensor) -> SparseTensor:
        """Convolves; rows of the result follow the coordinates of the result."""
        if x.features.shape[1] != self.in_channels:
            raise ValueError(f"expected {self.in_channels} channels, got features {tuple(x.features.shape)}")
        if x.features.is_cuda and x.features.shape[0]:
            return self._with_spconv(x)
        with span("index pairs"):
            book, coords, shape = self._pairs(x)
        weight = self.weight.view(self.out_channels, -1, self.in_channels)
        out = convolution_layer(x.features, weight, self.bias, book)
        return SparseTensor(out, coords, shape, x.batch_size, x.pairs)

    def _pairs(self, x: SparseTensor) -> tuple[Rulebook, Tensor, Shape]:
        """Index pairs, output coordinates and output shape, from the cache where another layer made them."""
        raise NotImplementedError

    def _with_spconv(self, x: SparseTensor) -> SparseTensor:
        """Runs spconv's module of the same name on our own parameters."""
        spconv = import_spconv(cuda=True)
        if not self._shadow:
            settings: dict[str, Any] = {"bias": self.bias is not None, "indice_key": self.indice_key}
            if self.spconv_name != "SparseInverseConv3d":
                settings |= {"stride": self.stride, "padding": self.padding}
            layer = getattr(spconv, self.spconv_name)(
                self.in_channels, self.out_channels, self.kernel_size, **settings
            )
            # In eval mode spconv computes no gradient, which a frozen BatchNorm needs.
            self._shadow.append(layer.train())
        layer, features, dtype = self._shadow[0], x.features, None
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        if torch.is_autocast_enabled("cuda"):
            # Left alone, spconv casts to float16 whatever autocast asks for, and it has no bfloat16 kernels.
            dtype = torch.get_autocast_dtype("cuda")
            compute = torch.float16 if dtype == torch.float16 else torch.float32
            features, weight = features.to(compute), weight.to(compute)
            bias = None if bias is None else bias.to(compute)
        layer._parameters.update(weight=weight, bias=bias)
        with torch.autocast("cuda", enabled=False):
            y = layer(
                spconv.SparseConvTensor(
                    features, x.coords, list(x.spatial_shape), x.batch_size, indice_dict=x.pairs
                )
            )
        count_flops(lambda: self._flops(x, y))
        x.pairs.update(y.indice_dict)
        out = y.features if dtype is None else y.features.to(dtype)
        return SparseTensor(out, y.indices, tuple(y.spatial_shape), x.batch_size, x.pairs)

    def _flops(self, x: SparseTensor, y: Any) -> int:
        """Two for each pair, channel in and channel out.

        spconv does not expose its pairs, so they are computed again.
        """
        on_cpu = SparseTensor(x.features, x.coords.cpu(), x.spatial_shape, x.batch_size, {})
        key = f"pairs of {self.indice_key}"
        if self.spconv_name != "SparseInverseConv3d":
            book = self._pairs(on_cpu)[0]
            x.pairs[key] = book.num_pairs
        return 2 * x.pairs[key] * self.in_channels * self.out_channels


class SubMConv3d(_SparseConvolution):
    """Submanifold convolution: the active voxels stay the same. Stride 1, padded, odd kernel.

    Args:
        in_channels: C.
        out_channels: D.
        kernel_size: odd K >= 3 (for 1 x 1 x 1 use `nn.Linear` on the features).
        bias: add one.
        indice_key: name of the level; layers with one key share their index pairs.

    Raises:
        ValueError: even kernel.
    """

    spconv_name = "SubMConv3d"

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, *, bias: bool = True, indice_key: str
    ) -> None:
        if kernel_size < 3 or kernel_size % 2 == 0:
            raise ValueError(f"SubMConv3d: expected an odd kernel_size >= 3, got {kernel_size}")
        super().__init__(in_channels, out_channels, kernel_size, 1, kernel_size // 2, bias, indice_key)

    def _pairs(self, x: SparseTensor) -> tuple[Rulebook, Tensor, Shape]:
        book = x.pairs.get(self.indice_key)
        if book is None:
            book = submanifold_rulebook(x.coords, x.spatial_shape, self.kernel_size[0])
            x.pairs[self.indice_key] = book
        if (
            not isinstance(book, Rulebook)
            or book.num_source != x.coords.shape[0]
            or book.centre != math.prod(self.kernel_size) // 2
        ):
            raise ValueError(
                f"indice_key {self.indice_key!r} belongs to another level or to another kind of layer"
            )
        return book, x.coords, x.spatial_shape


class SparseConv3d(_SparseConvolution):
    """Strided convolution: an output voxel is active where an input lies under its kernel.

    Args:
        in_channels: C.
        out_channels: D.
        kernel_size: one number, or three z, y, x.
        stride: the same.
        padding: the same, cells of zeros on each side; what lies beyond the last whole step is dropped.
        bias: add one.
        indice_key: unique name; a `SparseInverseConv3d` with the same key leads back.
    """

    spconv_name = "SparseConv3d"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Shape,
        stride: int | Shape = 1,
        padding: int | Shape = 0,
        *,
        bias: bool = True,
        indice_key: str,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias, indice_key)

    def _pairs(self, x: SparseTensor) -> tuple[Rulebook, Tensor, Shape]:
        if self.indice_key in x.pairs:
            raise ValueError(
                f"indice_key {self.indice_key!r} is taken: every strided convolution needs its own"
            )
        book, coords, shape = strided_rulebook(
            x.coords, x.spatial_shape, self.kernel_size, self.stride, self.padding
        )
        x.pairs[self.indice_key] = _Strided(book, self.kernel_size, x.coords, x.spatial_shape)
        return book, coords, shape


class SparseInverseConv3d(_SparseConvolution):
    """Transposed convolution that leads back to the voxels of the `SparseConv3d` with the same indice_key.

    Args:
        in_channels: C.
        out_channels: D.
        kernel_size: K of that convolution.
        bias: add one.
        indice_key: its key.
    """

    spconv_name = "SparseInverseConv3d"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Shape,
        *,
        bias: bool = True,
        indice_key: str,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, 1, 0, bias, indice_key)

    def _fan(self) -> int:
        return self.out_channels  # MinkowskiEngine counts the outputs of a transposed convolution

    def _pairs(self, x: SparseTensor) -> tuple[Rulebook, Tensor, Shape]:
        down = x.pairs.get(self.indice_key)
        if not isinstance(down, _Strided):
            raise ValueError(f"indice_key {self.indice_key!r}: no SparseConv3d with this key ran before")
        if down.book.num_target != x.coords.shape[0] or down.kernel_size != self.kernel_size:
            raise ValueError(
                f"indice_key {self.indice_key!r}: that convolution has kernel {down.kernel_size} and "
                f"{down.book.num_target} outputs, this layer has kernel {self.kernel_size} and "
                f"{x.coords.shape[0]} rows"
            )
        return down.book.inverse, down.in_coords, down.in_shape


def import_spconv(cuda: bool = False) -> Any:
    """spconv.pytorch, imported when it is first needed.

    Raises:
        ImportError: not installed, or a CPU build where CUDA is asked for.
    """
    try:
        spconv = importlib.import_module("spconv.pytorch")
        cpu_only = importlib.import_module("spconv.cppconstants").CPU_ONLY_BUILD
    except ImportError as error:
        raise missing_package("spconv", "sparse convolution on CUDA", error) from error
    if cuda and cpu_only:
        raise ImportError(
            "the installed spconv is the CPU build and cannot run on CUDA: pip uninstall spconv cumm, then "
            f"{install_command('spconv')}"
        )
    return spconv


def spconv_rulebook(
    coords: Tensor,
    spatial_shape: Shape,
    batch_size: int,
    kernel_size: int | Shape,
    stride: int | Shape = 1,
    padding: int | Shape = 0,
    *,
    submanifold: bool = False,
) -> tuple[Rulebook, Tensor]:
    """The pairs as spconv's CPU code finds them: slow twin of `submanifold_rulebook` and `strided_rulebook`.

    Args:
        coords: (M, 4) int32 batch, z, y, x, on the CPU.
        spatial_shape: (3,) cells z, y, x.
        batch_size: scans.
        kernel_size: one number, or three z, y, x.
        stride: the same.
        padding: the same, cells of zeros on each side.
        submanifold: outputs are the inputs.

    Returns:
        The pairs, the centre of a submanifold kernel among them; (M', 4) int32 output coordinates in spconv's
        order.
    """
    import_spconv()
    ops = importlib.import_module("spconv.pytorch.ops")
    native = importlib.import_module("spconv.core").ConvAlgo.Native
    k, s, p = list(triple(kernel_size)), list(triple(stride)), list(triple(padding))
    out, pairs, counts = ops.get_indice_pairs(
        coords, batch_size, list(spatial_shape), native, k, s, p, [1] * 3, [0] * 3, submanifold, False
    )
    counts = counts.tolist()
    if submanifold:
        # spconv counts only half of the kernel: the other half mirrors it, and the centre is every row.
        half = len(counts) // 2
        counts = [*counts[:half], coords.shape[0], *reversed(counts[:half])]
        own = torch.arange(coords.shape[0])
        columns = [
            (own, own) if i == half else (pairs[0, i, :n], pairs[1, i, :n]) for i, n in enumerate(counts)
        ]
    else:
        columns = [(pairs[0, i, :n], pairs[1, i, :n]) for i, n in enumerate(counts)]
    kept = [i for i, n in enumerate(counts) if n]
    source = torch.cat([columns[i][0].to(torch.int32) for i in kept])
    target = torch.cat([columns[i][1].to(torch.int32) for i in kept])
    book = Rulebook(
        source, target, tuple(kept), tuple(counts[i] for i in kept), coords.shape[0], out.shape[0]
    )
    return book, out
