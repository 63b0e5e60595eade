"""Sparse convolution on the CPU: kernels gather, multiply and add tile by tile, in registers and on several
threads.

One thread writes a voxel, or the gradient of a kernel offset, and adds in a fixed order, so the bits of the
result do not depend on the number of threads.
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

from lidardistill.sparse import _tiles_numba as kernels
from lidardistill.sparse.rulebook import Rulebook

WORK_OF_A_THREAD = 4_000_000
"""Multiplications that are worth starting a thread."""


class TiledGatherMatmul(torch.autograd.Function):
    """`gather_matmul.convolve` in kernels of our own.

    float64 is computed in float64. All other dtypes are computed in float32: inputs are cast up, results are
    cast back. Channels are padded with zeros to whole vectors.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, book: Rulebook) -> Tensor:
        outputs, _, inputs = weight.shape
        ctx.book, ctx.inputs, ctx.outputs, ctx.dtype = book, inputs, outputs, features.dtype
        features, weight = _whole_vectors(features), _whole_vectors(weight, rows=True)
        ctx.save_for_backward(features, weight)
        # As a matrix, since torch has a fast transposition for those alone.
        by_offset = weight.flatten(1).t().contiguous().view(*weight.shape[1:], -1)
        return _narrow(_multiply(features, by_offset, book), outputs).to(ctx.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features, weight = ctx.saved_tensors
        need_features, need_weight, _ = ctx.needs_input_grad
        grad = _whole_vectors(grad)
        grad_features = grad_weight = None
        if need_features:
            found = _multiply(grad, weight.transpose(0, 1).contiguous(), ctx.book.inverse)
            grad_features = _narrow(found, ctx.inputs).to(ctx.dtype)
        if need_weight:
            by_offset = _multiply_transposed(grad, features, weight.shape[1], ctx.book.inverse)
            grad_weight = by_offset.transpose(0, 1)[: ctx.outputs, :, : ctx.inputs].contiguous().to(ctx.dtype)
        return grad_features, grad_weight, None


def _whole_vectors(x: Tensor, rows: bool = False) -> Tensor:
    """Cast to the dtype of the kernels; pad the last axis (with `rows` the first, too) to whole vectors."""
    x = x if x.dtype == torch.float64 else x.float()
    lanes = kernels.VECTOR_BYTES // x.element_size()
    missing = (-x.shape[-1] % lanes, -x.shape[0] % lanes if rows else 0)
    if any(missing):
        x = F.pad(x, (0, missing[0], *[0, 0] * (x.ndim - 2), 0, missing[1]))
    return x.contiguous()


def _narrow(x: Tensor, channels: int) -> Tensor:
    return x if x.shape[1] == channels else x[:, :channels].contiguous()


def _multiply(features: Tensor, by_offset: Tensor, book: Rulebook) -> Tensor:
    """(M', D) sums over pairs (s, t) of features[s] times the (C, D) matrix of their kernel offset."""
    out = features.new_zeros(book.num_target, by_offset.shape[2])
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
    """Number of threads for a number of multiplications, at most `torch.get_num_threads()`."""
    return max(1, min(torch.get_num_threads(), work // WORK_OF_A_THREAD))


def _side_by_side(call: Callable[[int, int], None], limits: Sequence[int]) -> None:
    """Call `call(low, high)` for neighbouring limits: the first pair in this thread, the others in a pool."""
    mine, *others = pairwise(limits)
    # Threads do not survive a fork, so each process has its own pool.
    futures = [_pool(os.getpid()).submit(call, *share) for share in others]
    call(*mine)
    for future in futures:
        future.result()


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="sparse-conv")
