from __future__ import annotations

import numpy as np
import pytest

from lidardistill.regions.sweep.config import GroundConfig
from lidardistill.regions.sweep.ground import find_ground
from tests.support.streets import SENSOR_HEIGHT, road

IMPLEMENTATIONS = pytest.mark.parametrize("implementation", ["numba", "numpy"])


def boxes(rng, num=1500, slope=(0.0, 0.0)):
    """Points half a metre to two metres above the same road."""
    points = road(rng, num, slope)
    points[:, 2] += rng.uniform(0.5, 2.0, num)
    return points


@IMPLEMENTATIONS
@pytest.mark.parametrize("slope", [(0.0, 0.0), (0.05, -0.03), (-0.08, 0.0)])
def test_a_tilted_road_goes_and_what_stands_on_it_stays(rng, slope, implementation):
    ground = find_ground(
        np.concatenate([road(rng, slope=slope), boxes(rng, slope=slope)]), implementation=implementation
    )
    assert ground.ground_mask[:4000].all()
    assert not ground.ground_mask[4000:].any()
    np.testing.assert_allclose(ground.planes[..., :2], np.broadcast_to(slope, (8, 3, 2)), atol=0.01)
    np.testing.assert_allclose(ground.planes[..., 2], -SENSOR_HEIGHT, atol=0.2)


@IMPLEMENTATIONS
def test_every_sector_and_ring_has_its_own_plane(implementation):
    """A road that rises only ahead, beyond 12 m: one zone of four sectors and two rings tilts."""
    grid = np.stack(np.meshgrid(np.arange(-29, 30, 0.5), np.arange(-29, 30, 0.5)), axis=-1).reshape(-1, 2)
    x, y = grid.T
    ahead = (np.abs(np.arctan2(y, x) - np.pi / 4) <= np.pi / 4) & (np.hypot(x, y) >= 12)
    z = np.where(ahead, 0.04 * (np.hypot(x, y) - 12), 0.0) - 2.0
    settings = GroundConfig(num_sectors=4, ring_edges_m=(12.0,), iterations=6)
    ground = find_ground(np.column_stack([grid, z]), settings, implementation=implementation)
    tilted = np.linalg.norm(ground.planes[..., :2], axis=-1) > 0.02
    assert tilted.tolist() == [[False, False], [False, False], [False, True], [False, False]]
    assert ground.ground_mask.mean() > 0.95, "a cone is not quite a plane"


@pytest.mark.parametrize("seed", range(6))
def test_equal_to_the_numpy_twin(seed):
    rng = np.random.default_rng(seed)
    slope = rng.uniform(-0.1, 0.1, 2)
    points = np.concatenate(
        [road(rng, 3000, slope), boxes(rng, 2000, slope), rng.uniform(-30, 30, (500, 3)) * [1, 1, 0.2]]
    ).astype(np.float32)
    settings = GroundConfig(num_sectors=seed + 1, ring_edges_m=(8.0, 15.0, 30.0)[: 1 + seed % 3])
    ours, twin = (find_ground(points, settings, implementation=i) for i in ("numba", "numpy"))
    np.testing.assert_allclose(ours.planes, twin.planes, atol=1e-9)
    np.testing.assert_allclose(ours.height_m, twin.height_m, atol=1e-9)
    np.testing.assert_array_equal(ours.ground_mask, twin.ground_mask)
    assert 0.2 < ours.ground_mask.mean() < 0.9


@IMPLEMENTATIONS
def test_a_zone_without_a_road_takes_the_plane_inwards(rng, implementation):
    """Beyond 24 m there is only the upper half of a wall: no plane fits, and no point is ground."""
    wall = np.column_stack([np.full(600, 30.0), rng.uniform(-8, 8, 600), rng.uniform(-0.5, 3, 600)])
    ground = find_ground(np.concatenate([road(rng, reach=23.0), wall]), implementation=implementation)
    np.testing.assert_array_equal(ground.planes[:, 2], ground.planes[:, 1])
    assert not ground.ground_mask[4000:].any()


