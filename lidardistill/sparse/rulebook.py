"""Index pairs of a sparse convolution on the CPU: input voxel, output voxel, kernel offset.

A voxel is one 64-bit key. Keys are sorted once; two sorted lists are walked in parallel to find all
neighbours. This is an order of magnitude faster than the index pairs of spconv's CPU build and needs no
spconv. `sparse.spconv_rulebook` is the slow twin that the tests compare with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lidardistill.sparse import _rulebook_numba as kernels

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Csr:
    """Rows of a pair list grouped by a voxel.

    Attributes:
        pair: (P,) int32 position in the pair list, grouped by voxel, ascending inside a group.
        start: (num_rows + 1,) int32, group r is `pair[start[r]:start[r + 1]]`.
    """

    pair: Tensor
    start: Tensor


class PairTable(NamedTuple):
    """All pairs of a rulebook, the centre's among them, for kernels.

    Attributes:
        source: (P,) int32.
        target: (P,) int32.
        offsets: (G,) int64 kernel offset of each group.
        sizes: (G,) int64 pairs of each group.
        ascending: the targets of every group ascend.
    """

    source: np.ndarray
    target: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    ascending: bool

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self[:4]


@dataclass(frozen=True)
class Rulebook:
    """Index pairs of one sparse convolution, grouped by kernel offset.

    The kernel offset of axis positions (kz, ky, kx) is `(kz * Ky + ky) * Kx + kx`, the order of spconv's KRSC
    weights.

    Attributes:
        source: (P,) int32 row among the inputs, grouped by kernel offset.
        target: (P,) int32 row among the outputs.
        offsets: kernel offset of each group.
        sizes: pairs of each group, none of them 0; they sum to P.
        num_source: rows of the input.
        num_target: rows of the output.
        centre: kernel offset that maps every row onto itself and is not listed in the pairs (submanifold), or
        None.
    """

    source: Tensor
    target: Tensor
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    num_source: int
    num_target: int
    centre: int | None = None

    @property
    def num_pairs(self) -> int:
        """Pairs of all kernel offsets, the centre's among them."""
        return sum(self.sizes) + (0 if self.centre is None else self.num_source)

    @cached_property
    def table(self) -> PairTable:
        """The pairs as arrays; the centre's come first."""
        own, first = (0, ()) if self.centre is None else (self.num_source, (self.centre,))
        sizes = np.array([*[own] * len(first), *self.sizes], np.int64)
        source, target = np.empty((2, own + len(self.source)), np.int32)
        ascending = kernels.list_pairs(own, sizes, self.source.numpy(), self.target.numpy(), source, target)
        return PairTable(source, target, np.array([*first, *self.offsets], np.int64), sizes, ascending)

    @cached_property
    def by_target(self) -> Csr:
        """Pairs grouped by output row."""
        return _group(self.target, self.num_target)

    @cached_property
    def by_source(self) -> Csr:
        """Pairs grouped by input row."""
        return _group(self.source, self.num_source)

    @cached_property
    def inverse(self) -> Rulebook:
        """The same pairs from outputs to inputs, for the transposed convolution."""
        return Rulebook(
            self.target, self.source, self.offsets, self.sizes, self.num_target, self.num_source, self.centre
        )


def _group(rows: Tensor, num_rows: int) -> Csr:
    start, pair = np.zeros(num_rows + 1, np.int32), np.empty(rows.shape[0], np.int32)
    kernels.group_rows(rows.numpy(), start, pair)
    return Csr(torch.from_numpy(pair), torch.from_numpy(start))


def voxel_keys(coords: np.ndarray, spatial_shape: Shape, border: int = 0) -> np.ndarray:
    """Numbers cells of a grid that has `border` empty cells around it, so that a neighbour is a constant step
    away.

    Args:
        coords: (M, 4) int batch, z, y, x.
        spatial_shape: (3,) cells z, y, x.
        border: empty cells on each side.

    Returns:
        (M,) int64, ascending in (batch, z, y, x).
    """
    depth, height, width = (size + 2 * border for size in spatial_shape)
    b, z, y, x = coords.T.astype(np.int64)
    return ((b * depth + z + border) * height + y + border) * width + x + border


def _check_inside(coords: np.ndarray, spatial_shape: Shape) -> None:
    """Refuse coordinates outside the grid, because the kernels index by them.

    Takes two reductions, microseconds.
    """
    if len(coords) == 0:
        return
    columns = coords.T.copy()
    low, high = columns.min(1), columns.max(1)
    if low.min() < 0 or (high[1:] >= spatial_shape).any():
        raise ValueError(
            f"voxel_coords: expected batch >= 0 and z, y, x inside spatial_shape {tuple(spatial_shape)}, "
            f"got values from {low.tolist()} to {high.tolist()} (batch, z, y, x)"
        )


def triple(value: int | Sequence[int]) -> Shape:
    """A setting for z, y, x: three numbers as they are, or one for all axes.

    Raises:
        ValueError: another count.
    """
    if isinstance(value, int):
        return value, value, value
    if len(value) != 3:
        raise ValueError(f"expected one number or three for z, y, x, got {tuple(value)}")
    return int(value[0]), int(value[1]), int(value[2])


