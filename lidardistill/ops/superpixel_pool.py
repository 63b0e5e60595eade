"""Mean of upsampled image features over superpixels, without upsampling the features.

SLidR upsamples the teacher's map to the size of the superpixels, normalises every pixel and averages by superpixel.
A bilinear pixel is u = sum of four corners w_c f_c, so the mean of a superpixel is a weighted sum of low-resolution
features, and only its scalar weights need the fine grid:

    mean_s = 1/n_s sum_{p in s} u_p / |u_p| = sum_cells A[s, cell] f[cell]

|u_p|^2 comes from dot products between neighbouring cells (bilinear interpolation along x, then along y, of a
quadratic form), so no array of C channels ever has the fine size. The features' gradient through A is the gradient of
the normalisation; autograd finds it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lidardistill.ops.segment import accumulation_dtype, check_ids, segment_count

# F.normalize's default: the length below which a pixel is divided by this instead of its length.
NORMALIZE_EPS = 1e-12
# Elements of A (views, S, h * w) alive at once on a GPU: 64 Mi float32 are 256 MiB. A CPU takes view by view.
_WEIGHTS_AT_ONCE = 64 * 2**20


def superpixel_pool(
    features: Tensor,
    superpixels: Tensor,
    num_superpixels: int,
    *,
    normalize: bool = True,
    align_corners: bool = True,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Bilinear upsampling to the superpixels' size, L2 over channels by pixel, mean by superpixel.

    Args:
        features: (V, C, h, w) floating point, maps of V views. Half precision is summed in float32.
        superpixels: (V, H, W) integer, id inside the view, in 0..num_superpixels-1 where `mask` is True.
        num_superpixels: S, rows reserved for each view.
        normalize: divide every upsampled pixel by its length (at least 1e-12, as F.normalize does).
        align_corners: as in F.interpolate.
        mask: (V, H, W) bool, False for pixels that belong to no superpixel.

    Returns:
        pooled: (V * S, C) float32 (float64 where `features` is), row view * S + id; zero for empty superpixels.
            Means of unit vectors, not re-normalised.
        count: (V * S,) float32, pixels of each superpixel.

    Raises:
        ValueError: shapes that do not fit, an id outside 0..S-1 (not looked for on a GPU, see `check_ids`).

    Source: SLidR (Sautier et al., CVPR 2022), section 3.2.
    Differs from the paper in: nothing but the order of the sums (1e-6 in float32); the authors' code divides by
    count + 1e-6, this divides by the count.
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

    features = features.to(accumulation_dtype(features.dtype))
    if 0 in (num_views, num_superpixels):
        empty = features.sum() * features.new_zeros(num_views * num_superpixels, channels)
        return empty, empty.new_zeros(num_views * num_superpixels, dtype=torch.float32)
    rows = _axis(height, superpixels.shape[1], align_corners, features.device)
    columns = _axis(width, superpixels.shape[2], align_corners, features.device)
    at_once = 1
    if features.is_cuda:
        at_once = max(1, _WEIGHTS_AT_ONCE // (num_superpixels * height * width))
    pooled, counts = [], []
    for first in range(0, num_views, at_once):
        views = slice(first, first + at_once)
        part = _pool(
            features[views],
            superpixels[views],
            num_superpixels,
            rows,
            columns,
            normalize,
            None if mask is None else mask[views],
        )
        pooled.append(part[0])
        counts.append(part[1])
    return torch.cat(pooled), torch.cat(counts)


def _axis(coarse: int, fine: int, align_corners: bool, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Lower cell, upper cell and weight of the upper cell for every fine position of one axis, as F.interpolate."""
    position = torch.arange(fine, dtype=torch.float64, device=device)
    if align_corners:
        position = position * ((coarse - 1) / max(fine - 1, 1))
    else:
        position = ((position + 0.5) * (coarse / fine) - 0.5).clamp(min=0)
    lower = position.floor().long().clamp(max=coarse - 1)
    upper = (lower + 1).clamp(max=coarse - 1)
    # At the border both corners are the same cell and the weight is free: 0 keeps |u|^2 free of special cases.
    return lower, upper, torch.where(lower < upper, position - lower, 0.0)


