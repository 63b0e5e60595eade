"""Mean of upsampled image features over superpixels, without upsampling the features.

SLidR upsamples the teacher's map to the size of the superpixels, normalises every pixel and averages by
superpixel. A bilinear pixel is u = sum of four corners w_c f_c, so the mean of a superpixel is a weighted sum
of low-resolution features, and only its scalar weights need the fine grid:

    mean_s = 1/n_s sum_{p in s} u_p / |u_p| = sum_cells A[s, cell] f[cell]

|u_p|^2 comes from dot products between neighbouring cells (bilinear interpolation along x, then along y, of a
quadratic form), so no array of C channels ever has the fine size. A CPU runs the numba kernels, an NVIDIA GPU
the Triton ones, and both have a twin in plain torch.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lidardistill.ops.bilinear import Axis, bilinear_axis, first_positions
from lidardistill.ops.kernels import superpixel_pool_numba as kernels
from lidardistill.ops.kernels.superpixel_pool_torch import superpixel_pool_torch
from lidardistill.ops.segment import accumulation_dtype, check_ids
from lidardistill.spans import spanned

NORMALIZE_EPS = 1e-12
"""F.normalize's default: the length below which a pixel is divided by this instead of its length."""

IMPLEMENTATIONS = ("auto", "numba", "triton", "torch")

_log = logging.getLogger(__name__)


