"""`lift_splat` in plain torch: the implementation for GPUs, the twin of the kernels, and Lift-Splat-Shoot's
way.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Elements of the sorted rows alive at once: 32 Mi float32 are 128 MiB.
_ROWS_AT_ONCE = 32 * 2**20


def splat_outer(depth: Tensor, context: Tensor, cell: Tensor, mask: Tensor, num_cells: int) -> Tensor:
    """A row of features for every sample, summed by cell; autograd finds the gradient.

    Args:
        depth: (P, D).
        context: (P, C) of the same dtype.
        cell: (P, D) int32.
        mask: (P, D) bool.
        num_cells: rows of the result.

    Returns:
        (num_cells, C).
    """
    weight = torch.where(mask, depth, 0.0)
    samples = weight[:, :, None] * context[:, None, :]
    index = torch.where(mask, cell, 0).flatten()
    return context.new_zeros(num_cells, context.shape[1]).index_add(0, index, samples.flatten(0, 1))


def splat(depth: Tensor, context: Tensor, cell: Tensor, mask: Tensor, num_cells: int) -> Tensor:
    """The samples sorted by cell, then summed cell by cell, some channels at a time; without a gradient.

    Each cell is summed by one thread in the order of the pixels, so the same bits come every time. Arguments
    and result as in `splat_outer`.
    """
    sample = mask.flatten().nonzero()[:, 0]
    cells, order = cell.flatten().index_select(0, sample).sort(stable=True)
    sample = sample.index_select(0, order)
    weight = depth.flatten().index_select(0, sample)[:, None]
    pixel = torch.div(sample, depth.shape[1], rounding_mode="floor")
    bounds = torch.arange(num_cells + 1, dtype=cells.dtype, device=cells.device)
    lengths = torch.searchsorted(cells, bounds).diff()
    bev = context.new_zeros(num_cells, context.shape[1])
    at_once = max(1, _ROWS_AT_ONCE // max(len(sample), 1))
    for first in range(0, context.shape[1] if len(sample) else 0, at_once):
        channels = slice(first, first + at_once)
        rows = context[:, channels].index_select(0, pixel) * weight
        bev[:, channels] = torch.segment_reduce(rows, "sum", lengths=lengths, initial=0.0, unsafe=True)
    return bev


def splat_backward(
    grad: Tensor, depth: Tensor, context: Tensor, cell: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """The two gathers of the gradient, one depth of all pixels at a time.

    Args:
        grad: (cells, C) of the map.
        depth, context, cell, mask: as in `splat_outer`.

    Returns:
        (P, D) of the depths and (P, C) of the context.
    """
    grad_depth, grad_context = torch.zeros_like(depth), torch.zeros_like(context)
    if len(grad) == 0:
        return grad_depth, grad_context
    for d in range(depth.shape[1]):
        there = mask[:, d]
        rows = grad.index_select(0, cell[:, d])
        grad_depth[:, d] = torch.where(there, (rows * context).sum(1), 0.0)
        grad_context += torch.where(there, depth[:, d], 0.0)[:, None] * rows
    return grad_depth, grad_context
