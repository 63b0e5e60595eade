import json

import pytest

pytest.importorskip("sklearn")

from lidardistill.bench import clusters as bench_clusters


@pytest.mark.parametrize("root", ["synthetic", "real", "labelled"])
def test_a_bench_says_what_was_measured_and_that_it_is_right(root, request):
    fixture = {"real": "nuscenes_one", "labelled": "tiny_world"}.get(root)
    dataroot = None if fixture is None else request.getfixturevalue(fixture)
    record = bench_clusters.run(rounds=1, dataroot=dataroot)
    json.dumps(record)
    for figures in (record, record["proposals"]):
        assert figures["calls"] == 5
        assert "scikit-learn" in figures["baseline"]["name"]
        assert figures["ratio"] == pytest.approx(
            figures["baseline"]["median_ms"] / figures["product"]["median_ms"], rel=0.02
        )
    quality = record["quality"]
    assert quality["ids_equal_to_scikit_learn"] is True
    assert quality["ground_mask_of_numpy_twin"] is True
    assert 0 < record["input"]["points_clustered"] < record["input"]["points"]
    assert ("ground_precision" in quality) == (root == "labelled")
    if root == "labelled":
        # Its road is at -1.8 m, half of its points; the rest is spread evenly over 3.8 m above it.
        assert quality["ground_recall"] == 1.0
        assert quality["ground_precision"] > 0.7
