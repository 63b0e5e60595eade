import copy
import json

import numpy as np
import pytest

from lidardistill.bench import projection as bench_projection
from lidardistill.bench import voxelize as bench_voxelize
from lidardistill.bench.harness.timing import alternate


@pytest.mark.parametrize("bench", [bench_projection, bench_voxelize])
def test_a_bench_says_what_was_measured_and_that_it_is_right(bench):
    record = bench.run(rounds=1)
    json.dumps(record)  # plain values only
    for side in ("product", "baseline"):
        assert record[side]["median_ms"] > 0
    assert record["baseline"]["name"]
    assert record["ratio"] == pytest.approx(
        record["baseline"]["median_ms"] / record["product"]["median_ms"], rel=0.01
    )
    assert record["calls"] == 5
    assert record["input"]["source"] == "synthetic"
    assert record["input"]["points"] == 34_688
    (equal,) = (value for key, value in record["quality"].items() if "equal" in key)
    assert equal is True


def test_the_synthetic_sweep_is_like_a_real_one():
    quality = bench_projection.run(rounds=1)["quality"]
    assert 15_000 < quality["pairs"] < 35_000
    assert quality["pairs_that_baseline_moves"] < 0.01 * quality["pairs"]


def test_the_real_keyframe_is_read(nuscenes_one):
    quality = bench_projection.run(rounds=1, dataroot=nuscenes_one)["quality"]
    assert quality["pairs"] == 22_115
    assert quality["bit_equal_to_numpy_float64"]
    assert 0 < quality["pairs_that_baseline_moves"] < 0.005 * 22_115


def test_the_baseline_is_the_devkits_chain_to_the_bit():
    """Same types, same memory layout, same numbers: otherwise the ratio is measured against a straw man."""
    data_classes = pytest.importorskip("nuscenes.utils.data_classes")
    view_points = pytest.importorskip("nuscenes.utils.geometry_utils").view_points
    rig = bench_projection.synthetic_rig(num_points=6400)
    height, width = rig.image_size
    as_read = data_classes.LidarPointCloud(rig.points[:, :4].T)
    rows, pixels = [], []
    for view in range(len(rig.intrinsics)):
        cloud = copy.deepcopy(as_read)
        assert cloud.points.strides == rig.points[:, :4].T.copy(order="K").strides
        for forward in (rig.lidar2ego, rig.ego2global):
            cloud.rotate(forward[:3, :3])
            cloud.translate(forward[:3, 3])
        for backward in (rig.cam_ego2global[view], rig.cam2ego[view]):
            cloud.translate(-backward[:3, 3])
            cloud.rotate(backward[:3, :3].T)
        u, v, _ = view_points(cloud.points[:3], rig.intrinsics[view], normalize=True)
        keep = (cloud.points[2] > 1.0) & (u > 0) & (u < width - 1) & (v > 0) & (v < height - 1)
        rows.append(np.flatnonzero(keep))
        pixels.append(np.column_stack([np.full(keep.sum(), view), np.round(v[keep]), np.round(u[keep])]))
    pairing_points, pairing_images = bench_projection.devkit_chain(rig)
    assert len(pairing_points) > 1000
    np.testing.assert_array_equal(pairing_points, np.concatenate(rows))
    np.testing.assert_array_equal(pairing_images, np.concatenate(pixels))


def test_the_two_alternate():
    calls = []
    record = alternate(lambda: calls.append("p"), lambda: calls.append("b"), rounds=2)
    assert "".join(calls) == "pb" * 15  # one round of five more, for warming up
    assert record["calls"] == 10
    with pytest.raises(ValueError, match="rounds"):
        alternate(lambda: None, lambda: None, rounds=0)


def test_a_root_without_tables(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"sample_data\.json"):
        bench_projection.run(rounds=1, dataroot=tmp_path)
