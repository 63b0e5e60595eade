"""Both implementations of the convolution over index pairs, with gradients, against plain torch in
float64.
"""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
import torch
from numba.extending import _Intrinsic

from lidardistill.sparse import _tiles_numba, gather_matmul, tiled_matmul
from lidardistill.sparse.gather_matmul import IMPLEMENTATIONS, _sum_rows, convolve
from lidardistill.sparse.rulebook import Csr, strided_rulebook, submanifold_rulebook
from tests.support.clouds import random_voxels

SHAPE = (16, 16, 16)


def case(kind, channels, num_voxels=2000, ordered=False):
    """Book, float64 features and weight that want a gradient, and a gradient of the output."""
    coords = random_voxels(3, num_voxels, SHAPE)
    coords = coords.unique(dim=0) if ordered else coords
    if kind == "submanifold":
        book, kernel = submanifold_rulebook(coords, SHAPE, 3), 27
    else:
        book, kernel = strided_rulebook(coords, SHAPE, 2, 2, 0)[0], 8
        book = book.inverse if kind == "inverse" else book
    inputs, outputs = channels
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(book.num_source, inputs, dtype=torch.float64, generator=generator)
    weight = torch.randn(outputs, kernel, inputs, dtype=torch.float64, generator=generator)
    grad = torch.randn(book.num_target, outputs, dtype=torch.float64, generator=generator)
    return book, features, weight, grad


def out_and_gradients(book, features, weight, grad, implementation, dtype=torch.float64):
    features, weight = (x.to(dtype).requires_grad_() for x in (features, weight))
    out = convolve(features, weight, book, implementation)
    return [out, *torch.autograd.grad(out, [features, weight], grad.to(dtype))]


CHANNELS = [(1, 3), (7, 5), (16, 16), (48, 32), (64, 48), (90, 91)]


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("kind", ["submanifold", "strided", "inverse"])
def test_tiles_equal_their_torch_twin(channels, kind):
    """Channels below, at and between whole vectors; tiles that are not full."""
    book, *tensors = case(kind, channels)
    assert any(size % _tiles_numba.TILE_PAIRS for size in book.sizes)
    found = out_and_gradients(book, *tensors, "tiled")
    for ours, twin in zip(found, out_and_gradients(book, *tensors, "torch"), strict=True):
        torch.testing.assert_close(ours, twin, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("num_voxels", [1, 3, 2000])
@pytest.mark.parametrize("channels", [(7, 5), (64, 64), (128, 96)])
@pytest.mark.parametrize("kind", ["submanifold", "strided", "inverse"])
def test_tiles_are_as_exact_as_their_dtype(kind, channels, num_voxels, dtype):
    book, *tensors = case(kind, channels, num_voxels)
    exact = out_and_gradients(book, *tensors, "torch")
    found = out_and_gradients(book, *tensors, "tiled", dtype)
    bound = {torch.float32: 5e-6, torch.bfloat16: 0.02, torch.float16: 0.003}[dtype]
    for ours, twin in zip(found, exact, strict=True):
        assert ours.dtype == dtype
        assert (ours - twin).abs().max() <= bound * twin.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["submanifold", "strided", "inverse"])
def test_half_precision_computes_in_float32(kind, dtype):
    """The same bits as float32 on the same numbers, rounded once at the end."""
    book, *tensors = case(kind, (7, 21))
    rounded = [tensor.to(dtype).float() for tensor in tensors]
    found = out_and_gradients(book, *tensors, "tiled", dtype)
    for ours, twin in zip(found, out_and_gradients(book, *rounded, "tiled", torch.float32), strict=True):
        assert ours.dtype == dtype
        assert torch.equal(ours, twin.to(dtype))


@pytest.mark.parametrize("kernel", [_tiles_numba.multiply, _tiles_numba.multiply_transposed])
def test_numbas_cache_notices_a_change_of_the_blocks(kernel):
    """The cache looks at the kernel's own file alone, so the blocks that a kernel calls must stand in it."""
    kernel_file = kernel.py_func.__code__.co_filename
    called = [kernel.py_func.__globals__.get(name) for name in kernel.py_func.__code__.co_names]
    blocks = [value for value in called if isinstance(value, _Intrinsic)]
    assert len(blocks) == 2
    for block in blocks:
        assert block._defn.__code__.co_filename == kernel_file
        assert block._defn.__closure__[1].cell_contents.__code__.co_filename == kernel_file


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", ["submanifold", "strided", "inverse"])
def test_no_voxels(kind, implementation):
    book, *tensors = case(kind, (64, 96), 0)
    out, grad_features, grad_weight = out_and_gradients(book, *tensors, implementation, torch.float32)
    assert (out.shape, grad_features.shape) == ((0, 96), (0, 64))
    assert not grad_weight.any()


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("kind", ["submanifold", "strided", "inverse"])
def test_the_same_bits_with_any_number_of_threads(kind, ordered, monkeypatch, one_thread):
    """Voxels in any order too, where rows cannot be shared out among threads."""
    started = []
    original = tiled_matmul._side_by_side
    monkeypatch.setattr(tiled_matmul, "WORK_OF_A_THREAD", 1000)
    monkeypatch.setattr(
        tiled_matmul, "_side_by_side", lambda call, limits: (started.append(limits), original(call, limits))
    )
    book, *tensors = case(kind, (32, 48), ordered=ordered)
    results = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        results += [out_and_gradients(book, *tensors, "tiled", torch.float32) for _ in range(2)]
    assert max(map(len, started)) == 6
    twin = out_and_gradients(book, *tensors, "torch")
    for result in results:
        for ours, first, exact in zip(result, results[0], twin, strict=True):
            assert torch.equal(ours, first)
            assert (ours - exact).abs().max() < 5e-6 * exact.abs().max()


