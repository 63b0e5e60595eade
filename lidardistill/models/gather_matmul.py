"""Sparse convolution on the CPU from index pairs: gather, one product a kernel offset, sum by voxel.

spconv's own CPU convolution adds in an OpenMP loop that races, and its backward needs CUDA. Here are two that do not:
plain torch, and numba kernels that do a tile of pairs at a time inside the cache. Both are right with any number of
threads and give the same bits with the same number of them (a sum is taken by one thread, in one order).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lidardistill.models import _gather_matmul_numba as kernels
from lidardistill.models.rulebook import Csr, Rulebook

FUSED_MAX_WEIGHT = 8192
"""Channels in times channels out up to which the fused kernels win (measured, one thread): larger products are what BLAS
is best at, and a tile that stays in one BLAS thread becomes too short."""

FUSED_MAX_THREADS = 2
"""torch threads up to which the fused kernels, which use one, win."""

TILE_PRODUCT = 200_000
"""Multiplications of one tile. OpenBLAS starts threads at 262,144, and its threads are hundreds of times slower here."""

TILE_PAIRS = 128


def convolve(features: Tensor, weight: Tensor, book: Rulebook, implementation: str = "auto") -> Tensor:
    """out[t] = sum over pairs (s, t) of kernel offset k of weight[:, k] @ features[s].

    Args:
        features: (M, C) floating rows of the input.
        weight: (D, K^3, C) of the same dtype, the KRSC layout itself.
        book: index pairs.
        implementation: "fused" (numba; float32 and float64), "torch", or "auto": the faster of the two.

    Returns:
        (M', D), differentiable once.
    """
    if implementation == "auto":
        small = weight.shape[0] * weight.shape[2] <= FUSED_MAX_WEIGHT
        known = features.dtype in (torch.float32, torch.float64) and not features.is_cuda
        few = torch.get_num_threads() <= FUSED_MAX_THREADS
        implementation = "fused" if small and known and few else "torch"
    function = FusedGatherMatmul if implementation == "fused" else GatherMatmul
    return function.apply(features.contiguous(), weight.contiguous(), book)


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
    """`convolve` in torch: the slow twin of the fused kernels for few channels, the fast one for many.

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
