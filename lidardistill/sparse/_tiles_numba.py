"""numba kernels of the sparse convolution: they gather rows, multiply them and add the products, tile by
tile.

The inner blocks are written in LLVM IR, so that their sums stay in vector registers: numba has no vector
types, and LLVM keeps no array of sums in registers across a loop, so a block written in Python runs at a
third of the speed. Each block is one loop of multiply-adds into a tile of sums that fills the registers left
by its inputs.

Kernels and blocks stand in one file because numba's cache notices a change only in the file of the kernel
itself.

Nothing checks bounds; a `Rulebook` is right by construction. The last axis of each array is a multiple of the
numbers in a vector.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
import llvmlite.ir as ir
import numba
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

_HAS_AVX512 = bool(llvmlite.binding.get_host_cpu_features().get("avx512f"))

VECTOR_BYTES = 64 if _HAS_AVX512 else 32

TILE_PAIRS = 8 if _HAS_AVX512 else 6
"""Rows in a tile of `multiply_rows`.

Two vectors a row fill 16 of AVX-512's 32 registers, or 12 of AVX2's 16.
"""

TILE_CHANNELS = 8 if _HAS_AVX512 else 4
"""Rows in a tile of `multiply_columns`; the numbers in a vector are a multiple of it."""

PAIRS_AT_ONCE = 256
"""Pairs for which all tiles of a kernel offset's gradient are computed before the next pairs: their rows stay
in cache.
"""

_INT32, _INT64 = ir.IntType(32), ir.IntType(64)


def multiply_rows(vectors: int) -> Callable[..., None]:
    """Make an intrinsic (x, w, out, source, target, p, end, k, column) -> None.

    It adds x[source[q]] @ w[k, :, column:] to out[target[q], column:], over `vectors` vectors of columns, for
    the pairs q from p to min(p + TILE_PAIRS, end) - 1.

    Args of the intrinsic:
        x: (M, C). w: (K, C, D). out: (M', D). All contiguous and of one floating type.
        source, target: (P,) int32.
        p, end: first pair, and the end of the pairs of this kernel offset; p < end.
        k: kernel offset.
        column: first column.
    """

    def write(code: _Code, p: Any, end: Any, k: Any, column: Any) -> None:
        builder = code.builder
        x, w, out, source, target = (code.data(i) for i in range(5))
        inner, width = code.extent(1, 1), code.extent(1, 2)
        last = builder.sub(end, _INT64(1))
        pairs, rows = [], []
        for r in range(TILE_PAIRS):
            pair = builder.add(p, _INT64(r))
            exists = builder.icmp_signed("<", pair, end)
            pair = builder.select(exists, pair, last)
            pairs.append((exists, pair))
            rows.append(builder.gep(x, [builder.mul(code.index(source, pair), inner)]))
        first = builder.mul(builder.mul(k, inner), width)
        with code.sums(TILE_PAIRS, _INT64(0), inner) as (c, sums):
            at = builder.add(builder.add(first, builder.mul(c, width)), column)
            weights = code.load_vectors(builder.gep(w, [at]))
            for r, row in enumerate(rows):
                sums.add(r, code.spread(builder.gep(row, [c])), weights)
        for r, (exists, pair) in enumerate(pairs):
            with builder.if_then(exists, likely=True):
                at = builder.add(builder.mul(code.index(target, pair), width), column)
                code.add_to(builder.gep(out, [at]), sums.row(r))

    @intrinsic
    def block(typing_context, x, w, out, source, target, p, end, k, column):  # type: ignore[no-untyped-def]
        return _in_place_of_the_call(write, vectors, (x, w, out, source, target, p, end, k, column))

    return block


def multiply_columns(vectors: int) -> Callable[..., None]:
    """Make an intrinsic (x, g, out, source, target, p, end, k, row, column) -> None.

    It adds x[source[q], row + i] * g[target[q], column:], summed over the pairs q from p to end - 1, to
    out[k, row + i, column:], over `vectors` vectors of columns, for i from 0 to TILE_CHANNELS - 1.

    Args of the intrinsic:
        x: (M, C). g: (M', D). out: (K, C, D). All contiguous and of one floating type.
        source, target: (P,) int32.
        p, end: first pair, and the end of the pairs; p < end.
        k: kernel offset.
        row: first row of the tile; row + TILE_CHANNELS <= C.
        column: first column.
    """

    def write(code: _Code, p: Any, end: Any, k: Any, row: Any, column: Any) -> None:
        builder = code.builder
        x, g, out, source, target = (code.data(i) for i in range(5))
        height, width = code.extent(2, 1), code.extent(2, 2)
        with code.sums(TILE_CHANNELS, p, end) as (q, sums):
            at = builder.add(builder.mul(code.index(target, q), width), column)
            gradients = code.load_vectors(builder.gep(g, [at]))
            begin = builder.add(builder.mul(code.index(source, q), height), row)
            for i in range(TILE_CHANNELS):
                at = builder.add(begin, _INT64(i))
                sums.add(i, code.spread(builder.gep(x, [at])), gradients)
        first = builder.add(builder.mul(k, height), row)
        for i in range(TILE_CHANNELS):
            at = builder.add(builder.mul(builder.add(first, _INT64(i)), width), column)
            code.add_to(builder.gep(out, [at]), sums.row(i))

    @intrinsic
    def block(typing_context, x, g, out, source, target, p, end, k, row, column):  # type: ignore[no-untyped-def]
        return _in_place_of_the_call(write, vectors, (x, g, out, source, target, p, end, k, row, column))

    return block


def _in_place_of_the_call(write: Callable[..., None], vectors: int, kinds: tuple[Any, ...]) -> Any:
    """Signature and code generator of an intrinsic whose first five arguments are arrays."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        write(_Code(context, builder, signature.args[:5], args[:5], vectors), *args[5:])
        return context.get_dummy_value()

    return types.void(*kinds), generate


class _Code:
    """Writes the code that both blocks need: access to arrays, vectors, and the loop around the sums."""

    def __init__(self, context: Any, builder: Any, kinds: Any, args: Any, vectors: int) -> None:
        self.context, self.builder, self.vectors = context, builder, vectors
        self.arrays = [make_array(kind)(context, builder, arg) for kind, arg in zip(kinds, args, strict=True)]
        number = kinds[0].dtype
        assert kinds[1].dtype == kinds[2].dtype == number
        self.size = number.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.size
        self.vector = ir.VectorType(context.get_data_type(number), self.lanes)

    def data(self, i: int) -> Any:
        return self.arrays[i].data

    def extent(self, i: int, axis: int) -> Any:
        return cgutils.unpack_tuple(self.builder, self.arrays[i].shape)[axis]

    def index(self, rows: Any, at: Any) -> Any:
        return self.builder.sext(self.builder.load(self.builder.gep(rows, [at])), _INT64)

    def spread(self, pointer: Any) -> Any:
        """One number in every lane."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(undefined, self.builder.load(pointer), _INT32(0))
        lanes = ir.Constant(ir.VectorType(_INT32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, undefined, lanes)

    def _pointers(self, pointer: Any) -> list[Any]:
        steps = (self.builder.gep(pointer, [_INT64(v * self.lanes)]) for v in range(self.vectors))
        return [self.builder.bitcast(step, self.vector.as_pointer()) for step in steps]

    def load_vectors(self, pointer: Any) -> list[Any]:
        return [self.builder.load(p, align=self.size) for p in self._pointers(pointer)]

    def multiply_add(self, factor: Any, vector: Any, total: Any) -> Any:
        """total + factor * vector; "contract" lets LLVM use the fused instruction where the CPU has one."""
        flags = ("contract",)
        return self.builder.fadd(self.builder.fmul(factor, vector, flags=flags), total, flags=flags)

    def add_to(self, pointer: Any, vectors: list[Any]) -> None:
        for p, vector in zip(self._pointers(pointer), vectors, strict=True):
            total = self.builder.fadd(self.builder.load(p, align=self.size), vector)
            self.builder.store(total, p, align=self.size)

    def sums(self, rows: int, start: Any, stop: Any) -> _Loop:
        return _Loop(self, rows, start, stop)


class _Loop:
    """Code written inside `with` runs for each number from start to stop - 1; there is at least one.

    `with` gives (number, loop). Inside, `add` must be called once for every row.
    """

    def __init__(self, code: _Code, rows: int, start: Any, stop: Any) -> None:
        self.code, self.start, self.stop = code, start, stop
        self.new: list[list[Any]] = [[] for _ in range(rows)]

    def __enter__(self) -> tuple[Any, _Loop]:
        builder = self.code.builder
        before = builder.block
        self.body, self.after = builder.append_basic_block("sum"), builder.append_basic_block("summed")
        builder.branch(self.body)
        builder.position_at_end(self.body)
        self.number = builder.phi(_INT64)
        self.number.add_incoming(self.start, before)
        zero = ir.Constant(self.code.vector, [0.0] * self.code.lanes)
        self.old = [[builder.phi(self.code.vector) for _ in range(self.code.vectors)] for _ in self.new]
        for phi in (phi for row in self.old for phi in row):
            phi.add_incoming(zero, before)
        return self.number, self

    def add(self, r: int, factor: Any, vectors: list[Any]) -> None:
        """Row r += factor * vectors."""
        for total, vector in zip(self.old[r], vectors, strict=True):
            self.new[r].append(self.code.multiply_add(factor, vector, total))

    def row(self, r: int) -> list[Any]:
        """The sums of row r, after the loop."""
        return self.new[r]

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        builder = self.code.builder
        following = builder.add(self.number, _INT64(1))
        self.number.add_incoming(following, self.body)
        for old, new in zip(self.old, self.new, strict=True):
            for phi, value in zip(old, new, strict=True):
                phi.add_incoming(value, self.body)
        builder.cbranch(builder.icmp_signed("<", following, self.stop), self.body, self.after)
        builder.position_at_end(self.after)


_rows_1, _rows_2 = multiply_rows(1), multiply_rows(2)
_columns_1, _columns_2 = multiply_columns(1), multiply_columns(2)


@numba.njit(cache=True, nogil=True)
def _first_at_least(rows, begin, end, value):  # type: ignore[no-untyped-def]
    """Index of the first of the ascending rows[begin:end] that is at least value."""
    while begin < end:
        middle = (begin + end) // 2
        if rows[middle] < value:
            begin = middle + 1
        else:
            end = middle
    return begin


@numba.njit(cache=True, nogil=True)
def multiply(features, kernels, source, target, offsets, sizes, low, high, out):  # type: ignore[no-untyped-def]
    """Add features[s] @ kernels[k] to out[t] for the pairs (s, t) of each kernel offset k with low <= t <
    high.

    Args:
        features: (M, C) of the type of out.
        kernels: (K, C, D).
        source: (P,) int32 rows of features, grouped by kernel offset.
        target: (P,) int32 rows of out; ascending inside a group, unless low and high leave out no row.
        offsets: (G,) int64 kernel offset of each group.
        sizes: (G,) int64 pairs of each group.
        low: first row of out that is written.
        high: end of these rows.
        out: (M', D), added to.
    """
    width = out.shape[1]
    lanes = VECTOR_BYTES // out.itemsize
    begin = 0
    for group in range(offsets.shape[0]):
        k, end = offsets[group], begin + sizes[group]
        p = _first_at_least(target, begin, end, low)
        stop = _first_at_least(target, p, end, high)
        while p < stop:
            column = 0
            while column + 2 * lanes <= width:
                _rows_2(features, kernels, out, source, target, p, stop, k, column)
                column += 2 * lanes
            if column < width:
                _rows_1(features, kernels, out, source, target, p, stop, k, column)
            p += TILE_PAIRS
        begin = end


@numba.njit(cache=True, nogil=True)
def multiply_transposed(features, grad, source, target, offsets, sizes, first, last, out):  # type: ignore[no-untyped-def]
    """Add to out[k] the outer products of features[s] and grad[t] over the pairs (s, t) of each kernel offset
    k.

    Args:
        features: (M, C).
        grad: (M', D).
        source: (P,) int32 rows of features, grouped by kernel offset.
        target: (P,) int32 rows of grad.
        offsets: (G,) int64 kernel offset of each group.
        sizes: (G,) int64 pairs of each group.
        first: first group that is summed.
        last: end of these groups.
        out: (K, C, D), added to.
    """
    height, width = out.shape[1], out.shape[2]
    lanes = VECTOR_BYTES // out.itemsize
    p = np.int64(0)
    for group in range(first):
        p += sizes[group]
    for group in range(first, last):
        k, end = offsets[group], p + sizes[group]
        while p < end:
            stop = min(p + PAIRS_AT_ONCE, end)
            for row in range(0, height, TILE_CHANNELS):
                column = 0
                while column + 2 * lanes <= width:
                    _columns_2(features, grad, out, source, target, p, stop, k, row, column)
                    column += 2 * lanes
                if column < width:
                    _columns_1(features, grad, out, source, target, p, stop, k, row, column)
            p = stop