def test_rows_ascend_where_voxels_do():
    """Else no convolution of a network would run on several threads."""

    def ascending(ordered):
        books = (case(kind, (1, 1), ordered=ordered)[0] for kind in ("submanifold", "strided"))
        return [b.table.ascending for book in books for b in (book, book.inverse)]

    assert ascending(ordered=True) == [True] * 4
    assert ascending(ordered=False) == [True, False, False, True]


def test_the_pairs_as_arrays():
    book, *_ = case("submanifold", (1, 1))
    table = book.table
    assert table.offsets[0] == book.centre == 13
    assert np.array_equal(table.source[: book.num_source], np.arange(book.num_source))
    assert np.array_equal(table.source[book.num_source :], book.source.numpy())
    assert np.array_equal(table.target[book.num_source :], book.target.numpy())
    assert table.sizes.tolist() == [book.num_source, *book.sizes]
    strided = case("strided", (1, 1))[0]
    assert np.array_equal(strided.table.target, strided.target.numpy())
    assert strided.table.offsets.tolist() == list(strided.offsets)


def _forward_in_a_child(queue):
    book, *tensors = case("submanifold", (32, 48))
    queue.put(out_and_gradients(book, *tensors, "tiled", torch.float32)[0].sum().item())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
def test_threads_do_not_hang_after_a_fork(monkeypatch):
    monkeypatch.setattr(tiled_matmul, "WORK_OF_A_THREAD", 1000)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    book, *tensors = case("submanifold", (32, 48))
    ours = out_and_gradients(book, *tensors, "tiled", torch.float32)[0].sum().item()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_forward_in_a_child, args=(queue,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert queue.get() == ours


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_bfloat16_is_summed_in_float32(implementation):
    """512 ones under one kernel are 512, and so is the gradient: bfloat16 alone stops counting at 256."""
    coords = torch.cartesian_prod(torch.zeros(1), *[torch.arange(8.0)] * 3).int()
    book, _, _ = strided_rulebook(coords, (8, 8, 8), 8, 8, 0)
    ones = {"dtype": torch.bfloat16, "requires_grad": True}
    features, weight = torch.ones(512, 3, **ones), torch.ones(5, 512, 3, **ones)
    assert convolve(features, weight, book, implementation).tolist() == [[1536.0] * 5]
    back = convolve(features[:1], weight, book.inverse, implementation)
    (gradient,) = torch.autograd.grad(back, features, torch.ones_like(back))
    assert gradient[0].tolist() == [2560.0] * 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_segments_are_summed_in_float32(dtype):
    """A thousand ones are a thousand: bfloat16 alone stops counting at 256, float16 at 2048."""
    rows = torch.ones(5000, 9, dtype=dtype)
    csr = Csr(torch.arange(5000, dtype=torch.int32), torch.tensor([0, 1000, 5000], dtype=torch.int32))
    assert _sum_rows(rows, csr)[:, 8].tolist() == [torch.tensor(n, dtype=dtype).item() for n in (1000, 4000)]


def test_the_choice_is_what_runs(monkeypatch):
    chosen = []
    for name in ("TiledGatherMatmul", "GatherMatmul"):
        stand_in = type(name, (), {"apply": staticmethod(lambda *given, name=name: chosen.append(name))})
        monkeypatch.setattr(gather_matmul, name, stand_in)
    tensors = torch.zeros(3, 4), torch.zeros(4, 27, 4), None
    convolve(*tensors)
    for implementation in IMPLEMENTATIONS:
        convolve(*tensors, implementation)
    monkeypatch.setattr(gather_matmul, "ON_CPU", "torch")
    convolve(*tensors)
    assert chosen == ["TiledGatherMatmul", "TiledGatherMatmul", "GatherMatmul", "GatherMatmul"]
