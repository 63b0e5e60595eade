"""Means and maxima over segments of rows: how points become superpoint and pillar features."""

from __future__ import annotations

import os

import torch
from torch import Tensor


def segment_mean(
    values: Tensor, segment_idx: Tensor, num_segments: int, *, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mean of the rows of every segment, without a one-hot matrix.

    Sums and counts never happen in half precision, whatever the input or autocast says: float16 stops counting
    at 2048 and bfloat16 at 256.

    Args:
        values: (N, C) floating point, one row a point.
        segment_idx: (N,) integer, segment of each row, in 0..num_segments-1 where `mask` is True.
        num_segments: S, rows of the result.
        mask: (N,) bool, False for rows that belong to no segment (their value and index are not looked at).

    Returns:
        mean: (S, C) float32 (float64 where `values` is), zero for empty segments. Not re-normalised.
        count: (S,) float32, exact up to 2**24 rows.

    Raises:
        ValueError: shapes that do not fit, an index outside 0..S-1 (not looked for on a GPU, see `check_ids`).

    Source: SLidR (Sautier et al., CVPR 2022), section 3.2, average pooling by superpixel.
    Differs from the paper in: the authors' code divides by count + 1e-6, this divides by the count.
    """
    if values.ndim != 2 or not values.is_floating_point():
        raise ValueError(
            f"segment_mean: values must be (N, C) floating point, got {tuple(values.shape)} {values.dtype}"
        )
    if segment_idx.shape != values.shape[:1] or (mask is not None and mask.shape != segment_idx.shape):
        raise ValueError(
            f"segment_mean: segment_idx and mask must be (N,) with N = {values.shape[0]}, "
            f"got {tuple(segment_idx.shape)} and {None if mask is None else tuple(mask.shape)}"
        )
    check_ids(segment_idx, num_segments, mask, what="segment_mean: segment_idx")
    idx = segment_idx.long()
    values = values.to(accumulation_dtype(values.dtype))
    if mask is not None:
        # where, not a product: a masked row may hold NaN.
        values = torch.where(mask[:, None], values, values.new_zeros(()))
        idx = torch.where(mask, idx, 0)
    total = values.new_zeros(num_segments, values.shape[1]).index_add(0, idx, values)
    count = segment_count(idx, num_segments, mask)
    return total / count.clamp(min=1).to(total.dtype)[:, None], count


def segment_max(values: Tensor, segment_idx: Tensor, num_segments: int) -> Tensor:
    """Maximum of the rows of every segment, channel by channel.

    The gradient of a maximum that several rows share is split evenly among them, so that it does not depend on the
    order of the rows; no sum's order is left open, on any device.

    Args:
        values: (N, C) floating point.
        segment_idx: (N,) integer in 0..num_segments-1.
        num_segments: S, rows of the result.

    Returns:
        (S, C) of the same dtype, zero for empty segments.

    Raises:
        ValueError: shapes that do not fit, an index outside 0..S-1 (not looked for on a GPU, see `check_ids`).
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
    """Rows of every segment: (S,) float32, counted in int64. Rows outside `mask` need an index inside 0..S-1."""
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
