import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidardistill.geometry import voxelize
from lidardistill.geometry.kernels import voxels_numba
from lidardistill.geometry.voxels import _hash

SLIDR = (0.1, 1.0, 0.1)
IMPLEMENTATIONS = pytest.mark.parametrize("implementation", ["numba", "numpy"])


def polar(rho, phi_degrees, z):
    phi = np.radians(phi_degrees)
    return [rho * np.cos(phi), rho * np.sin(phi), z]


def absolute_cells(points, size, kind, rounding):
    """One point at a time with the standard library: z, y, x or z, phi, rho, not yet shifted."""
    cells = []
    for x, y, z in np.asarray(points, dtype=np.float64)[:, :3].tolist():
        if kind == "cylindrical":
            x, y = math.sqrt(x * x + y * y), math.degrees(math.atan2(y, x))
        cells.append(
            [
                (math.floor if rounding == "floor" else round)(a / s)
                for a, s in zip((z, y, x), size[::-1], strict=True)
            ]
        )
    return np.array(cells, dtype=np.int64).reshape(-1, 3)


def assert_consistent(voxels, num_points, align=16):
    coords, shape, point2voxel, mask, voxel_points = voxels
    assert (coords.dtype, point2voxel.dtype, mask.dtype, voxel_points.dtype) == (
        np.int32,
        np.int64,
        np.bool_,
        np.int64,
    )
    assert point2voxel.shape == mask.shape == (num_points,)
    assert all(isinstance(side, int) and side % align == 0 and side > 0 for side in shape)
    assert np.all((coords >= 0) & (coords < shape))
    assert len(np.unique(coords, axis=0)) == len(coords) == len(voxel_points)
    assert mask[voxel_points].all()
    np.testing.assert_array_equal(point2voxel[voxel_points], np.arange(len(coords)))
    assert np.all(np.diff(voxel_points) > 0), "voxels come in the order of their first points"
    kept = np.flatnonzero(mask)
    assert np.all(voxel_points[point2voxel[kept]] <= kept), "no point comes before the first of its voxel"


def assert_same(ours, twin):
    for a, b in zip(ours, twin, strict=True):
        np.testing.assert_array_equal(a, b)


@IMPLEMENTATIONS
def test_cylindrical_cells_by_hand(implementation):
    points = np.array(
        [polar(5.05, 30.5, 0.25), polar(5.09, 30.9, 0.21), polar(5.05, -30.5, -0.25), polar(0.3, 179, 0)]
    )
    voxels = voxelize(points, SLIDR, kind="cylindrical", implementation=implementation)
    np.testing.assert_array_equal(voxels.point2voxel, [0, 0, 1, 2])
    np.testing.assert_array_equal(voxels.voxel_points, [0, 2, 3])
    # Absolute cells: z 2, -3, 0; phi 30, -31, 179 (or 178 by rounding); rho 50, 50, 3. Shifted by 16, 32, 0.
    np.testing.assert_array_equal(voxels.voxel_coords[:2], [[18, 62, 50], [13, 1, 50]])
    assert voxels.spatial_shape == (32, 224, 64)


@IMPLEMENTATIONS
def test_the_seam_is_behind_the_vehicle(implementation):
    points = np.array([polar(10.05, angle, 0.05) for angle in (179.5, -179.5, 0.5, -0.5)])
    voxels = voxelize(points, SLIDR, kind="cylindrical", implementation=implementation)
    phi = voxels.voxel_coords[:, 1]
    assert phi[0] - phi[1] == 359  # neighbours in space, opposite sides of the grid
    assert phi[2] - phi[3] == 1
    np.testing.assert_array_equal(phi, [179 + 192, -180 + 192, 192, 191])  # SLidR's degrees + 192
    assert voxels.spatial_shape[1] == 384


def test_exactly_backwards_is_the_last_sector():
    # atan2(0, -1) is +180 degrees, atan2(-0, -1) is -180: the cell of the first needs room in the grid.
    voxels = voxelize(np.array([[-1.0, 0.0, 0.0], [-1.0, -0.0, 0.0]]), SLIDR, kind="cylindrical")
    np.testing.assert_array_equal(voxels.voxel_coords[:, 1], [180 + 192, -180 + 192])


@IMPLEMENTATIONS
def test_negative_coordinates_floor_downwards(implementation):
    points = np.array([[-0.01, 0.01, -0.99], [-0.99, 0.99, -1.01], [0.5, -0.5, 0.0]])
    voxels = voxelize(points, (1, 1, 1), kind="cartesian", align=1, implementation=implementation)
    np.testing.assert_array_equal(voxels.voxel_coords, [[1, 1, 0], [0, 1, 0], [2, 0, 1]])
    assert voxels.spatial_shape == (3, 2, 2)


@IMPLEMENTATIONS
def test_round_centres_cells_on_whole_numbers(implementation):
    points = np.array([[0.4, 0, 0], [-0.4, 0, 0], [0.6, 0, 0], [0.5, 0, 0], [1.5, 0, 0]])
    voxels = voxelize(points, (1, 1, 1), kind="cartesian", rounding="round", implementation=implementation)
    np.testing.assert_array_equal(voxels.point2voxel, [0, 0, 1, 0, 2])
    np.testing.assert_array_equal(voxels.voxel_coords[:, 2], [0, 1, 2])


