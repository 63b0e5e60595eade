"""Sparse convolution on the CPU from index pairs: gather, one product a kernel offset, sum by voxel.

spconv's own CPU convolution adds in an OpenMP loop that races, and its backward needs CUDA. Ours are right with any
number of threads and give the same bits with the same number of them (a sum is taken by one thread, in one order):

- "torch": all pairs at once, every operation on all of torch's threads;
- "fused": numba kernels that do a tile of pairs at a time inside the cache, for few channels;
- "grouped" (`grouped_matmul`): a kernel offset at a time, for many channels;
- "onednn": the same with a float32 product that is faster on some CPUs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lidardistill.models import _gather_matmul_numba as kernels
from lidardistill.models import onednn
from lidardistill.models.grouped_matmul import DTYPES, GroupedGatherMatmul
from lidardistill.models.rulebook import Csr, Rulebook

IMPLEMENTATIONS = ("fused", "grouped", "onednn", "torch")

FUSED_MAX_WEIGHT = 2048
"""Channels in times channels out up to which the fused kernels beat "grouped" (measured, one thread): larger products are
what BLAS is best at, and a tile that stays in one BLAS thread becomes too short."""

ONEDNN_MIN_WEIGHT = 4096
"""Channels in times channels out from which "onednn" beats the fused kernels, where it is faster at all: 64 to 64."""

FEW_THREADS = 2
"""torch threads up to which the implementations that gather or add on one thread win over "torch"."""

TILE_PRODUCT = 200_000
"""Multiplications of one tile. OpenBLAS starts threads at 262,144, and its threads are hundreds of times slower here."""

TILE_PAIRS = 128


def choose(dtype: torch.dtype, inputs: int, outputs: int) -> str:
    """The fastest implementation on a CPU: by dtype, channels, threads and kind of CPU alone, never by a stopwatch.

    Args:
        dtype: of features and weight.
        inputs: C.
        outputs: D.

    Returns:
        One of `IMPLEMENTATIONS`.
    """
    if dtype not in DTYPES or torch.get_num_threads() > FEW_THREADS:
        return "torch"
    if dtype == torch.float32 and inputs * outputs >= ONEDNN_MIN_WEIGHT and onednn.faster_here():
        return "onednn"
    if dtype != torch.bfloat16 and inputs * outputs <= FUSED_MAX_WEIGHT:
        return "fused"
    return "grouped"


def convolve(features: Tensor, weight: Tensor, book: Rulebook, implementation: str = "auto") -> Tensor:
    """out[t] = sum over pairs (s, t) of kernel offset k of weight[:, k] @ features[s].

    Args:
        features: (M, C) floating rows of the input.
        weight: (D, K^3, C) of the same dtype, the KRSC layout itself.
        book: index pairs.
        implementation: one of `IMPLEMENTATIONS` ("fused": float32 and float64; "grouped": bfloat16 too; "onednn":
            float32), or "auto" for what `choose` says.

    Returns:
        (M', D), differentiable once.
    """
    features, weight = features.contiguous(), weight.contiguous()
    if implementation == "auto":
        implementation = (
            "torch" if features.is_cuda else choose(features.dtype, weight.shape[2], weight.shape[0])
        )
    if implementation == "fused":
        return FusedGatherMatmul.apply(features, weight, book)
    if implementation in ("grouped", "onednn"):
        return GroupedGatherMatmul.apply(features, weight, book, implementation == "onednn")
    return GatherMatmul.apply(features, weight, book)


class FusedGatherMatmul(torch.autograd.Function):
    """`convolve` in numba: a tile of pairs is gathered, multiplied and added without leaving the cache."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, book: Rulebook) -> Tensor:
        outputs, kernel, inputs = weight.shape
        ctx.book = book
        ctx.tile = max(1, min(TILE_PAIRS, TILE_PRODUCT // (inputs * outputs)))
        ctx.save_for_backward(features, weight)
        out = features.new_zeros(book.num_target, outputs)
        transposed = weight.view(outputs, -1).t().contiguous().view(kernel, inputs, outputs)
        kernels.multiply(*_arrays(features, transposed), *_pairs(book), ctx.tile, out.numpy())  # type: ignore[call-arg]
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features, weight = ctx.saved_tensors
        need_features, need_weight, _ = ctx.needs_input_grad
        by_offset = weight.transpose(0, 1).contiguous()
        grad_features = torch.zeros_like(features if need_features else features[:0])
        grad_weight = torch.zeros_like(by_offset if need_weight else by_offset[:0])
        kernels.multiply_backward(  # type: ignore[call-arg]
            *_arrays(features, grad.contiguous(), by_offset),
            *_pairs(ctx.book),
            ctx.tile,
            *_arrays(grad_features, grad_weight),
        )
        return (
            grad_features if need_features else None,
            grad_weight.transpose(0, 1).contiguous() if need_weight else None,
            None,
        )


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().numpy() for tensor in tensors]


def _pairs(book: Rulebook) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    offsets, sizes = book.groups
    return (
        book.source.numpy(),
        book.target.numpy(),
        offsets,
        sizes,
        -1 if book.centre is None else book.centre,
    )


class GatherMatmul(torch.autograd.Function):
    """`convolve` in torch: the twin of the other implementations, and the fast one with many threads.

    The gathered rows are not kept for the gradient: gathering again costs a tenth of the step,
    keeping them several times the memory of all other activations.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, book: Rulebook) -> Tensor:
        ctx.book = book
        ctx.save_for_backward(features, weight)
        outputs, kernel, inputs = weight.shape
        # A copy, since a product with a transposed view is a third slower; as a matrix, since torch has a fast
        # transposition for those alone.
        matrices = weight.view(outputs, -1).t().contiguous().view(kernel, inputs, outputs).unbind(0)
        gathered = features.index_select(0, book.source)
        rows = gathered.new_empty(gathered.shape[0], outputs)
        for k, x, y in zip(book.offsets, gathered.split(book.sizes), rows.split(book.sizes), strict=True):
            torch.mm(x, matrices[k], out=y)
        out = _sum_rows(rows, book.by_target)
        return out if book.centre is None else out.addmm_(features, matrices[book.centre])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features, weight = ctx.saved_tensors
        book: Rulebook = ctx.book
        need_features, need_weight, _ = ctx.needs_input_grad
        grad = grad.contiguous()
        grads = grad.index_select(0, book.target)
        parts = grads.split(book.sizes)
        gathered = features.index_select(0, book.source)
        grad_features = grad_weight = None
        if need_weight:
            grad_weight = torch.zeros_like(weight)
            slices = grad_weight.unbind(1)
            for k, x, g in zip(book.offsets, gathered.split(book.sizes), parts, strict=True):
                torch.mm(g.t(), x, out=slices[k])
            if book.centre is not None:
                torch.mm(grad.t(), features, out=slices[book.centre])
        if need_features:
            matrices = weight.unbind(1)
            for k, g, y in zip(book.offsets, parts, gathered.split(book.sizes), strict=True):
                torch.mm(g, matrices[k], out=y)
            grad_features = _sum_rows(gathered, book.by_source)
            if book.centre is not None:
                grad_features.addmm_(grad, matrices[book.centre])
        return grad_features, grad_weight, None


def _sum_rows(rows: Tensor, csr: Csr) -> Tensor:
    """Sums (P, C) rows by group.

    embedding_bag is torch's only segment sum that is fast on a CPU (a tenth of index_add_'s time); it accumulates half
    precision in float32.
    """
    return torch.embedding_bag(rows, csr.pair, csr.start, False, 0, False, None, True)[0]
