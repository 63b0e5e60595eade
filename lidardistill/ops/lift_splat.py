"""Image features come to lie on the ground, without one row of features for every depth of every pixel.

A pixel p has a weight for each of D depths, a[p, d], and features f[p]. Lift-Splat-Shoot multiplies the
two, D rows of C channels a pixel, and sums the rows by cell. But all rows of a pixel are one row, scaled, so

    bev[cell] = sum over samples (p, d) in the cell of a[p, d] f[p]

is a sparse matrix times the low-resolution features: D scalars a pixel are looked at, and each adds a
multiple of a row that is there already. Depths of a pixel that fall into one cell, one behind the other, add
up before they touch the channels. The gradient is two gathers: da[p, d] = f[p] . dbev[cell], df[p] = sum_d
a[p, d] dbev[cell].
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lidardistill.ops.frustum import FrustumCells
from lidardistill.ops.kernels import lift_splat_numba as kernels
from lidardistill.ops.kernels import lift_splat_torch as twin
from lidardistill.ops.segment import accumulation_dtype, check_ids
from lidardistill.spans import spanned

IMPLEMENTATIONS = ("auto", "numba", "torch", "outer")


@spanned("lift and splat")
def lift_splat(
    depth: Tensor, context: Tensor, places: FrustumCells, num_cells: int, *, implementation: str = "auto"
) -> Tensor:
    """Sum of the context of all pixels in every cell, each weighted with how likely it is there.

    Args:
        depth: (P, D) floating, weight of each depth of each pixel; a distribution where it comes from a
            softmax.
        context: (P, C) floating, features of each pixel. Half precision is summed in float32.
        places: where the samples lie, `frustum_cells`; weights outside the mask are not looked at.
        num_cells: rows of the result, cells of all maps.
        implementation: "numba" (CPU, one thread), "torch" (both), "outer" (both; Lift-Splat-Shoot's own way,
            which makes the (P * D, C) rows: the slow twin), or "auto": numba on a CPU, torch elsewhere. All
            but "outer" are differentiable once, and give the same bits every time on any device.

    Returns:
        (num_cells, C) float32 (float64 where the context is); zero where no sample lies.

    Raises:
        ValueError: shapes that do not fit, a cell outside 0..num_cells-1 (not looked for on a GPU), an
            implementation that is unknown or cannot run there.

    Source: Lift, Splat, Shoot (Philion and Fidler, ECCV 2020), sections 3.1 and 3.2.
    Differs from the paper in: nothing but the order of the sums; the authors sort the rows and take
        differences of their cumulative sum, which loses digits.
    """
    if depth.ndim != 2 or context.ndim != 2 or len(depth) != len(context):
        raise ValueError(
            f"lift_splat: expected depth (P, D) and context (P, C), got {tuple(depth.shape)} and "
            f"{tuple(context.shape)}"
        )
    if places.cell.shape != depth.shape or places.mask.shape != depth.shape:
        raise ValueError(
            f"lift_splat: expected cells and mask of the shape of depth {tuple(depth.shape)}, got "
            f"{tuple(places.cell.shape)} and {tuple(places.mask.shape)}"
        )
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(
            f"lift_splat: implementation must be one of {', '.join(IMPLEMENTATIONS)}, got {implementation!r}"
        )
    if implementation == "auto":
        implementation = "numba" if context.device.type == "cpu" else "torch"
    elif implementation == "numba" and context.device.type != "cpu":
        raise ValueError(
            f"lift_splat: the numba kernels run on a CPU, the context is on {context.device.type}"
        )
    check_ids(places.cell, num_cells, places.mask, what="lift_splat: cell")
    dtype = accumulation_dtype(context.dtype)
    depth, context = depth.to(dtype), context.to(dtype)
    if implementation == "outer":
        return twin.splat_outer(depth, context, *places, num_cells)
    return _LiftSplat.apply(depth, context, *places, num_cells, implementation == "numba")


class _LiftSplat(torch.autograd.Function):
    """Forward and backward of either implementation; what is kept for the gradient are the inputs."""

    @staticmethod
    def forward(
        ctx: Any, depth: Tensor, context: Tensor, cell: Tensor, mask: Tensor, num_cells: int, numba: bool
    ) -> Tensor:
        depth, context, cell, mask = (t.contiguous() for t in (depth, context, cell, mask))
        ctx.save_for_backward(depth, context, cell, mask)
        ctx.numba = numba
        if not numba:
            return twin.splat(depth, context, cell, mask, num_cells)
        bev = context.new_zeros(num_cells, context.shape[1])
        kernels.splat(*_arrays(depth, context, cell, mask, bev))
        return bev

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        depth, context, cell, mask = ctx.saved_tensors
        grad = grad.contiguous()
        if not ctx.numba:
            return *twin.splat_backward(grad, depth, context, cell, mask), None, None, None, None
        grad_depth, grad_context = torch.zeros_like(depth), torch.zeros_like(context)
        kernels.splat_backward(*_arrays(grad, depth, context, cell, mask, grad_depth, grad_context))
        return grad_depth, grad_context, None, None, None, None


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().numpy() for tensor in tensors]
