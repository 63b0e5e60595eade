"""The loader's benchmark is only worth its figures if both ways load the same."""

import numpy as np
import pytest

from lidardistill.bench import loader as bench_loader
from lidardistill.bench.harness.timing import alternate_all
from lidardistill.bench.loader_workers import keyframes_per_second
from lidardistill.regions.slic.slic import PRESETS


def check(found):
    quality = found["quality"]
    assert quality["image_max_error"] < 3e-5
    assert quality["superpixels_equal"]
    assert quality["voxels_equal"]
    # The baseline's float32 chain moves up to 0.5 % of the pairs by a pixel, and a few of them over a crop's
    # border.
    assert abs(quality["pairs"] - quality["pairs_of_baseline"]) <= 0.001 * quality["pairs"]
    assert found["ratio"] > 0
    assert {"median_ms", "iqr_ms"} <= found["product"].keys() & found["baseline"].keys()
    for name in ("image_cache_half", "jpeg_half"):
        variant = found["variants"][name]
        assert variant["quality"]["superpixels_equal"]
        assert variant["quality"]["voxels_equal"]
        assert variant["quality"]["pairs"] == quality["pairs"]
        assert 1e-4 < variant["quality"]["image_mean_error"] < 0.05
        assert variant["baseline"]["name"] == found["baseline"]["name"]
        assert variant["ratio"] > 0


@pytest.fixture(autouse=True)
def few_calls(monkeypatch):
    monkeypatch.setattr(bench_loader, "COMPARED", 3)
    monkeypatch.setattr(bench_loader, "ON_THE_FLY_ROUNDS", 1)
    monkeypatch.setattr(bench_loader, "ON_THE_FLY", ())
    monkeypatch.setattr("lidardistill.bench.harness.timing.CALLS_PER_ROUND", 1)


def test_both_ways_load_the_same_made_up_keyframe():
    found = bench_loader.run(rounds=1, image_size=(252, 448), workers=())
    check(found)
    assert found["quality"]["pairs"] > 10_000


def test_both_ways_load_the_same_real_keyframe(nuscenes_one, monkeypatch, tmp_path):
    monkeypatch.setenv("LIDARDISTILL_CACHE", str(tmp_path))
    found = bench_loader.run(rounds=1, dataroot=nuscenes_one, workers=())
    check(found)
    assert found["input"]["points"] == 34688


def test_a_root_without_tables_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no nuScenes tables under .*: expected a folder v1\.0-\*"):
        bench_loader.run(dataroot=tmp_path)


def test_superpixels_on_the_fly_have_their_own_baseline(monkeypatch):
    sizes = []

    def stripes(image, num_superpixels, compactness, sigma):
        sizes.append(image.shape[:2])
        return np.broadcast_to(np.arange(image.shape[1], dtype=np.int32) // 8, image.shape[:2]).copy()

    monkeypatch.setitem(PRESETS, "exact", stripes)
    monkeypatch.setattr(bench_loader, "ON_THE_FLY", ("exact",))
    found = bench_loader.run(rounds=1, image_size=(126, 224), workers=())
    names = {"on_the_fly_exact", "on_the_fly_exact_jpeg_half"}
    assert found["variants"].keys() == {"image_cache_half", "jpeg_half"} | names
    assert set(sizes) == {(126, 224), (63, 112)}
    for name in names:
        variant = found["variants"][name]
        assert "scikit-image" in variant["baseline"]["name"]
        assert variant["calls_of_baseline"] == variant["rounds"] == 1
        assert "superpixels_equal" not in variant["quality"]
        assert variant["quality"]["pairs"] == found["quality"]["pairs"]
    assert found["variants"]["on_the_fly_exact"]["quality"]["image_max_error"] < 3e-5


def test_each_way_has_its_turn(monkeypatch):
    monkeypatch.setattr("lidardistill.bench.harness.timing.CALLS_PER_ROUND", 3)
    monkeypatch.setattr(
        "lidardistill.bench.harness.timing._summary",
        lambda times_ms: {"median_ms": len(times_ms), "best_ms": len(times_ms)},
    )
    said = []
    products = {name: lambda name=name: said.append(name) for name in "ab"}
    alternate_all(products, lambda: said.append("base"), 2)
    assert said == ["a", "b", "base"] * 9
    said.clear()
    found = alternate_all(products, lambda: said.append("base"), 2, baseline_calls=1)
    assert said == ["a", "b"] + ["base", *"ababab"] * 2
    for name in "ab":
        assert found[name]["product"]["median_ms"] == found[name]["calls"] == 6
        assert found[name]["baseline"]["median_ms"] == found[name]["calls_of_baseline"] == 2
        assert found[name]["ratio"] == 0.33


class Numbers:
    def __getitem__(self, key):
        return key[1]


def test_threads_and_processes_load_the_same_keys(monkeypatch):
    from lidardistill.bench import loader_workers as bench_loader_workers

    monkeypatch.setattr("lidardistill.methods.image_pairs.collate_pairs", tuple)
    monkeypatch.setattr(bench_loader_workers, "_REPEATS", 1)
    seen = {}

    def record(batches, number):
        seen[len(seen)] = [next(batches) for _ in range(3)]
        batches.close()
        return 1.0

    monkeypatch.setattr(bench_loader_workers, "_speed", record)
    found = keyframes_per_second(Numbers(), (1,))
    assert seen[0] == seen[1] == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11)]
    assert found["processes"] == found["threads"] == {"1": 1.0}
