"""The loader's benchmark is only worth its figures if both ways load the same."""

import pytest

from lidardistill.cli import bench_loader


def check(found):
    quality = found["quality"]
    assert quality["image_max_error"] < 3e-5
    assert quality["superpixels_equal"]
    assert quality["voxels_equal"]
    # The baseline's float32 chain moves up to 0.5 % of the pairs by a pixel, and a few of them over a crop's border.
    assert abs(quality["pairs"] - quality["pairs_of_baseline"]) <= 0.001 * quality["pairs"]
    assert found["ratio"] > 0
    assert {"median_ms", "iqr_ms"} <= found["product"].keys() & found["baseline"].keys()


@pytest.fixture(autouse=True)
def few_calls(monkeypatch):
    monkeypatch.setattr(bench_loader, "COMPARED", 3)
    monkeypatch.setattr("lidardistill.cli.bench_timing.CALLS_PER_ROUND", 1)


def test_both_ways_load_the_same_made_up_keyframe():
    found = bench_loader.run(rounds=1, image_size=(252, 448))
    check(found)
    assert found["quality"]["pairs"] > 10_000


def test_both_ways_load_the_same_real_keyframe(nuscenes_one, monkeypatch, tmp_path):
    monkeypatch.setenv("LIDARDISTILL_CACHE", str(tmp_path))
    found = bench_loader.run(rounds=1, dataroot=nuscenes_one)
    check(found)
    assert found["input"]["points"] == 34688


def test_a_root_without_tables_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no nuScenes tables under .*: expected a folder v1\.0-\*"):
        bench_loader.run(dataroot=tmp_path)
