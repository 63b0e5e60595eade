"""Rows of all ranks on every rank, with gradients: negatives beyond one GPU.

Every rank must call these in the same order, also a rank that has no row, and must run backward through what
it got: the backward pass is a collective too. Where no process group runs, they return their input.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _AllGather(torch.autograd.Function):
    """Concatenate along the first axis forward; sum over the ranks and keep our own rows backward."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.num_rows = tensor.shape[0]
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        first = dist.get_rank() * ctx.num_rows
        return grad[first : first + ctx.num_rows]


def all_gather_with_grad(tensor: Tensor) -> Tensor:
    """Rows of all ranks, in the order of the ranks.

    Args:
        tensor: (N, ...) of the same shape and dtype on every rank.

    Returns:
        (world_size * N, ...). The gradient that reaches a rank's rows is the sum over the losses of all
        ranks.
    """
    if _world_size() == 1:
        return tensor
    return _AllGather.apply(tensor)


def all_gather_ragged(rows: Tensor) -> tuple[Tensor, int]:
    """Rows of all ranks where each rank has another number of them, none included.

    Args:
        rows: (K, D), K different on every rank, D and dtype the same.

    Returns:
        rows_of_all_ranks: (sum of K, D), in the order of the ranks, with gradients as `all_gather_with_grad`.
        offset_of_this_rank: row at which this rank's own rows start.
    """
    if _world_size() == 1:
        return rows, 0
    counts = _gather_counts(rows.shape[0], rows.device)
    offset = sum(counts[: dist.get_rank()])
    longest = max(counts)
    padding = rows.new_zeros(longest - rows.shape[0], *rows.shape[1:])
    padded = all_gather_with_grad(torch.cat([rows, padding]))
    kept = [padded[rank * longest : rank * longest + count] for rank, count in enumerate(counts)]
    return torch.cat(kept), offset


def rank_weight(count: int, total: int) -> float:
    """Factor of a rank's mean over its rows, so that the mean over ranks is the mean over the rows of all
    ranks.

    Data-parallel training averages gradients over ranks; where these have unequal numbers of rows, each
    rank's mean has to count as much as its rows.

    Args:
        count: rows of this rank, may be 0.
        total: rows of all ranks, as `all_gather_ragged` returns them.

    Returns:
        world_size * count / total; 1 without a process group, 0 where nobody has a row.
    """
    return _world_size() * count / total if total else 0.0


def _gather_counts(count: int, device: torch.device) -> list[int]:
    """One integer of every rank. Waits for the device: shapes must be known."""
    mine = torch.tensor([count], dtype=torch.int64, device=device)
    counts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, mine)
    return [int(n) for n in torch.cat(counts).tolist()]


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