@spanned("pooling")
def superpixel_pool(
    features: Tensor,
    superpixels: Tensor,
    num_superpixels: int,
    *,
    normalize: bool = True,
    align_corners: bool = True,
    mask: Tensor | None = None,
    implementation: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Bilinear upsampling to the superpixels' size, L2 over channels by pixel, mean by superpixel.

    Args:
        features: (V, C, h, w) floating point, maps of V views. Half precision is summed in float32.
        superpixels: (V, H, W) integer, id inside the view, in 0..num_superpixels-1 where `mask` is True.
        num_superpixels: S, rows reserved for each view.
        normalize: divide every upsampled pixel by its length (at least 1e-12, as F.normalize does).
        align_corners: as in F.interpolate.
        mask: (V, H, W) bool, False for pixels that belong to no superpixel.
        implementation: "numba" (CPU), "triton" (float32 and half precision on an NVIDIA GPU), "torch" (both),
            or "auto": the kernel where there is one. Kernels are differentiable once; those on the CPU use
            one thread and give the same bits every time.

    Returns:
        pooled: (V * S, C) float32 (float64 where `features` is), row view * S + id; zero for empty
            superpixels. Means of unit vectors, not re-normalised.
        count: (V * S,) float32, pixels of each superpixel.

    Raises:
        ValueError: shapes that do not fit, an id outside 0..S-1 (not looked for on a GPU, see `check_ids`),
            an implementation that is unknown or that cannot run where the features are.

    Source: SLidR (Sautier et al., CVPR 2022), section 3.2.
    Differs from the paper in: nothing but the order of the sums (1e-6 in float32); the authors' code divides
    by count + 1e-6, this divides by the count.
    """
    if features.ndim != 4 or not features.is_floating_point():
        raise ValueError(
            "superpixel_pool: features must be (V, C, h, w) floating point, "
            f"got {tuple(features.shape)} {features.dtype}"
        )
    if superpixels.ndim != 3 or superpixels.shape[0] != features.shape[0]:
        raise ValueError(
            f"superpixel_pool: superpixels must be (V, H, W) with V = {features.shape[0]} views, "
            f"got {tuple(superpixels.shape)}"
        )
    if mask is not None and mask.shape != superpixels.shape:
        raise ValueError(
            f"superpixel_pool: mask must have the shape of superpixels, {tuple(superpixels.shape)}, "
            f"got {tuple(mask.shape)}"
        )
    num_views, channels, height, width = features.shape
    if num_views and 0 in (height, width):
        raise ValueError(f"superpixel_pool: the feature maps are empty, got {tuple(features.shape)}")
    check_ids(superpixels, num_superpixels, mask, what="superpixel_pool: superpixels")
    chosen = _choose(implementation, features)

    dtype = accumulation_dtype(features.dtype)
    if 0 in (num_views, num_superpixels):
        empty = features.to(dtype).sum() * torch.zeros(
            num_views * num_superpixels, channels, dtype=dtype, device=features.device
        )
        return empty, empty.new_zeros(num_views * num_superpixels, dtype=torch.float32)
    rows = bilinear_axis(height, superpixels.shape[1], align_corners, features.device)
    columns = bilinear_axis(width, superpixels.shape[2], align_corners, features.device)
    shortest = NORMALIZE_EPS if normalize else None
    arguments = (superpixels, mask, num_superpixels, rows, columns, shortest)
    if chosen == "numba":
        return NumbaSuperpixelPool.apply(features.to(dtype), *arguments)
    if chosen == "triton":
        from lidardistill.ops.kernels.superpixel_pool_triton import TritonSuperpixelPool

        return TritonSuperpixelPool.apply(features, *arguments)
    return superpixel_pool_torch(features.to(dtype), *arguments)


def _choose(implementation: str, features: Tensor) -> str:
    """The implementation to run."""
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(
            f"superpixel_pool: implementation must be one of {', '.join(IMPLEMENTATIONS)}, got "
            f"{implementation!r}"
        )
    device, dtype = features.device.type, features.dtype
    if implementation == "numba" and device != "cpu":
        raise ValueError(f"superpixel_pool: the numba kernels run on a CPU, the features are on {device}")
    if implementation == "triton" and dtype == torch.float64:
        raise ValueError("superpixel_pool: the Triton kernels sum in float32, the features are float64")
    if implementation != "auto":
        return implementation
    if device == "cpu":
        return "numba"
    return "triton" if device == "cuda" and dtype != torch.float64 and _triton_runs() else "torch"


@functools.cache
def _triton_runs() -> bool:
    """Whether Triton can pool one pixel here; tried once, so that what is missing is said once.

    Triton comes with torch on Linux, but it also needs a C compiler, which a slim image has not.
    """
    try:
        from lidardistill.ops.kernels.superpixel_pool_triton import TritonSuperpixelPool

        one = torch.ones(1, 1, 1, 1, device="cuda")
        axis = bilinear_axis(1, 1, True, one.device)
        TritonSuperpixelPool.apply(one, one[0].int() - 1, None, 1, axis, axis, NORMALIZE_EPS)
    except (
        Exception
    ) as error:  # an import, a compiler or a driver: whatever it is, the torch twin does not need it
        reason = str(error).strip().splitlines() or [type(error).__name__]
        _log.warning("superpixel_pool runs in plain torch, slower: Triton does not work here (%s)", reason[0])
        return False
    return True


class NumbaSuperpixelPool(torch.autograd.Function):
    """The CPU kernels: what they keep for the gradient is one number a fine pixel."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        superpixels: Tensor,
        mask: Tensor | None,
        num_superpixels: int,
        rows: Axis,
        columns: Axis,
        shortest: float | None,
    ) -> tuple[Tensor, Tensor]:
        features = features.contiguous()
        num_views, channels, height, width = features.shape
        superpixels = superpixels.to(torch.int32).contiguous()
        mask = torch.empty(0, 0, 0, dtype=torch.bool) if mask is None else mask.contiguous()
        row_first, column_first = first_positions(rows, height), first_positions(columns, width)
        inverse = features.new_empty(superpixels.shape if shortest is not None else (0, 0, 0))
        if shortest is not None:
            kernels.invert_lengths(  # type: ignore[call-arg]
                *_arrays(features, row_first, rows.weight, *columns), shortest, inverse.numpy()
            )
        pooled = features.new_empty(num_views, num_superpixels, channels)
        count = torch.empty(num_views, num_superpixels)
        axes = (row_first, rows.weight, column_first, columns.weight)
        kernels.pool(*_arrays(features, superpixels, mask, *axes, inverse, pooled, count))
        count = count.flatten()
        ctx.save_for_backward(features, superpixels, mask, *axes, inverse, count)
        ctx.longest = np.inf if shortest is None else inverse.new_tensor(1 / shortest).item()
        ctx.mark_non_differentiable(count)
        return pooled.flatten(0, 1), count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, _grad_count: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, count = ctx.saved_tensors
        grad = grad / count.clamp(min=1).to(grad.dtype)[:, None]
        grad_features = torch.empty_like(inputs[0])
        kernels.pool_backward(  # type: ignore[call-arg]
            *_arrays(*inputs), ctx.longest, *_arrays(grad.contiguous(), grad_features)
        )
        return (grad_features, *[None] * 6)


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().numpy() for tensor in tensors]
