"""Two blocks of a product of gathered rows, in LLVM's own language: their sums stay in vector registers.

numba has no vectors, and LLVM keeps no array of sums in registers across a loop, so that a block that is written in Python
runs at a third of the speed. Each block is one loop of multiply-adds into a tile of sums, as many as the registers hold
beside what comes in. Nothing checks bounds. numba's cache does not notice a change in this file: touch the kernels' file, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
import llvmlite.ir as ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

_FEATURES = llvmlite.binding.get_host_cpu_features()
_HAS_AVX512 = bool(_FEATURES.get("avx512f"))

HAS_BFLOAT16 = _HAS_AVX512 and bool(_FEATURES.get("avx512bf16"))
"""Whether `multiply_rows` takes pairs of bfloat16: one instruction multiplies two of them and adds both to a float32."""

if HAS_BFLOAT16:
    # The instruction is written in assembly: LLVM's own name for it depends on its version.
    llvmlite.binding.initialize_native_asmparser()

VECTOR_BYTES = 64 if _HAS_AVX512 else 32

TILE_PAIRS = 8 if _HAS_AVX512 else 6
"""Rows of a tile of `multiply_rows`: times two vectors, 16 of AVX-512's 32 registers, 12 of AVX2's 16."""

TILE_CHANNELS = 8 if _HAS_AVX512 else 4
"""Rows of a tile of `multiply_columns`; the numbers of a vector are a multiple of it."""

_INT32, _INT64 = ir.IntType(32), ir.IntType(64)


def multiply_rows(vectors: int) -> Callable[..., None]:
    """An intrinsic (x, w, out, source, target, p, end, k, column) -> None.

    out[target[q], column:] += x[source[q]] @ w[k, :, column:] for the pairs q in p .. min(p + TILE_PAIRS, end) - 1, over `vectors`
    vectors of columns.

    Args of the intrinsic:
        x: (M, C). w: (K, C, D). out: (M', D). All of one floating type and contiguous. Or, where `HAS_BFLOAT16`, x and w
            are int32, two bfloat16 in each that follow each other along C, and out is float32.
        source, target: (P,) int32.
        p, end: first pair, and where the pairs of this kernel offset end; p < end.
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
    """An intrinsic (x, g, out, source, target, p, end, k, row, column) -> None.

    out[k, row + i, column:] += x[source[q], row + i] * g[target[q], column:], summed over the pairs q in p .. end - 1, for i in
    0 .. TILE_CHANNELS - 1, over `vectors` vectors of columns.

    Args of the intrinsic:
        x: (M, C). g: (M', D). out: (K, C, D). All of one floating type and contiguous.
        source, target: (P,) int32.
        p, end: first pair, and the one behind the last; p < end.
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
    """What numba wants of an intrinsic: its signature, and what writes its code; five arrays come before the numbers."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        write(_Code(context, builder, signature.args[:5], args[:5], vectors), *args[5:])
        return context.get_dummy_value()

    return types.void(*kinds), generate


class _Code:
    """What both blocks are made of: the arrays they are called with, vectors, and the loop around the sums."""

    def __init__(self, context: Any, builder: Any, kinds: Any, args: Any, vectors: int) -> None:
        self.context, self.builder, self.vectors = context, builder, vectors
        self.arrays = [make_array(kind)(context, builder, arg) for kind, arg in zip(kinds, args, strict=True)]
        factor, number = kinds[0].dtype, kinds[2].dtype
        assert factor == number or (HAS_BFLOAT16 and (factor, number) == (types.int32, types.float32))
        self.size = number.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.size
        self.vector = ir.VectorType(context.get_data_type(number), self.lanes)
        self.factors = ir.VectorType(context.get_data_type(factor), self.lanes)

    def data(self, i: int) -> Any:
        return self.arrays[i].data

    def extent(self, i: int, axis: int) -> Any:
        return cgutils.unpack_tuple(self.builder, self.arrays[i].shape)[axis]

    def index(self, rows: Any, at: Any) -> Any:
        return self.builder.sext(self.builder.load(self.builder.gep(rows, [at])), _INT64)

    def spread(self, pointer: Any) -> Any:
        """One number in every lane."""
        undefined = ir.Constant(self.factors, ir.Undefined)
        one = self.builder.insert_element(undefined, self.builder.load(pointer), _INT32(0))
        lanes = ir.Constant(ir.VectorType(_INT32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, undefined, lanes)

    def _pointers(self, pointer: Any, vector: Any) -> list[Any]:
        steps = (self.builder.gep(pointer, [_INT64(v * self.lanes)]) for v in range(self.vectors))
        return [self.builder.bitcast(step, vector.as_pointer()) for step in steps]

    def load_vectors(self, pointer: Any) -> list[Any]:
        return [self.builder.load(p, align=self.size) for p in self._pointers(pointer, self.factors)]

    def multiply_add(self, factor: Any, vector: Any, total: Any) -> Any:
        """total + factor * vector; "contract" makes one instruction of the two where the CPU has it."""
        builder, flags = self.builder, ("contract",)
        if self.factors == self.vector:
            return builder.fadd(builder.fmul(factor, vector, flags=flags), total, flags=flags)
        kind = ir.FunctionType(self.vector, [self.vector, self.factors, self.factors])
        return builder.asm(kind, "vdpbf16ps $3, $2, $0", "=v,0,v,v", [total, factor, vector], False)

    def add_to(self, pointer: Any, vectors: list[Any]) -> None:
        for p, vector in zip(self._pointers(pointer, self.vector), vectors, strict=True):
            total = self.builder.fadd(self.builder.load(p, align=self.size), vector)
            self.builder.store(total, p, align=self.size)

    def sums(self, rows: int, start: Any, stop: Any) -> _Loop:
        return _Loop(self, rows, start, stop)


class _Loop:
    """`with` it, code is written that runs for each number in start .. stop - 1, of which there is at least one.

    The block gets (number, loop); `add` of every row must be called once.
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
        """The sums of row r, once the loop is over."""
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
