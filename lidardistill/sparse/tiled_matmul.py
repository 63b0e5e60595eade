"""Sparse convolution on the CPU by kernels that gather, multiply and add tile by tile, in registers and on several threads.

A voxel is written by one thread, and so is a kernel offset's gradient, in one order: the bits do not depend on the number
of threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lidardistill.sparse import _gather_matmul_numba as kernels
from lidardistill.sparse._register_tiles import HAS_BFLOAT16, VECTOR_BYTES
from lidardistill.sparse.rulebook import Rulebook

_COMPUTED = (torch.float32, torch.float64, *([torch.bfloat16] if HAS_BFLOAT16 else []))

WORK_OF_A_THREAD = 4_000_000
"""Multiplications for which a thread is worth its start."""


class TiledGatherMatmul(torch.autograd.Function):
    """`gather_matmul.convolve` in kernels of our own, in float64 or in float32 as the features are.

    bfloat16 is multiplied as it is where the CPU has an instruction for it, and summed in float32; the weights' gradient, and
    all other dtypes, are float32 throughout. Channels are filled up with zeros to whole vectors.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, book: Rulebook) -> Tensor:
        outputs, _, inputs = weight.shape
        ctx.book, ctx.inputs, ctx.outputs, ctx.dtype = book, inputs, outputs, features.dtype
        features, weight = _whole_vectors(features), _whole_vectors(weight, rows=True)
        ctx.save_for_backward(features, weight)
        # As a matrix, since torch has a fast transposition for those alone.
        factors = _pairs(weight)
        by_offset = factors.flatten(1).t().contiguous().view(*factors.shape[1:], -1)
        return _narrow(_multiply(_pairs(features), by_offset, book), outputs).to(ctx.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features, weight = ctx.saved_tensors
        need_features, need_weight, _ = ctx.needs_input_grad
        grad = _whole_vectors(grad)
        grad_features = grad_weight = None
        if need_features:
            by_offset = weight.transpose(0, 1)
            if weight.dtype == torch.bfloat16:  # its pairs lie along the outputs here
                by_offset = _pairs(by_offset.unflatten(1, (-1, 2)).transpose(2, 3)).squeeze(3)
            found = _multiply(_pairs(grad), by_offset.contiguous(), ctx.book.inverse)
            grad_features = _narrow(found, ctx.inputs).to(ctx.dtype)
        if need_weight:
            grad, features = (x if x.dtype == torch.float64 else x.float() for x in (grad, features))
            by_offset = _multiply_transposed(grad, features, weight.shape[1], ctx.book.inverse)
            grad_weight = by_offset.transpose(0, 1)[: ctx.outputs, :, : ctx.inputs].contiguous().to(ctx.dtype)
        return grad_features, grad_weight, None


def _whole_vectors(x: Tensor, rows: bool = False) -> Tensor:
    """Contiguous, in the dtype that is computed in, the last axis (and with `rows` the first) of whole vectors of sums."""
    x = x if x.dtype in _COMPUTED else x.float()
    lanes = VECTOR_BYTES // max(x.element_size(), 4)
    missing = (-x.shape[-1] % lanes, -x.shape[0] % lanes if rows else 0)
    if any(missing):
        x = F.pad(x, (0, missing[0], *[0, 0] * (x.ndim - 2), 0, missing[1]))
    return x.contiguous()


def _pairs(x: Tensor) -> Tensor:
    """bfloat16 as the kernels take it: two that follow each other as one int32; anything else as it is."""
    return x.contiguous().view(torch.int32) if x.dtype == torch.bfloat16 else x


def _narrow(x: Tensor, channels: int) -> Tensor:
    return x if x.shape[1] == channels else x[:, :channels].contiguous()


def _multiply(features: Tensor, by_offset: Tensor, book: Rulebook) -> Tensor:
    """(M', D) sums over pairs (s, t) of features[s] times the (C, D) matrix of their kernel offset; both may be `_pairs`."""
    dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
    out = torch.zeros(book.num_target, by_offset.shape[2], dtype=dtype)
    arrays = [x.detach().numpy() for x in (features, by_offset, out)]
    table = book.table

    def rows(low: int, high: int) -> None:
        kernels.multiply(*arrays[:2], *table.pairs, low, high, arrays[2])  # type: ignore[call-arg]

    work = len(table.source) * by_offset[0].numel()
    threads = _threads(work) if table.ascending else 1
    _side_by_side(rows, [book.num_target * i // threads for i in range(threads + 1)])
    return out


def _multiply_transposed(features: Tensor, grad: Tensor, kernel: int, book: Rulebook) -> Tensor:
    """(K, C, D) sums over pairs (s, t) of the outer products of features[s] and grad[t]."""
    out = features.new_zeros(kernel, features.shape[1], grad.shape[1])
    arrays = [x.detach().numpy() for x in (features, grad, out)]
    table = book.table

    def groups(first: int, last: int) -> None:
        kernels.multiply_transposed(*arrays[:2], *table.pairs, first, last, arrays[2])  # type: ignore[call-arg]

    threads = _threads(len(table.source) * out[0].numel())
    shares = [len(table.source) * i // threads for i in range(1, threads)]
    _side_by_side(groups, [0, *np.searchsorted(np.cumsum(table.sizes), shares).tolist(), len(table.sizes)])
    return out


def _threads(work: int) -> int:
    """Threads for so many multiplications; torch says how many there may be."""
    return max(1, min(torch.get_num_threads(), work // WORK_OF_A_THREAD))


def _side_by_side(call: Callable[[int, int], None], limits: Sequence[int]) -> None:
    """Call it for what lies between neighbouring limits, the first of it in this thread."""
    mine, *others = pairwise(limits)
    # A pool does not outlive a fork, so each process has its own.
    futures = [_pool(os.getpid()).submit(call, *share) for share in others]
    call(*mine)
    for future in futures:
        future.result()


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="sparse-conv")
