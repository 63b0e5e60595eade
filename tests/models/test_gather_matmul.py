"""Every implementation of the convolution over index pairs against plain torch in float64, gradients included."""

from __future__ import annotations

import pytest
import torch

from lidardistill.models import gather_matmul, onednn
from lidardistill.models.gather_matmul import IMPLEMENTATIONS, _sum_rows, choose, convolve
from lidardistill.models.grouped_matmul import padded_rows
from lidardistill.models.rulebook import BLOCK_PAIRS, Csr, strided_rulebook, submanifold_rulebook
from tests.models.clouds import random_voxels

needs_onednn = pytest.mark.skipif(not onednn.available(), reason="this torch has no oneDNN operator")
SHAPE = (16, 16, 16)


def case(kind, channels, num_voxels=2000):
    """Book, float64 features and weight that want a gradient, and a gradient of the output."""
    coords = random_voxels(3, num_voxels, SHAPE)
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


@pytest.mark.parametrize("channels", [(1, 3), (7, 5), (64, 48), (90, 91)])
@pytest.mark.parametrize("kind", ["submanifold", "strided", "inverse"])
@pytest.mark.parametrize("implementation", ["fused", "grouped"])
def test_implementations_equal_their_torch_twin(implementation, channels, kind):
    """Over more than one tile of pairs, and tiles that are not full."""
    book, *tensors = case(kind, channels)
    assert max(book.sizes) > 128
    assert any(size % 128 for size in book.sizes)
    found = out_and_gradients(book, *tensors, implementation)
    for ours, twin in zip(found, out_and_gradients(book, *tensors, "torch"), strict=True):
        torch.testing.assert_close(ours, twin, rtol=1e-9, atol=1e-10)


@needs_onednn
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("num_voxels", [3, 2000])
@pytest.mark.parametrize("channels", [(7, 5), (64, 64), (128, 96)])
@pytest.mark.parametrize("kind", ["submanifold", "strided", "inverse"])
def test_onednn_is_as_exact_as_float32(kind, channels, num_voxels, threads, one_thread):
    """Groups of a single pair among them: the transpose of one row must not be taken for a matrix."""
    torch.set_num_threads(threads)
    book, *tensors = case(kind, channels, num_voxels)
    exact = out_and_gradients(book, *tensors, "torch")
    found = out_and_gradients(book, *tensors, "onednn", torch.float32)
    for ours, twin in zip(found, exact, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - twin).abs().max() < 5e-6 * twin.abs().max()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", ["submanifold", "strided", "inverse"])
def test_no_voxels(kind, implementation):
    if implementation == "onednn" and not onednn.available():
        pytest.skip("this torch has no oneDNN operator")
    book, *tensors = case(kind, (64, 96), 0)
    out, grad_features, grad_weight = out_and_gradients(book, *tensors, implementation, torch.float32)
    assert (out.shape, grad_features.shape) == ((0, 96), (0, 64))
    assert not grad_weight.any()


@pytest.mark.parametrize("threads", [1, 2])
def test_bfloat16_gradients(threads, one_thread):
    torch.set_num_threads(threads)
    book, *tensors = case("submanifold", (96, 64))
    exact = out_and_gradients(book, *tensors, "torch")
    found = out_and_gradients(book, *tensors, "grouped", torch.bfloat16)
    for ours, twin in zip(found, exact, strict=True):
        assert ours.dtype == torch.bfloat16
        assert (ours - twin).abs().max() < 0.02 * twin.abs().max()


@pytest.mark.parametrize("implementation", ["grouped", "torch"])
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


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("implementation", "dtype"), [("grouped", torch.bfloat16), ("onednn", torch.float32)]
)
def test_the_same_bits_every_time(implementation, dtype, threads, one_thread):
    if implementation == "onednn" and not onednn.available():
        pytest.skip("this torch has no oneDNN operator")
    torch.set_num_threads(threads)
    book, *tensors = case("submanifold", (64, 96))
    first = out_and_gradients(book, *tensors, implementation, dtype)
    for _ in range(4):
        for a, b in zip(first, out_and_gradients(book, *tensors, implementation, dtype), strict=True):
            assert torch.equal(a, b)


def test_padded_rows_are_few_and_little_longer() -> None:
    """oneDNN compiles a product for each number of rows that it meets."""
    padded = [padded_rows(size) for size in range(1, BLOCK_PAIRS + 1)]
    assert len(set(padded)) == 20
    assert all(size <= rows < size + max(32, size / 4) for size, rows in enumerate(padded, start=1))