@IMPLEMENTATIONS
@pytest.mark.parametrize("kind", ["line", "steep", "few"])
def test_a_fit_that_cannot_be_believed_is_not_taken(rng, kind, implementation):
    strip = np.column_stack([rng.uniform(14, 20, 400), rng.uniform(-2, 2, 400), np.full(400, -1.6)])
    settings = GroundConfig(num_sectors=1, ring_edges_m=(12.0, 24.0), max_slope=0.12)
    if kind == "line":
        strip[:, 1] = rng.normal(0, 1e-3, 400)
    elif kind == "steep":
        strip[:, 2] += 0.2 * (strip[:, 0] - 17)
    else:
        strip = strip[:10]
    cloud = np.concatenate([road(rng, reach=11.0), strip])
    ground = find_ground(cloud, settings, implementation=implementation)
    np.testing.assert_array_equal(ground.planes[0, 1], ground.planes[0, 0])
    np.testing.assert_array_equal(ground.planes[0, 2], ground.planes[0, 0])


@IMPLEMENTATIONS
@pytest.mark.parametrize(("step", "is_ground"), [(0.4, True), (-0.4, True), (0.7, False)])
def test_a_zone_looks_as_far_as_seed_height(rng, step, is_ground, implementation):
    """A level above or below the road, outside its thickness and within the search distance."""
    points = road(rng)
    far = np.hypot(*points[:, :2].T) >= 12
    points[far, 2] += step
    found = find_ground(points, GroundConfig(ring_edges_m=(12.0,)), implementation=implementation)
    assert found.ground_mask[~far].all()
    assert (found.ground_mask[far] == is_ground).all()
    if is_ground:
        np.testing.assert_allclose(found.planes[:, 1, 2], step - SENSOR_HEIGHT, atol=0.05)


@IMPLEMENTATIONS
def test_echoes_from_below_the_road_do_not_pull_it_down(rng, implementation):
    deep = road(rng, 60)
    deep[:, 2] -= rng.uniform(1, 4, 60)
    ground = find_ground(np.concatenate([road(rng), boxes(rng), deep]), implementation=implementation)
    np.testing.assert_allclose(ground.planes[..., 2], -SENSOR_HEIGHT, atol=0.2)
    assert ground.ground_mask[-60:].all(), "they stand on nothing: no object"
    assert not ground.ground_mask[4000:-60].any()


@IMPLEMENTATIONS
def test_no_points_and_none_nearby(rng, implementation):
    nothing = find_ground(np.empty((0, 4), np.float32), implementation=implementation)
    assert nothing.ground_mask.shape == nothing.height_m.shape == (0,)
    assert not nothing.planes.any()
    one = find_ground(np.array([[1.0, 2.0, -1.5]]), implementation=implementation)
    assert one.ground_mask.tolist() == [True]
    far = road(rng)
    far = far[np.hypot(*far[:, :2].T) > 15]
    assert find_ground(far, implementation=implementation).ground_mask.all()


def test_the_order_of_the_points_does_not_matter(rng):
    points = np.concatenate([road(rng), boxes(rng)])
    order = rng.permutation(len(points))
    np.testing.assert_array_equal(
        find_ground(points[order]).ground_mask, find_ground(points).ground_mask[order]
    )


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"expected \(N, >=3\)"):
        find_ground(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="1 of 2 rows with NaN or infinity, row 1 first"):
        find_ground(np.array([[0, 0, 0], [0, np.nan, 0]]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ring_edges_m": (12.0, 12.0)}, "ascending"),
        ({"ring_edges_m": ()}, "ascending"),
        ({"num_sectors": 0}, "num_sectors"),
        ({"min_points": 2}, "min_points"),
        ({"seed_quantile": 1.5}, "seed_quantile"),
        ({"thickness_m": 0.0}, "thickness_m"),
    ],
)
def test_bad_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        GroundConfig(**change)


def test_agrees_with_open3ds_plane_on_a_plane(rng):
    """RANSAC of one plane is another method; on a flat road both must find the same points."""
    try:
        open3d = pytest.importorskip("open3d")
    except OSError as error:  # a missing libusb
        pytest.skip(f"open3d does not load here: {error}")
    points = np.concatenate([road(rng, slope=(0.03, 0.01)), boxes(rng, slope=(0.03, 0.01))])
    open3d.utility.random.seed(0)
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    _, inliers = cloud.segment_plane(distance_threshold=0.25, ransac_n=3, num_iterations=500)
    theirs = np.zeros(len(points), bool)
    theirs[np.asarray(inliers)] = True
    assert (theirs == find_ground(points).ground_mask).mean() > 0.99