@pytest.mark.parametrize("kind", ["cylindrical", "cartesian"])
@pytest.mark.parametrize("rounding", ["floor", "round"])
@pytest.mark.parametrize("align", [1, 16])
def test_cells_are_the_absolute_ones_shifted_by_whole_blocks(rng, kind, rounding, align):
    points = rng.normal([3, -8, 1, 0], [6, 4, 1, 9], size=(400, 4)).astype(np.float32)
    size = (0.5, 2.0, 0.25)
    voxels = voxelize(points, size, kind=kind, rounding=rounding, align=align)
    assert_consistent(voxels, 400, align)
    absolute = absolute_cells(points, size, kind, rounding)
    shift = voxels.voxel_coords[voxels.point2voxel] - absolute
    assert np.all(shift == shift[0])
    assert np.all(shift[0] % align == 0)
    # What the network halves four times is what would be halved without the shift.
    coarse = voxels.voxel_coords[voxels.point2voxel] // align - absolute // align
    assert np.all(coarse == coarse[0])
    assert len(voxels.voxel_coords) == len(np.unique(absolute, axis=0))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 300),
    st.sampled_from([0.3, 3.0, 300.0]),
    st.sampled_from(["cylindrical", "cartesian"]),
    st.sampled_from(["floor", "round"]),
    st.booleans(),
)
def test_the_twins_agree(seed, num_points, spread, kind, rounding, with_range):
    rng = np.random.default_rng(seed)
    points = rng.normal(0, spread, size=(num_points, 3)).round(int(rng.integers(0, 3)))
    options = {
        "kind": kind,
        "rounding": rounding,
        "point_cloud_range": [-2, -2, -1, 2, 3, 1] if with_range else None,
    }
    size = (0.5, 1.0, 0.25) if with_range else rng.uniform(0.05, 2.0, 3)
    ours = voxelize(points, size, **options)
    assert_consistent(ours, num_points)
    assert_same(ours, voxelize(points, size, implementation="numpy", **options))


@IMPLEMENTATIONS
def test_a_range_is_half_open_and_its_grid_starts_at_its_minimum(implementation):
    box = [-51.2, -51.2, -5.0, 51.2, 51.2, 3.0]
    points = np.array(
        [
            [-51.2, -51.2, -5.0],
            [51.2, 0, 0],
            [0, 51.2, 0],
            [0, 0, 3.0],
            [-51.3, 0, 0],
            [0, 0, 0],
            [np.nextafter(51.2, 0), np.nextafter(51.2, 0), np.nextafter(3.0, 0)],
        ]
    )
    voxels = voxelize(
        points, (0.1, 0.1, 0.2), kind="cartesian", point_cloud_range=box, implementation=implementation
    )
    assert_consistent(voxels, 7)
    np.testing.assert_array_equal(voxels.point_mask, [True, False, False, False, False, True, True])
    assert voxels.spatial_shape == (48, 1024, 1024)
    np.testing.assert_array_equal(voxels.voxel_coords[0], [0, 0, 0])
    np.testing.assert_array_equal(voxels.voxel_coords[2, 1:], [1023, 1023])


def test_a_rounded_range_has_room_for_its_far_side():
    points = np.array([[0.0, 0, 0], [15.9, 0, 0]])
    box = [0, -8, -8, 16, 8, 8]
    voxels = voxelize(points, (1, 1, 1), kind="cartesian", rounding="round", point_cloud_range=box)
    assert voxels.spatial_shape == (32, 32, 32)
    np.testing.assert_array_equal(voxels.voxel_coords[1], [8, 8, 16])


def test_a_point_rounded_onto_the_far_side_stays_inside():
    # (0.3 - epsilon) / 0.1 is 3.0 in float64.
    points = np.array([[np.nextafter(0.3, 0), 0.0, 0.0]])
    assert np.floor(points[0, 0] / 0.1) in (2, 3)
    voxels = voxelize(
        points, (0.1, 0.1, 0.1), kind="cartesian", point_cloud_range=[0, 0, 0, 0.3, 0.3, 0.3], align=1
    )
    assert voxels.spatial_shape == (3, 3, 3)
    assert_consistent(voxels, 1, align=1)


def test_a_range_of_a_cylindrical_grid_is_a_box_of_space():
    points = np.array([polar(5, 10, 0), polar(50, 10, 0), polar(5, 100, 0)])
    box = [-10, -10, -3, 10, 10, 3]
    ours = voxelize(points, SLIDR, kind="cylindrical", point_cloud_range=box)
    np.testing.assert_array_equal(ours.point_mask, [True, False, True])
    alone = voxelize(points[[0, 2]], SLIDR, kind="cylindrical")
    np.testing.assert_array_equal(ours.voxel_coords, alone.voxel_coords)
    assert ours.spatial_shape == alone.spatial_shape


