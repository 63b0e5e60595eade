"""`superpixel_pool` in plain torch: the twin of the kernels, and what runs on a GPU without Triton.

The mean of a superpixel is a weighted sum of coarse features, mean_s = sum_cells A[s, cell] f[cell]; the
features' gradient through A is the gradient of the normalisation, and autograd finds it. A is dense, so
memory grows with superpixels times cells, not with the fine grid times channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lidardistill.ops.bilinear import Axis
from lidardistill.ops.segment import segment_count

# Elements of A (views, S, h * w) alive at once on a GPU: 64 Mi float32 are 256 MiB. A CPU takes view by view.
_WEIGHTS_AT_ONCE = 64 * 2**20


def superpixel_pool_torch(
    features: Tensor,
    superpixels: Tensor,
    mask: Tensor | None,
    num_superpixels: int,
    rows: Axis,
    columns: Axis,
    shortest: float | None,
) -> tuple[Tensor, Tensor]:
    """Bilinear upsampling, L2 over channels by pixel, mean by superpixel; nothing is looked at for sense.

    Args:
        features: (V, C, h, w) float32 or float64, V >= 1.
        superpixels: (V, H, W) integer in 0..num_superpixels-1 where the mask is True.
        mask: (V, H, W) bool.
        num_superpixels: S >= 1.
        rows: from h to H.
        columns: from w to W.
        shortest: length below which a pixel is divided by this; None: pixels are not normalised.

    Returns:
        (V * S, C) means and (V * S,) float32 pixels.
    """
    at_once = 1
    if features.is_cuda:
        at_once = max(1, _WEIGHTS_AT_ONCE // (num_superpixels * features[0, 0].numel()))
    pooled, counts = [], []
    for first in range(0, features.shape[0], at_once):
        views = slice(first, first + at_once)
        part = _pool(
            features[views],
            superpixels[views],
            None if mask is None else mask[views],
            num_superpixels,
            rows,
            columns,
            shortest,
        )
        pooled.append(part[0])
        counts.append(part[1])
    return torch.cat(pooled), torch.cat(counts)


def _pool(
    features: Tensor,
    superpixels: Tensor,
    mask: Tensor | None,
    num_superpixels: int,
    rows: Axis,
    columns: Axis,
    shortest: float | None,
) -> tuple[Tensor, Tensor]:
    """The same, of as many views as are worked on at once."""
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
    if shortest is not None:
        weights = weights * _inverse_length(features, rows, columns, shortest).flatten(1)[:, None]
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


def _inverse_length(features: Tensor, rows: Axis, columns: Axis, shortest: float) -> Tensor:
    """1 / max(|u|, shortest) for every fine pixel u, from dot products of coarse cells: (views, H, W).

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
    return squared.clamp(min=shortest**2).rsqrt().to(features.dtype)


def _quadratic(own: Tensor, crossed: Tensor, lower: Tensor, upper: Tensor, weight: Tensor) -> Tensor:
    """(1 - t)^2 own[lower] + t^2 own[upper] + t (1 - t) crossed[lower] along the last axis, t the upper
    weight.
    """
    value = (1 - weight) ** 2 * own[..., lower] + weight**2 * own[..., upper]
    if crossed.shape[-1] == 0:
        return value
    return value + weight * (1 - weight) * crossed[..., lower.clamp(max=crossed.shape[-1] - 1)]
