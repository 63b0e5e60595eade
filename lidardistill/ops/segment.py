"""Means and maxima over segments of rows: how points become superpoint and pillar features."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from lidardistill.ops.kernels import segment_numba as kernels
from lidardistill.spans import spanned


@spanned("pooling")
def segment_mean(
    values: Tensor,
    segment_idx: Tensor,
    num_segments: int,
    *,
    mask: Tensor | None = None,
    rows: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean of the rows of every segment, without a one-hot matrix.

    Sums and counts never happen in half precision, whatever the input or autocast says: float16 stops
    counting at 2048 and bfloat16 at 256. On a CPU no row is copied (`segment_mean_torch` is the twin), and
    the sums are the same bits with any number of threads.

    Args:
        values: (M, C) floating point, one row a voxel; without `rows` one a point, M = N.
        segment_idx: (N,) integer, segment of each point, in 0..num_segments-1 where `mask` is True.
        num_segments: S, rows of the result.
        mask: (N,) bool, False for points that belong to no segment (their value and index are ignored).
        rows: (N,) integer, row of each point in `values`, in 0..M-1 where `mask` is True; None: its own.

    Returns:
        mean: (S, C) float32 (float64 where `values` is), zero for empty segments. Not re-normalised.
            Differentiable once.
        count: (S,) float32, exact up to 2**24 rows.

    Raises:
        ValueError: shapes that do not fit, an index outside 0..S-1 (not looked for on a GPU, see
            `check_ids`).

    Source: SLidR (Sautier et al., CVPR 2022), section 3.2, average pooling by superpixel.
    Differs from the paper in: the authors' code divides by count + 1e-6, this divides by the count.
    """
    if values.ndim != 2 or not values.is_floating_point():
        raise ValueError(
            f"segment_mean: values must be (N, C) floating point, got {tuple(values.shape)} {values.dtype}"
        )
    members = values.shape[0] if rows is None else rows.numel()
    if segment_idx.shape != (members,) or any(x is not None and x.shape != (members,) for x in (mask, rows)):
        raise ValueError(
            f"segment_mean: segment_idx, mask and rows must be (N,) with N = {members}, got "
            + ", ".join(str(None if x is None else tuple(x.shape)) for x in (segment_idx, mask, rows))
        )
    check_ids(segment_idx, num_segments, mask, what="segment_mean: segment_idx")
    if rows is not None:
        check_ids(rows, values.shape[0], mask, what="segment_mean: rows")
    values = values.to(accumulation_dtype(values.dtype))
    if values.device.type != "cpu":
        return segment_mean_torch(values, segment_idx, num_segments, mask, rows)
    if rows is None:
        rows = torch.arange(members)
    if mask is None:
        mask = torch.ones(members, dtype=torch.bool)
    mean, count = _SegmentMean.apply(values, rows.long(), segment_idx.long(), mask, num_segments)
    return mean, count


def segment_mean_torch(
    values: Tensor, segment_idx: Tensor, num_segments: int, mask: Tensor | None, rows: Tensor | None
) -> tuple[Tensor, Tensor]:
    """`segment_mean` in torch's own operations, on checked arguments and in the dtype of the sums."""
    idx = segment_idx.long()
    if mask is not None:
        idx = torch.where(mask, idx, 0)
        rows = None if rows is None else torch.where(mask, rows, 0)
    if rows is not None:
        # index_select, not [...]: its gradient adds in one order, and a run repeats bit by bit on several
        # threads.
        values = values.index_select(0, rows.long())
    if mask is not None:
        # where, not a product: a masked row may hold NaN.
        values = torch.where(mask[:, None], values, values.new_zeros(()))
    total = values.new_zeros(num_segments, values.shape[1]).index_add(0, idx, values)
    count = segment_count(idx, num_segments, mask)
    return total / count.clamp(min=1).to(total.dtype)[:, None], count


