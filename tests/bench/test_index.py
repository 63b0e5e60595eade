"""`bench index` at a small size, on tables that both the devkit and the index read."""

from __future__ import annotations

import importlib.util

from lidardistill.bench import index as bench_index
from lidardistill.bench.index_tables import write_tables
from lidardistill.datasets.nuscenes.source import NuScenesIndex


def test_the_tables_have_the_size_and_structure_of_the_real_ones(tmp_path):
    rows = write_tables(tmp_path, bench_index.VERSION, 60)
    assert rows["sample_data"] == rows["ego_pose"] == 77 * 60
    assert rows["sample_annotation"] == 34 * 60
    assert (rows["scene"], rows["sample"]) == (2, 60)
    index = NuScenesIndex.open(tmp_path, bench_index.VERSION)
    assert index.num_keyframes == len(set(index.tokens)) == 60
    assert [len(index.sweeps(row)) for row in (0, 1, 40)] == [9, 9, 9]


def test_it_measures_and_leaves_nothing(tmp_path):
    with_devkit = importlib.util.find_spec("nuscenes") is not None
    found = bench_index.run(rounds=1, keyframes=50, baseline_keyframes=20, folder=str(tmp_path))
    assert not list(tmp_path.iterdir())
    assert found["keyframes"] == 50
    assert found["rows"]["sample_data"] == 3850
    assert found["index_bytes"] > 50 * 6 * 128
    assert found["build"]["seconds"] > 0
    ours = found["ours"]
    assert (
        0
        < ours["rss_import_mb"]["median"]
        <= ours["rss_open_mb"]["median"]
        <= ours["rss_all_gets_mb"]["median"]
    )
    assert ours["rss_open_mb"]["median"] < 150  # torch or numba at import would be more
    assert (found["ratio"] is not None) == with_devkit
    if with_devkit:
        assert (
            found["ratio"]
            == found["baseline"]["open_ms"]["median"] / found["ours_at_baseline_size"]["open_ms"]["median"]
        )