@needs_onednn
@pytest.mark.parametrize("kind", ["submanifold", "strided"])
def test_onednn_sees_padded_rows_alone(kind, monkeypatch) -> None:
    seen = set()

    def linear(x, weight):
        seen.update({x.shape, weight.shape})
        return x @ weight.t()

    monkeypatch.setattr(onednn, "linear", linear)
    book, *tensors = case(kind, (64, 64), 3000)
    assert max(book.sizes) > 300
    out_and_gradients(book, *tensors, "onednn", torch.float32)
    allowed = {64} | {padded_rows(size) for size in range(1, BLOCK_PAIRS + 1)}
    assert 3 < len(seen) < 40
    assert {side for shape in seen for side in shape} <= allowed


@pytest.mark.parametrize(
    ("dtype", "inputs", "outputs", "threads", "fast_onednn", "expected"),
    [
        (torch.float32, 32, 64, 1, True, "fused"),
        (torch.float32, 32, 65, 1, True, "grouped"),
        (torch.float32, 64, 64, 2, True, "onednn"),
        (torch.float32, 64, 64, 1, False, "grouped"),
        (torch.float32, 64, 64, 3, True, "torch"),
        (torch.float32, 4, 4, 3, True, "torch"),
        (torch.float64, 64, 64, 1, True, "grouped"),
        (torch.float64, 32, 32, 1, True, "fused"),
        (torch.bfloat16, 4, 4, 1, True, "grouped"),
        (torch.bfloat16, 256, 256, 1, True, "grouped"),
        (torch.float16, 4, 4, 1, True, "torch"),
    ],
)
def test_the_choice(dtype, inputs, outputs, threads, fast_onednn, expected, monkeypatch):
    monkeypatch.setattr(onednn, "faster_here", lambda: fast_onednn)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert choose(dtype, inputs, outputs) == expected


def test_the_choice_is_what_runs(monkeypatch):
    chosen = []
    for name in ("FusedGatherMatmul", "GroupedGatherMatmul", "GatherMatmul"):
        stand_in = type(
            name, (), {"apply": staticmethod(lambda *given, name=name: chosen.append((name, *given[3:])))}
        )
        monkeypatch.setattr(gather_matmul, name, stand_in)
    for implementation in ("fused", "grouped", "onednn", "torch"):
        monkeypatch.setattr(gather_matmul, "choose", lambda *_, choice=implementation: choice)
        convolve(torch.zeros(3, 4), torch.zeros(4, 27, 4), None)
    assert chosen == [
        ("FusedGatherMatmul",), ("GroupedGatherMatmul", False), ("GroupedGatherMatmul", True), ("GatherMatmul",)
    ]  # fmt: skip


@pytest.fixture
def asked_anew():
    for function in (onednn.available, onednn.faster_here):
        function.cache_clear()
    yield
    for function in (onednn.available, onednn.faster_here):
        function.cache_clear()


@pytest.mark.parametrize(
    ("vendor", "capability", "switch", "expected"),
    [
        ("AuthenticAMD", "AVX512", "", True),
        ("GenuineIntel", "AVX512", "", False),
        ("AuthenticAMD", "AVX2", "", False),
        ("AuthenticAMD", "AVX512", "0", False),
        ("GenuineIntel", "AVX2", "1", True),
    ],
)
@needs_onednn
def test_onednn_by_kind_of_cpu(vendor, capability, switch, expected, monkeypatch, asked_anew):
    monkeypatch.setattr(onednn, "_vendor", lambda: vendor)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setenv(onednn.SWITCH, switch)
    assert onednn.faster_here() is expected


def test_a_torch_without_the_operator(monkeypatch, asked_anew):
    def linear(x, weight):
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_linear_pointwise'")

    monkeypatch.setattr(onednn, "linear", linear)
    monkeypatch.setenv(onednn.SWITCH, "1")
    assert not onednn.faster_here()
    assert choose(torch.float32, 256, 256) in ("grouped", "torch")


def test_a_wrong_switch_is_named(monkeypatch, asked_anew):
    monkeypatch.setenv(onednn.SWITCH, "yes")
    with pytest.raises(ValueError, match="LIDARDISTILL_ONEDNN=yes: expected 0 or 1"):
        onednn.faster_here()