class _SegmentMean(torch.autograd.Function):
    """`segment_mean` on a CPU, with its gradient."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, rows: Tensor, segments: Tensor, mask: Tensor, num_segments: int
    ) -> tuple[Tensor, Tensor]:
        total = values.new_zeros(num_segments, values.shape[1])
        count = torch.zeros(num_segments, dtype=torch.int64)
        where = [x.contiguous().numpy() for x in (rows, segments, mask)]
        arrays = [values.detach().contiguous().numpy(), *where, total.numpy(), count.numpy()]
        kernels.add_rows(*arrays)
        ctx.where, ctx.shape = where, values.shape
        divisor = count.clamp(min=1).to(total.dtype)[:, None]
        ctx.save_for_backward(divisor)
        found = count.to(torch.float32)
        ctx.mark_non_differentiable(found)
        return total.div_(divisor), found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_mean: Tensor, _: Tensor) -> tuple[Tensor, None, None, None, None]:
        (divisor,) = ctx.saved_tensors
        grad = grad_mean.new_zeros(ctx.shape)
        arrays = [(grad_mean / divisor).contiguous().numpy(), *ctx.where, grad.numpy()]
        kernels.give_back(*arrays)
        return grad, None, None, None, None


@spanned("pooling")
def segment_max(values: Tensor, segment_idx: Tensor, num_segments: int) -> Tensor:
    """Maximum of the rows of every segment, channel by channel.

    The gradient of a maximum that several rows share is split evenly among them, so that it does not depend
    on the order of the rows; no sum's order is left open, on any device.

    Args:
        values: (N, C) floating point.
        segment_idx: (N,) integer in 0..num_segments-1.
        num_segments: S, rows of the result.

    Returns:
        (S, C) of the same dtype, zero for empty segments.

    Raises:
        ValueError: shapes that do not fit, an index outside 0..S-1 (not looked for on a GPU, see
        `check_ids`).
    """
    if values.ndim != 2 or not values.is_floating_point() or segment_idx.shape != values.shape[:1]:
        raise ValueError(
            "segment_max: expected values (N, C) floating point and segment_idx (N,), got "
            f"{tuple(values.shape)} {values.dtype} and {tuple(segment_idx.shape)}"
        )
    check_ids(segment_idx, num_segments, None, what="segment_max: segment_idx")
    idx = segment_idx.long()[:, None].expand_as(values)
    return values.new_zeros(num_segments, values.shape[1]).scatter_reduce(
        0, idx, values, "amax", include_self=False
    )


def segment_count(segment_idx: Tensor, num_segments: int, mask: Tensor | None = None) -> Tensor:
    """Rows of every segment: (S,) float32, counted in int64.

    Rows outside `mask` need an index inside 0..S-1.
    """
    ones = torch.ones_like(segment_idx, dtype=torch.int64) if mask is None else mask.to(torch.int64)
    count = torch.zeros(num_segments, dtype=torch.int64, device=segment_idx.device)
    return count.index_add_(0, segment_idx.long(), ones).to(torch.float32)


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 stays, everything else is summed in float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_ids(ids: Tensor, num_ids: int, mask: Tensor | None, *, what: str) -> None:
    """Refuse ids outside 0..num_ids-1 where the mask is True.

    On a GPU the check would stop the queue of kernels at every step, so it runs there only with
    LIDARDISTILL_DEBUG=1 in the environment; the batch was checked on the CPU when it was collated.

    Raises:
        ValueError: an id outside the range, with the range found.
    """
    if num_ids < 0:
        raise ValueError(f"{what}: the number of ids must not be negative, got {num_ids}")
    if ids.is_cuda and os.environ.get("LIDARDISTILL_DEBUG", "0") in ("", "0"):
        return
    if mask is not None:
        ids = ids[mask]
    if ids.numel() == 0:
        return
    low, high = (int(bound) for bound in torch.aminmax(ids))
    if low < 0 or high >= num_ids:
        raise ValueError(
            f"{what} must lie in 0..{num_ids - 1} where the mask is True, got {low}..{high}: "
            "raise the number of superpixels reserved for a view, or mask the pixels that belong to none"
        )
