import mmap

import numpy as np
import pytest

from lidardistill.bench import pooling as bench_pooling
from lidardistill.bench.harness import memory as bench_memory


def test_the_benchmark_compares_equal_things(monkeypatch):
    monkeypatch.setattr(bench_pooling, "FEATURES", (2, 8, 7, 13))
    monkeypatch.setattr(bench_pooling, "FINE", (28, 52))
    found = bench_pooling.run(rounds=2)
    assert found["max_error"] < 1e-5
    assert found["max_grad_error"] < 1e-5
    assert found["ratio"] == found["baseline"]["median_ms"] / found["ours"]["median_ms"]
    times = {"median_ms", "iqr_ms", "forward_ms", "backward_ms"}
    for name in ("ours", "baseline"):
        assert set(found[name]) == {*times, "extra_memory_mb"}
        assert 0 < found["max_error_float64"][name] < 1e-5
        assert 0 < found["max_grad_error_float64"][name] < 1e-5
    assert found["first_call_s"] > 0


def test_peak_memory_counts_what_is_freed_again_and_not_what_was_there():
    held = np.ones(40_000_000 // 8)
    assert held.sum() > 0

    def call() -> None:
        # Mapped by hand: what malloc gets back it may keep, and then the second piece lies beside the first.
        for num_bytes in (80_000_000, 16_000_000):
            piece = mmap.mmap(-1, num_bytes)
            np.frombuffer(piece, np.uint8).fill(1)
            piece.close()

    extra = bench_memory.peak_extra_mb(call)
    if extra is None:
        pytest.skip("this system does not tell peak memory")
    assert 75 < extra < 95