@IMPLEMENTATIONS
@pytest.mark.parametrize("kind", ["cylindrical", "cartesian"])
def test_no_points(implementation, kind):
    voxels = voxelize(np.zeros((0, 4), np.float32), SLIDR, kind=kind, implementation=implementation)
    assert_consistent(voxels, 0)
    assert voxels.voxel_coords.shape == (0, 3)
    assert voxels.spatial_shape == (16, 16, 16)
    outside = voxelize(
        np.full((3, 3), 9.0),
        SLIDR,
        kind=kind,
        point_cloud_range=[0, 0, 0, 1, 1, 1],
        implementation=implementation,
    )
    assert_consistent(outside, 3)
    assert not outside.point_mask.any()


def test_keys_that_collide_are_told_apart():
    # Sixteen slots and cells that are far apart: some share a slot and must be probed past each other.
    cells = np.random.default_rng(0).integers(0, 30_000, size=(3, 8)).astype(np.float64)
    for _ in range(50):
        coords, voxel, first = _hash(np.repeat(cells, 3, axis=1), np.zeros(3))
        np.testing.assert_array_equal(coords, cells[::-1].T)
        np.testing.assert_array_equal(voxel, np.repeat(np.arange(8), 3))
        np.testing.assert_array_equal(first, 3 * np.arange(8))
        cells = (cells * 7 + 1) % 30_000


@pytest.mark.parametrize("side", [voxels_numba.MAX_SIDE - 16, voxels_numba.MAX_SIDE + 16])
def test_a_grid_too_wide_for_the_keys(side):
    """The largest one that fits, and a larger one, which is sorted instead."""
    rng = np.random.default_rng(0)
    points = rng.integers(0, 3, size=(200, 3)) * (side / 2.0 - 1)
    ours, twin = (
        voxelize(points, (1.0, 1.0, 1.0), kind="cartesian", implementation=i) for i in ("numba", "numpy")
    )
    assert len(ours.voxel_coords) == 27
    assert_same(ours, twin)


def test_the_real_sweep(real_keyframe):
    ours = voxelize(real_keyframe.points, SLIDR, kind="cylindrical")
    assert_consistent(ours, 34_688)
    assert ours.spatial_shape[1] == 384
    absolute = absolute_cells(real_keyframe.points, SLIDR, "cylindrical", "floor")
    shift = ours.voxel_coords[ours.point2voxel] - absolute
    np.testing.assert_array_equal(shift[0, 1:], [192, 0])
    assert np.all(shift == shift[0])
    assert_same(ours, voxelize(real_keyframe.points, SLIDR, kind="cylindrical", implementation="numpy"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"points": np.zeros((5, 2))}, r"points: expected \(N, >=3\)"),
        ({"points": np.array([[0, 0, 0], [0, np.nan, 0]])}, "1 of 2 rows with NaN or infinity, row 1 first"),
        ({"points": np.array([[np.inf, 0, 0]])}, "NaN or infinity"),
        ({"points": np.array([[0.0, 0, 0], [1e12, 0, 0]])}, "more than 32 bits number"),
        ({"voxel_size": (0.1, 0.0, 0.1)}, "voxel_size: expected three numbers above zero"),
        ({"voxel_size": (0.1, -1.0, 0.1)}, "voxel_size"),
        ({"voxel_size": (0.1, np.nan, 0.1)}, "voxel_size"),
        ({"voxel_size": 0.1}, "voxel_size"),
        ({"kind": "spherical"}, "kind: expected one of cylindrical, cartesian"),
        ({"rounding": "ceil"}, "rounding: expected one of floor, round"),
        ({"implementation": "cuda"}, "implementation"),
        ({"align": 12}, "align: expected a power of two"),
        ({"align": 0}, "align"),
        ({"align": True}, "align"),
        ({"point_cloud_range": [0, 0, 0, 1, 1, 0]}, "min < max"),
        ({"point_cloud_range": [0, 0, 0, 1, 1]}, "point_cloud_range"),
    ],
)
def test_bad_arguments(change, words):
    arguments = {"points": np.zeros((5, 3)), "voxel_size": SLIDR, "kind": "cartesian"}
    with pytest.raises(ValueError, match=words):
        voxelize(**(arguments | change))


def test_a_call_leaves_the_results_of_the_last_one_alone_and_threads_do_not_meet():
    """Scratch memory is kept between calls; none of it may be in a result, or be shared by two threads."""
    rng = np.random.default_rng(0)
    clouds = [rng.normal(scale=20, size=(n, 4)).astype(np.float32) for n in (4000, 9000, 0, 500, 7000) * 4]
    options = [
        {"kind": "cylindrical"},
        {"kind": "cartesian", "point_cloud_range": (-30, -30, -3, 30, 30, 3)},
    ]
    for option in options:

        def voxels(cloud, option=option):
            return voxelize(cloud, (0.5, 0.5, 0.5), **option)

        alone = [[np.copy(part) for part in voxels(cloud)] for cloud in clouds]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(voxels, clouds))
        for one, other in zip(alone, together, strict=True):
            for a, b in zip(one, other, strict=True):
                np.testing.assert_array_equal(a, np.asarray(b))
