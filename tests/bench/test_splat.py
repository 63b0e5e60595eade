from lidardistill.bench import splat as bench_splat


def test_the_benchmark_compares_equal_things(monkeypatch):
    monkeypatch.setattr(bench_splat, "FEATURES", (2, 6, 9, 20, 8))
    found = bench_splat.run(rounds=2)
    assert 0 < found["max_error"] < 1e-5
    assert 0 < found["max_grad_error"] < 1e-5
    assert 0 < found["samples_on_the_map"] < found["samples"] == 2 * 6 * 9 * 20
    assert found["ratio"] == found["baseline"]["median_ms"] / found["ours"]["median_ms"]
    times = {"median_ms", "iqr_ms", "forward_ms", "backward_ms"}
    for name in ("ours", "baseline"):
        assert set(found[name]) == {*times, "extra_memory_mb"}
