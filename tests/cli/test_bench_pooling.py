from lidardistill.cli import bench_pooling


def test_the_benchmark_compares_equal_things(monkeypatch):
    monkeypatch.setattr(bench_pooling, "FEATURES", (2, 8, 7, 13))
    monkeypatch.setattr(bench_pooling, "FINE", (28, 52))
    found = bench_pooling.run(rounds=2)
    assert found["max_error"] < 1e-5
    assert found["max_grad_error"] < 1e-5
    assert found["ratio"] == found["baseline"]["median_ms"] / found["ours"]["median_ms"]
    assert set(found["ours"]) == {"median_ms", "iqr_ms", "forward_ms", "backward_ms"}
