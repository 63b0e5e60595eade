"""Sparse convolution on the CPU from index pairs: gather, one product a kernel offset, sum by voxel.

spconv's own CPU convolution adds in an OpenMP loop that races, and its backward needs CUDA. Ours are right
with any number of threads and give the same bits with the same number of them (a sum is taken by one thread,
in one order):

- "tiled" (`tiled_matmul`): kernels of our own, in which gathered rows and products never become matrices;
- "torch": all pairs at once, in torch's own operations: its twin.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lidardistill.spans import count_flops
from lidardistill.sparse.rulebook import Csr, Rulebook
from lidardistill.sparse.tiled_matmul import TiledGatherMatmul

IMPLEMENTATIONS = ("tiled", "torch")

ON_CPU = "tiled"
"""What "auto" takes on a CPU."""


def convolve(features: Tensor, weight: Tensor, book: Rulebook, implementation: str = "auto") -> Tensor:
    """out[t] = sum over pairs (s, t) of kernel offset k of weight[:, k] @ features[s].

    Args:
        features: (M, C) floating rows of the input.
        weight: (D, K^3, C) of the same dtype, the KRSC layout itself.
        book: index pairs.
        implementation: one of `IMPLEMENTATIONS`, or "auto": `ON_CPU` there, else "torch".

    Returns:
        (M', D), differentiable once. bfloat16 and float16 are summed in float32.
    """
    features, weight = features.contiguous(), weight.contiguous()
    if implementation == "auto":
        implementation = "torch" if features.is_cuda else ON_CPU
    if implementation == "torch":
        return GatherMatmul.apply(features, weight, book)
    count_flops(lambda: 2 * book.num_pairs * weight.shape[0] * weight.shape[2])
    return TiledGatherMatmul.apply(features, weight, book)


def convolution_layer(features: Tensor, weight: Tensor, bias: Tensor | None, book: Rulebook) -> Tensor:
    """`convolve` for a layer: in the dtype of autocast if it is enabled, plus a bias, (D,) or None."""
    kind = features.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        features, weight = features.to(dtype), weight.to(dtype)
    out = convolve(features, weight, book)
    return out if bias is None else out + bias.to(out.dtype)


class GatherMatmul(torch.autograd.Function):
    """`convolve` in torch.

    The gathered rows are not kept for the gradient: gathering again costs a tenth of the step,
    keeping them several times the memory of all other activations.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, book: Rulebook) -> Tensor:
        ctx.book = book
        ctx.save_for_backward(features, weight)
        outputs, kernel, inputs = weight.shape
        # A copy, since a product with a transposed view is a third slower; as a matrix, since torch has a
        # fast transposition for those alone.
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

    embedding_bag is torch's only segment sum that is fast on a CPU (a tenth of index_add_'s time); it
    accumulates half precision in float32.
    """
    return torch.embedding_bag(rows, csr.pair, csr.start, False, 0, False, None, True)[0]
