"""Sparse convolution on the CPU from index pairs: gather, one product a kernel offset, sum by voxel.

spconv's own CPU convolution adds in an OpenMP loop that races, and its backward needs CUDA; this is plain torch, right
with any number of threads and the same bits with the same number of them (a sum is taken by one thread, in one order).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lidardistill.models.rulebook import Csr, Rulebook


class GatherMatmul(torch.autograd.Function):
    """out[t] = sum over pairs (s, t) of kernel offset k of weight[:, k] @ x[s].

    Once differentiable. The gathered rows are not kept for the gradient: gathering again costs a tenth of the step,
    keeping them several times the memory of all other activations.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, book: Rulebook) -> Tensor:
        """
        Args:
            ctx: torch's.
            features: (M, C) rows of the input.
            weight: (D, K^3, C) contiguous, the KRSC layout itself.
            book: index pairs.

        Returns:
            (M', D).
        """
        ctx.book = book
        ctx.save_for_backward(features, weight)
        outputs, kernel, inputs = weight.shape
        # A copy, since a product with a transposed view is a third slower; as a matrix, since torch has a fast
        # transposition for those alone.
        kernels = weight.view(outputs, -1).t().contiguous().view(kernel, inputs, outputs).unbind(0)
        gathered = features.index_select(0, book.source)
        rows = gathered.new_empty(gathered.shape[0], outputs)
        for k, x, y in zip(book.offsets, gathered.split(book.sizes), rows.split(book.sizes), strict=True):
            torch.mm(x, kernels[k], out=y)
        out = _sum_rows(rows, book.by_target)
        return out if book.centre is None else out.addmm_(features, kernels[book.centre])

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
            kernels = weight.unbind(1)
            for k, g, y in zip(book.offsets, parts, gathered.split(book.sizes), strict=True):
                torch.mm(g, kernels[k], out=y)
            grad_features = _sum_rows(gathered, book.by_source)
            if book.centre is not None:
                grad_features.addmm_(grad, kernels[book.centre])
        return grad_features, grad_weight, None


def _sum_rows(rows: Tensor, csr: Csr) -> Tensor:
    """Sums (P, C) rows by group.

    embedding_bag is torch's only segment sum that is fast on a CPU (a tenth of index_add_'s time); it accumulates half
    precision in float32.
    """
    return torch.embedding_bag(rows, csr.pair, csr.start, False, 0, False, None, True)[0]
