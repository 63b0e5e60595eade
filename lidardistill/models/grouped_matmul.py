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
from lidardistill.models.rulebook import BLOCK_PAIRS, Rulebook

MIN_PRODUCT = 800_000
"""Multiplications from which oneDNN's float32 product is quicker than torch.mm, one thread."""

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
    make = torch.zeros if book.centre is None else torch.empty
    total = make(book.num_target, width, dtype=total_dtype)
    room = features.new_empty(_room(book), width)
    for k, target, rows, size in _blocks(features, book, width, with_onednn):
        product = _product(rows, matrices[k], room[: rows.shape[0]], with_onednn)[:size]
        if isinstance(target, slice):
            total[target] = product  # the first block of these rows
        else:
            _add_rows(product, target, total)
    return total.to(features.dtype)


def _weight_gradient(
    grad: Tensor, features: Tensor, weight: Tensor, book: Rulebook, with_onednn: bool
) -> Tensor:
    """(D, K^3, C) sum over pairs of the outer products of grad[t] and features[s]."""
    dtype = torch.float32 if weight.dtype == torch.bfloat16 else weight.dtype
    by_offset = weight.new_zeros(weight.shape[1], weight.shape[0], weight.shape[2], dtype=dtype)
    room = grad.new_empty(_room(book), grad.shape[1])
    for k, target, rows, size in _blocks(features, book, grad.shape[1], with_onednn):
        g = room[: rows.shape[0]]
        if isinstance(target, slice):
            g[:size] = grad[target]
        else:
            torch.index_select(grad, 0, target, out=g[:size])
        if size < rows.shape[0]:
            g[size:] = 0
        by_offset[k] += _product(g.t(), rows, None, with_onednn)
    return by_offset.transpose(0, 1).to(weight.dtype).contiguous()


def _blocks(
    features: Tensor, book: Rulebook, width: int, with_onednn: bool
) -> Iterator[tuple[int, Tensor | slice, Tensor, int]]:
    """The blocks of a rulebook, for products of (rows, C) and (C, width).

    Yields:
        Kernel offset; output rows; input rows, gathered into memory that the next ones reuse, with zeros behind them
        where the product is oneDNN's; number of the rows before these zeros. The centre's blocks come first.
    """
    room = features.new_empty(_room(book), features.shape[1])

    def padded(size: int) -> Tensor:
        # In bfloat16 torch.mm is oneDNN's, too.
        by_onednn = features.dtype == torch.bfloat16 or (
            with_onednn and _large(size, features.shape[1], width)
        )
        rows = padded_rows(size) if by_onednn else size
        if rows > size:
            room[size:rows] = 0
        return room[:rows]

    if book.centre is not None:
        for begin in range(0, book.num_target, BLOCK_PAIRS):
            rows = features[begin : begin + BLOCK_PAIRS]
            size = rows.shape[0]
            if size < BLOCK_PAIRS:
                rows = padded(size)
                rows[:size] = features[begin:]
            yield book.centre, slice(begin, begin + size), rows, size
    for block in book.blocks:
        torch.index_select(features, 0, block.source, out=room[: block.size])
        yield block.offset, block.target, padded(block.size), block.size


def padded_rows(size: int) -> int:
    """The rows that a product of `size` rows gets.

    oneDNN compiles a product for every new number of rows, which takes longer than most products (0.2 to 0.4 ms, measured),
    and every scan has other numbers; so there are twenty of them, less than 32 or a quarter too large.
    """
    grain = max(32, (1 << (size - 1).bit_length()) // 8)
    return -(-size // grain) * grain


def _room(book: Rulebook) -> int:
    """Rows of the largest block."""
    return padded_rows(min(BLOCK_PAIRS, max(1, book.num_target, *book.sizes)))


def _large(rows: int, inputs: int, outputs: int) -> bool:
    return rows * inputs * outputs >= MIN_PRODUCT


def _product(x: Tensor, matrix: Tensor, out: Tensor | None, with_onednn: bool) -> Tensor:
    """x @ matrix; oneDNN finds memory of its own."""
    rows, inner = x.shape
    if with_onednn and _large(rows, inner, matrix.shape[1]):
        return onednn.linear(x, matrix.t())
    return torch.mm(x, matrix, out=out)


def _add_rows(rows: Tensor, target: Tensor, total: Tensor) -> None:
    """total[target[i]] += rows[i], one after the other."""
    if rows.dtype == torch.bfloat16:
        kernels.add_bfloat16_rows(rows.view(torch.int16).numpy(), target.numpy(), total.numpy())
    else:
        kernels.add_rows(rows.numpy(), target.numpy(), total.numpy())
