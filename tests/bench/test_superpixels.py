from __future__ import annotations

import json

import pytest

from lidardistill.bench import superpixels as bench_superpixels
from lidardistill.regions.slic.slic import PRESETS


def test_the_figures_compare_the_ways():
    found = bench_superpixels.run(rounds=2, max_images=2, reduce=12)
    ways = found["ways"]
    assert set(ways) == {*PRESETS, "exact_half", "reference_half"}
    assert ways["reference"]["ratio"] == 1.0
    assert ways["reference"]["boundary_recall"] == ways["reference"]["agreement"] == 1.0
    assert ways["exact"]["worst_boundary_recall"] > 0.97
    assert found["product"]["name"] == "exact"
    assert 0.2 < ways["reference_half"]["boundary_recall"] < 1.0
    assert found["ratio"] == ways[found["product"]["name"]]["ratio"]
    assert found["codec"]["bytes"] < found["codec"]["png_bytes"]
    assert found["input"] == {"source": "drawn polygons", "images": 2, "num_superpixels": 150}
    json.dumps(found)


def test_real_images_are_taken_from_the_dataroot(nuscenes_one, monkeypatch):
    monkeypatch.setattr(bench_superpixels, "NUM_SUPERPIXELS", 30)
    found = bench_superpixels.run(rounds=1, dataroot=nuscenes_one, max_images=1, reduce=8)
    assert found["input"]["images"] == 1
    assert found["ways"]["reference"]["num_segments"] < 60


def test_a_dataroot_without_images(tmp_path):
    with pytest.raises(FileNotFoundError, match="no camera images"):
        bench_superpixels.run(rounds=1, dataroot=tmp_path)
