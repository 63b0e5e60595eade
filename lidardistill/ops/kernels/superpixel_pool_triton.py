"""Triton kernels of `superpixel_pool`, imported only for features on an NVIDIA GPU.

NOT RUN on a GPU so far: they agree with the torch twin in Triton's interpreter and compile for compute
capabilities 8.0 and 9.0.

The direct form: a fine pixel is interpolated in registers, normalised and added to its superpixel, once a
tile and superpixel. So features are read once or twice and nothing of C channels has the fine size.
Arithmetic is float32 whatever the features are. The forward sums are atomic, so their last bits may differ
between runs; the gradient of a cell is summed by one program, in one order.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from lidardistill.ops.bilinear import Axis, first_positions

# Elements (pixels, channels) a program holds: 32 registers a thread with 128 threads.
_TILE_ELEMENTS = 4096


@triton.jit
def _labels(superpixels, mask, at, inside, num_superpixels, MASKED: tl.constexpr):  # type: ignore[no-untyped-def]
    """Superpixel ids of a block of pixels; -1 for pixels without a superpixel or with an id out of range."""
    label = tl.load(superpixels + at, mask=inside, other=-1).to(tl.int32)
    if MASKED:
        inside = inside & (tl.load(mask + at, mask=inside, other=0) != 0)
    return tl.where(inside & (label < num_superpixels), label, -1)


@triton.jit
def _interpolate(  # type: ignore[no-untyped-def]
    image, row_lower, row_upper, row_weight, column_lower, column_upper, column_weight, y, x, inside, width,
    channels, channel,
):  # fmt: skip
    """(pixels, channels) float32 bilinear features of an image (h, w, C) at fine pixels y, x."""
    top = tl.load(row_lower + y, mask=inside, other=0) * width
    bottom = tl.load(row_upper + y, mask=inside, other=0) * width
    s = tl.load(row_weight + y, mask=inside, other=0.0)[:, None]
    left = tl.load(column_lower + x, mask=inside, other=0)
    right = tl.load(column_upper + x, mask=inside, other=0)
    t = tl.load(column_weight + x, mask=inside, other=0.0)[:, None]
    wanted = inside[:, None] & (channel < channels)[None, :]
    column = channel[None, :]
    f00 = tl.load(image + ((top + left) * channels)[:, None] + column, mask=wanted, other=0.0).to(tl.float32)
    f01 = tl.load(image + ((top + right) * channels)[:, None] + column, mask=wanted, other=0.0).to(tl.float32)
    f10 = tl.load(image + ((bottom + left) * channels)[:, None] + column, mask=wanted, other=0.0).to(
        tl.float32
    )
    f11 = tl.load(image + ((bottom + right) * channels)[:, None] + column, mask=wanted, other=0.0).to(
        tl.float32
    )
    return (1.0 - s) * ((1.0 - t) * f00 + t * f01) + s * ((1.0 - t) * f10 + t * f11)


@triton.jit
def _pool(  # type: ignore[no-untyped-def]
    features, superpixels, mask, row_lower, row_upper, row_weight, column_lower, column_upper, column_weight,
    total, count, inverse, fine_height, fine_width, height, width, channels, num_superpixels, shortest,
    MASKED: tl.constexpr, NORMALIZE: tl.constexpr, TILE_Y: tl.constexpr, TILE_X: tl.constexpr,
    BLOCK_C: tl.constexpr,
):  # fmt: skip
    """One tile of pixels: total (V * S, C) += u / |u|, count (V * S,) += 1, inverse (V, H, W) = 1 / |u|."""
    tile, view = tl.program_id(0), tl.program_id(1).to(tl.int64)
    pixel = tl.arange(0, TILE_Y * TILE_X)
    tiles_x = tl.cdiv(fine_width, TILE_X)
    y = tile // tiles_x * TILE_Y + pixel // TILE_X
    x = tile % tiles_x * TILE_X + pixel % TILE_X
    inside = (y < fine_height) & (x < fine_width)
    at = view * fine_height * fine_width + y * fine_width + x
    channel = tl.arange(0, BLOCK_C)
    image = features + view * height * width * channels
    u = _interpolate(
        image, row_lower, row_upper, row_weight, column_lower, column_upper, column_weight, y, x, inside,
        width,
        channels, channel,
    )  # fmt: skip
    if NORMALIZE:
        r = 1.0 / tl.maximum(tl.sqrt(tl.sum(u * u, axis=1)), shortest)
        tl.store(inverse + at, r, mask=inside)
        u = u * r[:, None]
    label = _labels(superpixels, mask, at, inside, num_superpixels, MASKED)
    current = tl.max(label, axis=0)
    while current >= 0:  # a superpixel at a time: a tile meets few
        here = label == current
        row = view * num_superpixels + current
        tl.atomic_add(
            total + row * channels + channel,
            tl.sum(tl.where(here[:, None], u, 0.0), axis=0),
            mask=channel < channels,
        )
        tl.atomic_add(count + row, tl.sum(here.to(tl.float32), axis=0))
        label = tl.where(here, -1, label)
        current = tl.max(label, axis=0)


@triton.jit
def _slope(  # type: ignore[no-untyped-def]
    features, superpixels, mask, row_lower, row_upper, row_weight, column_lower, column_upper, column_weight,
    inverse, grad, slope, fine_height, fine_width, height, width, channels, num_superpixels, longest,
    MASKED: tl.constexpr, TILE_Y: tl.constexpr, TILE_X: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """A tile of fine pixels: slope (V, H, W) = (u . G) / |u|^3, 0 where the length is a constant."""
    tile, view = tl.program_id(0), tl.program_id(1).to(tl.int64)
    pixel = tl.arange(0, TILE_Y * TILE_X)
    tiles_x = tl.cdiv(fine_width, TILE_X)
    y = tile // tiles_x * TILE_Y + pixel // TILE_X
    x = tile % tiles_x * TILE_X + pixel % TILE_X
    inside = (y < fine_height) & (x < fine_width)
    at = view * fine_height * fine_width + y * fine_width + x
    channel = tl.arange(0, BLOCK_C)
    image = features + view * height * width * channels
    u = _interpolate(
        image, row_lower, row_upper, row_weight, column_lower, column_upper, column_weight, y, x, inside,
        width,
        channels, channel,
    )  # fmt: skip
    label = _labels(superpixels, mask, at, inside, num_superpixels, MASKED)
    row = (view * num_superpixels + label) * channels
    wanted = (label >= 0)[:, None] & (channel < channels)[None, :]
    g = tl.load(grad + row[:, None] + channel[None, :], mask=wanted, other=0.0)
    r = tl.load(inverse + at, mask=inside, other=0.0)
    a = tl.where((label >= 0) & (r < longest), r * r * r * tl.sum(u * g, axis=1), 0.0)
    tl.store(slope + at, a, mask=inside)


@triton.jit
def _share(lower, weight, cell, cells):  # type: ignore[no-untyped-def]
    """Weight of a coarse row (or column) in fine ones, of which `lower` and the next have 1 - weight and
    weight.
    """
    return tl.where(lower == cell, 1.0 - weight, tl.where((lower + 1 == cell) & (cell < cells), weight, 0.0))


@triton.jit
def _pool_backward(  # type: ignore[no-untyped-def]
    features, superpixels, mask, row_lower, row_weight, row_first, column_lower, column_weight, column_first,
    inverse, slope, grad, grad_features, fine_height, fine_width, height, width, channels, num_superpixels,
    MASKED: tl.constexpr, NORMALIZE: tl.constexpr, TILE: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """One coarse cell k: grad_features = sum_p w_k G / |u| - sum_m (sum_p w_k w_m slope) f_m over 3 x 3 cells
    m.
    """
    cell, view = tl.program_id(0), tl.program_id(1).to(tl.int64)
    i, j = cell // width, cell % width
    first_y, end_y = tl.load(row_first + tl.maximum(i - 1, 0)), tl.load(row_first + i + 1)
    first_x, end_x = tl.load(column_first + tl.maximum(j - 1, 0)), tl.load(column_first + j + 1)
    channel = tl.arange(0, BLOCK_C)
    wanted = channel < channels
    image = view * height * width * channels
    out = tl.zeros((BLOCK_C,), tl.float32)
    for y0 in range(first_y, end_y, TILE):
        y = y0 + tl.arange(0, TILE)
        in_y = y < end_y
        lower_y = tl.load(row_lower + y, mask=in_y, other=-2)
        s = tl.load(row_weight + y, mask=in_y, other=0.0)
        for x0 in range(first_x, end_x, TILE):
            x = x0 + tl.arange(0, TILE)
            in_x = x < end_x
            lower_x = tl.load(column_lower + x, mask=in_x, other=-2)
            t = tl.load(column_weight + x, mask=in_x, other=0.0)
            inside = in_y[:, None] & in_x[None, :]
            at = view * fine_height * fine_width + y[:, None] * fine_width + x[None, :]
            weight = _share(lower_y, s, i, height)[:, None] * _share(lower_x, t, j, width)[None, :]
            if NORMALIZE:
                a = weight * tl.load(slope + at, mask=inside, other=0.0)
                for m in tl.static_range(9):
                    row, column = i + m // 3 - 1, j + m % 3 - 1
                    shares = (
                        _share(lower_y, s, row, height)[:, None] * _share(lower_x, t, column, width)[None, :]
                    )
                    # Beyond the border the shares are 0, whichever cell is read.
                    row = tl.minimum(tl.maximum(row, 0), height - 1)
                    column = tl.minimum(tl.maximum(column, 0), width - 1)
                    neighbour = image + (row * width + column) * channels + channel
                    f = tl.load(features + neighbour, mask=wanted, other=0.0)
                    out -= tl.sum(tl.sum(a * shares, axis=1), axis=0) * f.to(tl.float32)
                weight = weight * tl.load(inverse + at, mask=inside, other=0.0)
            label = _labels(superpixels, mask, at, inside, num_superpixels, MASKED)
            current = tl.max(tl.max(label, axis=1), axis=0)
            while current >= 0:
                here = label == current
                share = tl.sum(tl.sum(tl.where(here, weight, 0.0), axis=1), axis=0)
                g = tl.load(
                    grad + (view * num_superpixels + current) * channels + channel, mask=wanted, other=0.0
                )
                out += share * g
                label = tl.where(here, -1, label)
                current = tl.max(tl.max(label, axis=1), axis=0)
    at_cell = grad_features + image + cell * channels + channel
    tl.store(at_cell, out.to(grad_features.dtype.element_ty), mask=wanted)


class TritonSuperpixelPool(torch.autograd.Function):
    """The GPU kernels: what they keep for the gradient is one number a fine pixel."""

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
        num_views, channels, height, width = features.shape
        channels_last = features.permute(0, 2, 3, 1).contiguous()
        superpixels = superpixels.contiguous()
        mask = None if mask is None else mask.contiguous().view(torch.uint8)
        axes = [*_int32(rows), *_int32(columns)]
        total = torch.zeros(num_views * num_superpixels, channels, device=features.device)
        count = torch.zeros(num_views * num_superpixels, device=features.device)
        inverse = total.new_empty(superpixels.shape if shortest is not None else 0)
        sizes = (*superpixels.shape[1:], height, width, channels, num_superpixels)
        tile = _tile(channels)
        if superpixels.numel():
            with torch.cuda.device_of(features):
                _pool[_tiles(superpixels, tile)](
                    channels_last, superpixels, mask, *axes, total, count, inverse, *sizes, shortest or 0.0,
                    MASKED=mask is not None, NORMALIZE=shortest is not None, **tile,
                )  # fmt: skip
        ctx.save_for_backward(channels_last, superpixels, mask, inverse, count, *axes)
        ctx.firsts = [first_positions(rows, height).int(), first_positions(columns, width).int()]
        ctx.sizes, ctx.shortest = sizes, shortest
        ctx.mark_non_differentiable(count)
        return total / count.clamp(min=1)[:, None], count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, _grad_count: Tensor) -> tuple[Tensor | None, ...]:
        features, superpixels, mask, inverse, count, *axes = ctx.saved_tensors
        row_lower, _, row_weight, column_lower, _, column_weight = axes
        grad = (grad / count.clamp(min=1)[:, None]).contiguous()
        flags = {"MASKED": mask is not None}
        tile = _tile(features.shape[-1])
        slope, out = torch.empty_like(inverse), torch.empty_like(features)
        num_views, height, width, _ = features.shape
        row_first, column_first = ctx.firsts
        with torch.cuda.device_of(features):
            if ctx.shortest is not None and superpixels.numel():
                longest = 0.999999 / ctx.shortest  # of float32: the inverse of the limit itself is a constant
                _slope[_tiles(superpixels, tile)](
                    features,
                    superpixels,
                    mask,
                    *axes,
                    inverse,
                    grad,
                    slope,
                    *ctx.sizes,
                    longest,
                    **flags,
                    **tile,
                )
            _pool_backward[(height * width, num_views)](
                features, superpixels, mask, row_lower, row_weight, row_first, column_lower, column_weight,
                column_first, inverse, slope, grad, out, *ctx.sizes, NORMALIZE=ctx.shortest is not None,
                TILE=16,
                BLOCK_C=tile["BLOCK_C"], num_warps=1 if tile["BLOCK_C"] <= 256 else 4, **flags,
            )  # fmt: skip
        return (out.permute(0, 3, 1, 2), *[None] * 6)


def _int32(axis: Axis) -> tuple[Tensor, Tensor, Tensor]:
    return axis.lower.int(), axis.upper.int(), axis.weight.float()


def _tile(channels: int) -> dict[str, int]:
    """Fine pixels of a program, fewer for many channels, and channels rounded up to a power of two."""
    block = triton.next_power_of_2(channels)
    side = {1: 1, 2: 1, 4: 2, 8: 2, 16: 4, 32: 4}.get(max(1, _TILE_ELEMENTS // block), 8)
    return {"TILE_Y": side, "TILE_X": side, "BLOCK_C": block}


def _tiles(superpixels: Tensor, tile: dict[str, int]) -> tuple[int, int]:
    num_views, height, width = superpixels.shape
    return triton.cdiv(height, tile["TILE_Y"]) * triton.cdiv(width, tile["TILE_X"]), num_views
