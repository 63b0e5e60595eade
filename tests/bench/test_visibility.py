import json

import pytest

from lidardistill.bench import visibility as bench_visibility


@pytest.mark.parametrize("root", ["synthetic", "real"])
def test_a_bench_says_what_was_measured_and_that_it_is_right(root, request):
    dataroot = None if root == "synthetic" else request.getfixturevalue("nuscenes_one")
    record = bench_visibility.run(rounds=1, dataroot=dataroot)
    json.dumps(record)
    for figures in (record, record["dense_zbuffer"]):
        assert figures["calls"] == 5
        assert figures["baseline"]["name"]
    quality = record["quality"]
    assert quality["equal_to_numpy_twin"] is True
    assert quality["pairs_that_trees_move"] == 0
    assert 0 < quality["hidden_share"] < 0.5
    # Squares cover more than discs.
    assert quality["pairs_that_zbuffer_moves"] < 0.2 * record["input"]["pairs"]
