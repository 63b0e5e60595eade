"""Sparse convolution one kernel offset at a time: gather, multiply, and add the rows while they are in the cache.

It holds one group of rows in memory where `gather_matmul.GatherMatmul` holds all; the rows are added by one thread, in
one order and in float32 (float64 for float64), so a result has the same bits every time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lidardistill.models import _gather_matmul_numba as kernels
from lidardistill.models import onednn
from lidardistill.models.rulebook import Rulebook

DTYPES = (torch.float32, torch.float64, torch.bfloat16)


class GroupedGatherMatmul(torch.autograd.Function):
    """`gather_matmul.convolve` group by group, with torch.mm or with `onednn.linear` (float32 only)."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, book: Rulebook, with_onednn: bool) -> Tensor:
        ctx.book, ctx.with_onednn = book, with_onednn
        ctx.save_for_backward(features, weight)
        matrices = [matrix.t() for matrix in _by_offset(weight)]
        return _gather_multiply_add(features, matrices, book, with_onednn)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        features, weight = ctx.saved_tensors
        need_features, need_weight, *_ = ctx.needs_input_grad
        grad = grad.contiguous()
        grad_features = grad_weight = None
        if need_features:
            grad_features = _gather_multiply_add(grad, _by_offset(weight), ctx.book.inverse, ctx.with_onednn)
        if need_weight:
            grad_weight = _weight_gradient(grad, features, weight, ctx.book, ctx.with_onednn)
        return grad_features, grad_weight, None, None


def _by_offset(weight: Tensor) -> list[Tensor]:
    """A dense (D, C) matrix for each kernel offset; BLAS takes it and its transpose at the same speed."""
    return list(weight.transpose(0, 1).contiguous().unbind(0))


def _gather_multiply_add(
    features: Tensor, matrices: list[Tensor], book: Rulebook, with_onednn: bool
) -> Tensor:
    """(M', D) sums over pairs (s, t) of features[s] times the (C, D) matrix of their kernel offset."""
    total_dtype = torch.float32 if features.dtype == torch.bfloat16 else features.dtype
    width = matrices[0].shape[1]
    room = features.new_empty(max(book.sizes, default=0), width)
    if book.centre is None:
        total = torch.zeros(book.num_target, width, dtype=total_dtype)
    else:
        total = _product(features, matrices[book.centre], None, with_onednn).to(total_dtype)
    for k, target, rows in _gathered(features, book):
        _add_rows(_product(rows, matrices[k], room[: len(rows)], with_onednn), target, total)
    return total.to(features.dtype)


def _weight_gradient(
    grad: Tensor, features: Tensor, weight: Tensor, book: Rulebook, with_onednn: bool
) -> Tensor:
    """(D, K^3, C) sum over pairs of the outer products of grad[t] and features[s]."""
    by_offset = weight.new_zeros(weight.shape[1], weight.shape[0], weight.shape[2])
    if book.centre is not None:
        _outer(grad, features, by_offset[book.centre], with_onednn)
    room = grad.new_empty(max(book.sizes, default=0), grad.shape[1])
    for k, target, rows in _gathered(features, book):
        g = torch.index_select(grad, 0, target, out=room[: len(rows)])
        _outer(g, rows, by_offset[k], with_onednn)
    return by_offset.transpose(0, 1).contiguous()


def _gathered(features: Tensor, book: Rulebook) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Of each group: kernel offset, output rows, and the input rows gathered into memory that the next one reuses."""
    room = features.new_empty(max(book.sizes, default=0), features.shape[1])
    groups = zip(book.offsets, book.source.split(book.sizes), book.target.split(book.sizes), strict=True)
    for k, source, target in groups:
        yield k, target, torch.index_select(features, 0, source, out=room[: len(source)])


def _product(x: Tensor, matrix: Tensor, out: Tensor | None, with_onednn: bool) -> Tensor:
    """x @ matrix; oneDNN finds memory of its own."""
    return onednn.linear(x, matrix.t()) if with_onednn and len(x) else torch.mm(x, matrix, out=out)


def _outer(grad: Tensor, x: Tensor, out: Tensor, with_onednn: bool) -> None:
    """out = grad^T @ x."""
    if with_onednn and len(x):
        out.copy_(onednn.linear(grad.t(), x.t()))
    else:
        torch.mm(grad.t(), x, out=out)


def _add_rows(rows: Tensor, target: Tensor, total: Tensor) -> None:
    """total[target[i]] += rows[i], one after the other."""
    if rows.dtype == torch.bfloat16:
        kernels.add_bfloat16_rows(rows.view(torch.int16).numpy(), target.numpy(), total.numpy())
    else:
        kernels.add_rows(rows.numpy(), target.numpy(), total.numpy())
