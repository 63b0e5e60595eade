from __future__ import annotations

import numpy as np
import pytest

from lidardistill.regions.sweep.clusters import (
    NUM_HEADINGS,
    cluster_sizes,
    dbscan,
    propose_regions,
)
from lidardistill.regions.sweep.config import GroundConfig, RegionConfig
from tests.support.streets import box, street

IMPLEMENTATIONS = pytest.mark.parametrize("implementation", ["numba", "numpy"])


def blobs(seed: int, num: int = 700) -> np.ndarray:
    """Clumps of all densities and scattered points, on both sides of the origin; some points twice."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(-12, 12, (12, 3)) * [1, 1, 0.2]
    spread = rng.uniform(0.05, 0.9, (12, 1))
    which = rng.integers(0, 12, num)
    points = centres[which] + rng.normal(0, 1, (num, 3)) * spread[which]
    points[:100] = rng.uniform(-12, 12, (100, 3)) * [1, 1, 0.3]
    points[100:110] = points[110:120]
    return points[rng.permutation(num)].astype(np.float32)


def along_x(*xs: float) -> np.ndarray:
    return np.column_stack([xs, np.zeros(len(xs)), np.zeros(len(xs))])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("eps", "min_points"), [(0.75, 5), (0.3, 1), (1.5, 12)])
def test_equal_to_the_brute_force_twin(seed, eps, min_points):
    points = blobs(seed)
    ours, twin = (dbscan(points, eps, min_points, implementation=i) for i in ("numba", "numpy"))
    for a, b in zip(ours, twin, strict=True):
        np.testing.assert_array_equal(a, b)
    assert ours.num_clusters > 1
    assert ours.cluster_mask.sum() > ours.core_mask.sum() or min_points == 1, "there must be border points"


@pytest.mark.parametrize("seed", range(4))
def test_ids_are_scikit_learns(seed):
    cluster = pytest.importorskip("sklearn.cluster")
    points = blobs(seed, 3000)
    theirs = cluster.DBSCAN(eps=0.75, min_samples=5).fit(points.astype(np.float64))
    ours = dbscan(points, 0.75, 5)
    np.testing.assert_array_equal(np.where(ours.cluster_mask, ours.cluster, -1), theirs.labels_)
    np.testing.assert_array_equal(np.flatnonzero(ours.core_mask), theirs.core_sample_indices_)


@IMPLEMENTATIONS
def test_a_border_point_joins_the_cluster_whose_first_core_comes_first(implementation):
    """Two pairs of cores at 0 and 2 m, and one point 1 m from both that has too few neighbours to be core."""
    left, right = [0.0, -0.1, -0.2, -0.3], [2.0, 2.1, 2.2, 2.3]
    for first, second, expected in ((left, right, 0), (right, left, 0)):
        points = along_x(*first, *second, 1.0)
        found = dbscan(points, 1.0, 4, implementation=implementation)
        assert found.core_mask.tolist() == [True] * 8 + [False]
        assert found.cluster.tolist() == [0] * 4 + [1] * 4 + [expected]
    # The border point comes first in the scan; the clusters' cores alternate.
    points = along_x(1.0, 2.0, 0.0, 2.1, -0.1, 2.2, -0.2, 2.3, -0.3)
    found = dbscan(points, 1.0, 4, implementation=implementation)
    assert found.cluster.tolist() == [0, 0, 1, 0, 1, 0, 1, 0, 1]


@IMPLEMENTATIONS
def test_border_points_do_not_join_clusters(implementation):
    """A chain whose middle link has too few neighbours stays two clusters."""
    points = along_x(0.0, 0.1, 0.2, 0.3, 0.9, 1.5, 1.6, 1.7, 1.8)
    found = dbscan(points, 0.61, 4, implementation=implementation)
    assert found.num_clusters == 2
    assert not found.core_mask[4]
    assert dbscan(points, 0.61, 3, implementation=implementation).num_clusters == 1


@IMPLEMENTATIONS
def test_the_radius_itself_counts_and_so_does_the_point(implementation):
    points = along_x(0.0, 0.75, 1.5)
    assert dbscan(points, 0.75, 3, implementation=implementation).core_mask.tolist() == [False, True, False]
    assert dbscan(points, 0.75, 3, implementation=implementation).cluster_mask.all()
    assert not dbscan(points, 0.7499, 2, implementation=implementation).cluster_mask.any()
    assert dbscan(points, 0.7499, 1, implementation=implementation).cluster.tolist() == [0, 1, 2]


@IMPLEMENTATIONS
def test_distances_are_taken_in_all_three_axes(implementation):
    points = np.concatenate([np.tile([[1.0, 2.0, 0.0]], (5, 1)), np.tile([[1.0, 2.0, 3.0]], (5, 1))])
    assert dbscan(points, 0.75, 5, implementation=implementation).num_clusters == 2


@IMPLEMENTATIONS
def test_no_points(implementation):
    found = dbscan(np.empty((0, 5), np.float32), 0.75, 5, implementation=implementation)
    assert (len(found.cluster), found.num_clusters) == (0, 0)
    assert cluster_sizes(np.empty((0, 5)), found).num_points.shape == (0,)
    regions = propose_regions(np.empty((0, 5), np.float32), implementation=implementation)
    assert (len(regions.region), regions.num_regions) == (0, 0)


def test_far_from_the_origin():
    points = blobs(1).astype(np.float64)
    near, far = dbscan(points, 0.75, 5), dbscan(points + np.array([4e5, -3e5, 1e3]), 0.75, 5)
    np.testing.assert_array_equal(near.cluster, far.cluster)
    with pytest.raises(ValueError, match="Drop the stray points"):
        dbscan(np.concatenate([points, [[1e7, 0, 0]]]), 0.75, 5)


@pytest.mark.parametrize(
    ("eps", "min_points", "message"),
    [(0.0, 5, "eps_m"), (np.nan, 5, "eps_m"), (1.0, 0, "min_points"), (1.0, True, "min_points")],
)
def test_bad_parameters_are_named(eps, min_points, message):
    with pytest.raises(ValueError, match=message):
        dbscan(np.zeros((3, 3)), eps, min_points)


@pytest.mark.parametrize("yaw", [0.0, 0.2, 0.7, 2.0])
def test_sizes_do_not_depend_on_the_heading(rng, yaw):
    points = np.concatenate(
        [box(rng, [8, 5, 0], [6, 1, 2], 900, yaw), box(rng, [-8, 5, 0], [1, 1, 3], 500, yaw)]
    )
    sizes = cluster_sizes(points, dbscan(points, 0.75, 5))
    assert sizes.num_points.tolist() == [900, 500]
    assert np.hypot(6, 1) > sizes.length_m[0] > 6 * np.cos(np.pi / 2 / NUM_HEADINGS) - 0.1
    np.testing.assert_allclose(sizes.height_m, [2, 3], atol=0.1)


@IMPLEMENTATIONS
def test_objects_are_regions_and_all_else_is_not(rng, implementation):
    points, part = street(rng)
    before = points.copy()
    found = propose_regions(points, implementation=implementation)
    np.testing.assert_array_equal(points, before)
    assert found.num_regions == 2
    car, bus = found.region[part == 1], found.region[part == 2]
    assert len(set(car)) == len(set(bus)) == 1
    assert {car[0], bus[0]} == {0, 1}
    np.testing.assert_array_equal(found.region_mask, (part == 1) | (part == 2))
    np.testing.assert_array_equal(found.ground_mask, part == 0)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"max_length_m": 50.0}, {1, 2, 3}),
        ({"max_length_m": 8.0}, {1}),
        ({"max_height_m": 9.0}, {1, 2, 4}),
        ({"max_height_m": 2.0}, {1}),
        ({"min_points": 500}, {2}),
        ({"min_points": 5000}, set()),
        ({"min_range_m": 0.0}, {1, 2, 6}),
        ({"eps_m": 1e-3}, set()),
        ({"min_neighbors": 2000, "max_length_m": 50.0}, set()),
        ({"ground": GroundConfig(thickness_m=1.7, iterations=1)}, {2}),
    ],
)
def test_each_setting_decides(rng, change, kept):
    points, part = street(rng)
    found = propose_regions(points, RegionConfig(**change))
    shares = {k: found.region_mask[part == k].mean() for k in range(1, 7)}
    assert {k for k, share in shares.items() if share > 0.25} == kept
    assert sorted(set(found.region[found.region_mask])) == list(range(found.num_regions))


def test_the_order_of_the_points_renames_at_most(rng):
    points, _ = street(rng)
    order = rng.permutation(len(points))
    one, other = propose_regions(points), propose_regions(points[order])
    np.testing.assert_array_equal(one.region_mask[order], other.region_mask)
    pairs = np.unique(np.column_stack([one.region[order], other.region])[other.region_mask], axis=0)
    assert len(pairs) == one.num_regions == other.num_regions


def test_bad_proposal_settings_are_named():
    with pytest.raises(ValueError, match="max_length_m"):
        RegionConfig(max_length_m=0.0)


def test_the_real_sweep(nuscenes_one):
    """Half of the points are road; the regions are some hundred; the twins agree to the last point."""
    (path,) = (nuscenes_one / "samples" / "LIDAR_TOP").glob("*.bin")
    points = np.fromfile(path, np.float32).reshape(-1, 5)
    found = propose_regions(points)
    assert 0.4 < found.ground_mask.mean() < 0.6
    assert 100 < found.num_regions < 300
    assert 0.1 < found.region_mask.mean() < 0.3
    near = points[np.hypot(points[:, 0], points[:, 1]) < 12]
    for a, b in zip(propose_regions(near), propose_regions(near, implementation="numpy"), strict=True):
        np.testing.assert_array_equal(a, b)