def identity_rulebook(rows: int) -> Rulebook:
    """Pairs of each row with itself alone: a submanifold convolution with a kernel of one voxel."""
    none = torch.empty(0, dtype=torch.int32)
    return Rulebook(none, none, (), (), rows, rows, centre=0)


def submanifold_rulebook(coords: Tensor, spatial_shape: Shape, kernel_size: int) -> Rulebook:
    """Pairs of a submanifold convolution: outputs are the inputs, a voxel meets its active neighbours.

    Args:
        coords: (M, 4) int32 batch, z, y, x.
        spatial_shape: (3,) cells z, y, x.
        kernel_size: odd K of the K x K x K kernel.

    Returns:
        The pairs, without the centre.

    Raises:
        ValueError: a voxel outside the grid; two rows of `coords` are the same voxel.
    """
    cells = np.ascontiguousarray(coords.cpu().numpy())  # on CUDA only where there is no voxel
    _check_inside(cells, spatial_shape)
    reach = kernel_size // 2
    keys = voxel_keys(cells, spatial_shape, border=reach)
    order = np.arange(len(keys))
    if not (keys[1:] > keys[:-1]).all():
        order = np.argsort(keys)
        keys = keys[order]
        twice = keys[1:] == keys[:-1]
        if twice.any():
            row = order[1:][twice][0]
            raise ValueError(
                f"voxel_coords: voxel {cells[row].tolist()} (batch, z, y, x) stands in more than one row; "
                "give every voxel once (lidardistill.geometry.voxelize does)"
            )
    width = spatial_shape[2] + 2 * reach
    table, sizes = np.full((len(keys), kernel_size**3), -1, np.int32), np.zeros(kernel_size**3, np.int64)
    kernels.submanifold_table(keys, order, width, width * (spatial_shape[1] + 2 * reach), reach, table, sizes)
    source, target = np.empty((2, int(sizes.sum())), np.int32)
    kernels.table_to_pairs(table, sizes, source, target)
    return _book(source, target, sizes, len(keys), len(keys), centre=kernel_size**3 // 2)


def strided_rulebook(
    coords: Tensor,
    spatial_shape: Shape,
    kernel_size: int | Shape,
    stride: int | Shape,
    padding: int | Shape,
) -> tuple[Rulebook, Tensor, Shape]:
    """Pairs of a strided convolution: an output exists where at least one input lies under its kernel.

    Args:
        coords: (M, 4) int32 batch, z, y, x, every voxel once.
        spatial_shape: (3,) cells z, y, x of the input.
        kernel_size: one number, or three z, y, x.
        stride: the same.
        padding: the same, cells of zeros on each side.

    Returns:
        The pairs; (M', 4) int32 coordinates of the outputs, ascending; their (3,) spatial shape.

    Raises:
        ValueError: a voxel outside the grid; the output grid has no cell.
    """
    cells = np.ascontiguousarray(coords.cpu().numpy())  # on CUDA only where there is no voxel
    _check_inside(cells, spatial_shape)
    size, step, pad = triple(kernel_size), triple(stride), triple(padding)
    depth, height, width = (
        (n + 2 * p - k) // s + 1 for n, k, s, p in zip(spatial_shape, size, step, pad, strict=True)
    )
    if min(depth, height, width) < 1:
        raise ValueError(
            f"spatial_shape {tuple(spatial_shape)} is too small for a kernel of {kernel_size} with stride "
            f"{stride}"
        )
    grid = (depth, height, width)
    sizes = np.zeros(math.prod(size), np.int64)
    nothing = np.empty(0, np.int32), np.empty(0, np.int64)
    kernels.strided_pairs(cells, size, step, pad, grid, sizes, *nothing)
    count = int(sizes.sum())
    source, keys = np.empty(count, np.int32), np.empty(count, np.int64)
    kernels.strided_pairs(cells, size, step, pad, grid, sizes, source, keys)
    target, distinct = np.empty(count, np.int32), np.empty(count, np.int64)
    distinct = distinct[: kernels.number_keys(keys, np.argsort(keys), target, distinct)]
    plane, volume = height * width, depth * height * width
    parts = distinct // volume, distinct % volume // plane, distinct % plane // width, distinct % width
    out_coords = np.stack(parts, 1).astype(np.int32)
    book = _book(source, target, sizes, len(cells), len(distinct))
    return book, torch.from_numpy(out_coords).to(coords.device), (depth, height, width)


def _book(
    source: np.ndarray,
    target: np.ndarray,
    sizes: np.ndarray,
    num_source: int,
    num_target: int,
    centre: int | None = None,
) -> Rulebook:
    kept = np.flatnonzero(sizes)
    return Rulebook(
        torch.from_numpy(source),
        torch.from_numpy(target),
        tuple(kept.tolist()),
        tuple(sizes[kept].tolist()),
        num_source,
        num_target,
        centre,
    )