def _pool(
    features: Tensor,
    superpixels: Tensor,
    num_superpixels: int,
    rows: tuple[Tensor, Tensor, Tensor],
    columns: tuple[Tensor, Tensor, Tensor],
    normalize: bool,
    mask: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """`superpixel_pool` of as many views as are worked on at once."""
    num_views, _, height, width = features.shape
    cells = height * width
    ids = superpixels.flatten(1).long()
    if mask is not None:
        mask = mask.flatten(1)
        ids = torch.where(mask, ids, 0)
    ids = ids + num_superpixels * torch.arange(num_views, device=ids.device)[:, None]
    count = segment_count(
        ids.flatten(), num_views * num_superpixels, None if mask is None else mask.flatten()
    )

    (top, bottom, down), (left, right, across) = rows, columns
    corner_cells = torch.stack(
        [(row[:, None] * width + column).flatten() for row in (top, bottom) for column in (left, right)]
    )
    corner_weights = torch.stack(
        [(y[:, None] * x).flatten() for y in (1 - down, down) for x in (1 - across, across)]
    )
    weights = corner_weights.to(features.dtype).expand(num_views, 4, -1)
    if normalize:
        weights = weights * _inverse_length(features, rows, columns).flatten(1)[:, None]
    if mask is not None:
        weights = torch.where(mask[:, None], weights, weights.new_zeros(()))
    # A: (views * S, cells). Its entries are sums over pixels, its size does not depend on the fine grid.
    flat = ids[:, None] * cells + corner_cells
    mixing = features.new_zeros(num_views * num_superpixels * cells).index_add_(
        0, flat.flatten(), weights.flatten()
    )
    mixing = mixing.view(num_views, num_superpixels, cells)
    with torch.autocast(features.device.type, enabled=False):
        total = torch.bmm(mixing, features.flatten(2).transpose(1, 2)).flatten(0, 1)
    return total / count.clamp(min=1).to(total.dtype)[:, None], count


def _inverse_length(
    features: Tensor, rows: tuple[Tensor, Tensor, Tensor], columns: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """1 / max(|u|, eps) for every fine pixel u, from dot products of coarse cells: (views, H, W).

    In float64: where neighbouring cells nearly cancel, |u|^2 is a small difference of large numbers.
    """
    (top, bottom, down), (left, right, across) = rows, columns
    exact = features.to(torch.float64)
    upper, lower = exact[:, :, :-1], exact[:, :, 1:]
    # Along x: dots of every coarse row with itself (own) and with the row below it (below), at fine columns.
    own = _quadratic(
        (exact * exact).sum(1), 2 * (exact[..., :-1] * exact[..., 1:]).sum(1), left, right, across
    )
    crossed = upper[..., :-1] * lower[..., 1:] + upper[..., 1:] * lower[..., :-1]
    below = _quadratic((upper * lower).sum(1), crossed.sum(1), left, right, across)
    # Along y: the same formula, the rows being what is interpolated.
    squared = _quadratic(own.mT, 2 * below.mT, top, bottom, down).mT
    return squared.clamp(min=NORMALIZE_EPS**2).rsqrt().to(features.dtype)


def _quadratic(own: Tensor, crossed: Tensor, lower: Tensor, upper: Tensor, weight: Tensor) -> Tensor:
    """(1 - t)^2 own[lower] + t^2 own[upper] + t (1 - t) crossed[lower] along the last axis, t the upper weight."""
    value = (1 - weight) ** 2 * own[..., lower] + weight**2 * own[..., upper]
    if crossed.shape[-1] == 0:
        return value
    return value + weight * (1 - weight) * crossed[..., lower.clamp(max=crossed.shape[-1] - 1)]
