import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lidardistill.geometry import intrinsics_to_cam2img, kitti_calibration, pair_points, project
from lidardistill.geometry.kernels import projection_numba

WIDTH, HEIGHT = 100, 60
# A LiDAR frame that is the camera frame, 10 px of focal length, and the centre at (50, 30).
CAM2IMG = intrinsics_to_cam2img([[[10, 0, 50], [0, 10, 30], [0, 0, 1]]])
LIDAR2CAM = np.eye(4)[None]
BARREL = [-0.37, 0.2, 0.002, 0.001, -0.07]
IMPLEMENTATIONS = pytest.mark.parametrize("implementation", ["numba", "numpy"])


def at(*uvd):
    """The points that CAM2IMG puts at (u, v) at depth d."""
    u, v, d = np.array(uvd, dtype=np.float64).reshape(-1, 3).T
    return np.stack([(u - 50) / 10 * d, (v - 30) / 10 * d, d], axis=1)


def pair(points, **options):
    return pair_points(points, LIDAR2CAM, CAM2IMG, (HEIGHT, WIDTH), **options)


def assert_same(ours, twin):
    for a, b in zip(ours, twin, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def random_scene(rng, num_points, num_views=5, dtype=np.float32):
    points = rng.normal(0, 25, size=(num_points, 5)).astype(dtype)
    lidar2cam = np.tile(np.eye(4), (num_views, 1, 1))
    lidar2cam[:, :3, :3] = Rotation.random(num_views, random_state=int(rng.integers(1000))).as_matrix()
    lidar2cam[:, :3, 3] = rng.normal(size=(num_views, 3))
    intrinsics = np.tile(np.eye(3), (num_views, 1, 1))
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = rng.uniform(200, 900, num_views)
    intrinsics[:, 0, 1] = rng.normal(size=num_views)
    intrinsics[:, :2, 2] = rng.uniform(100, 300, size=(num_views, 2))
    image_size = rng.integers(200, 600, size=(num_views, 2))
    return points, lidar2cam, intrinsics_to_cam2img(intrinsics), image_size


@IMPLEMENTATIONS
def test_pixels_by_hand(implementation):
    points = at((20.2, 7.9, 5.0), (80.7, 40.4, 30.0))
    pairing_points, pairing_images, depth = pair(points, implementation=implementation)
    np.testing.assert_array_equal(pairing_points, [0, 1])
    np.testing.assert_array_equal(pairing_images, [[0, 8, 20], [0, 40, 81]])
    np.testing.assert_array_equal(depth, np.float32([5, 30]))
    assert (pairing_points.dtype, pairing_images.dtype, depth.dtype) == (np.int64, np.int64, np.float32)


@IMPLEMENTATIONS
def test_halves_go_to_the_even_pixel(implementation):
    # With a depth of 4 m, halves of a pixel are exact in binary.
    _, images, _ = pair(
        at((40.5, 30, 4), (41.5, 30, 4), (50, 20.5, 4), (50, 21.5, 4)), implementation=implementation
    )
    np.testing.assert_array_equal(images[:, 1:], [[30, 40], [30, 42], [20, 50], [22, 50]])


@IMPLEMENTATIONS
def test_the_border_is_strict(implementation):
    edge = [(0, 30, 4), (99, 30, 4), (50, 0, 4), (50, 59, 4)]
    inner = [(0.25, 30, 4), (98.75, 30, 4), (50, 0.25, 4), (50, 58.75, 4)]
    pairing = pair(at(*edge, *inner), implementation=implementation)
    np.testing.assert_array_equal(pairing.pairing_points, [4, 5, 6, 7])
    np.testing.assert_array_equal(pairing.pairing_images[:, 1:], [[30, 0], [30, 99], [0, 50], [59, 50]])


@IMPLEMENTATIONS
def test_without_the_strict_border_every_pixel_of_the_image_counts(implementation):
    inside = [(-0.5, 30, 4), (99.25, 30, 4), (50, -0.25, 4), (50, 59.25, 4)]
    outside = [(-0.75, 30, 4), (99.5, 30, 4), (50, -0.75, 4), (50, 59.5, 4)]
    pairing = pair(at(*inside, *outside), strict_border=False, implementation=implementation)
    np.testing.assert_array_equal(pairing.pairing_points, [0, 1, 2, 3])
    np.testing.assert_array_equal(pairing.pairing_images[:, 1:], [[30, 0], [30, 99], [0, 50], [59, 50]])


@IMPLEMENTATIONS
def test_floor(implementation):
    points = at((20.75, 7.75, 4), (99.75, 59.75, 4), (-0.25, 30, 4))
    options = {"rounding": "floor", "strict_border": False, "implementation": implementation}
    np.testing.assert_array_equal(pair(points, **options).pairing_images, [[0, 7, 20], [0, 59, 99]])


@IMPLEMENTATIONS
def test_depth_is_beyond_the_minimum(implementation):
    points = at((50, 30, 1), (50, 30, np.nextafter(1, 2)), (50, 30, 0.5), (50, 30, -5))
    np.testing.assert_array_equal(pair(points, implementation=implementation).pairing_points, [1])
    shallow = pair(points, min_depth_m=0.0, implementation=implementation)
    np.testing.assert_array_equal(shallow.pairing_points, [0, 1, 2])


@IMPLEMENTATIONS
def test_views_come_in_order_and_may_share_points(implementation):
    points = at((50, 30, 5), (-40, 30, 5), (60, 30, 5))
    second = LIDAR2CAM.copy()
    second[0, 0, 3] = 40.0  # 80 px to the right at 5 m
    pairing = pair_points(
        points,
        np.concatenate([second, LIDAR2CAM]),
        np.concatenate([CAM2IMG, CAM2IMG]),
        np.array([[60, 150], [60, 100]]),
        implementation=implementation,
    )
    np.testing.assert_array_equal(pairing.pairing_points, [0, 1, 2, 0, 2])
    np.testing.assert_array_equal(pairing.pairing_images[:, 0], [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(pairing.pairing_images[:, 2], [130, 40, 140, 50, 60])


@pytest.mark.parametrize("num_points", [0, 1, 255, 256, 257, 3000])
@pytest.mark.parametrize("distortion", [None, BARREL])
@pytest.mark.parametrize("options", [{}, {"strict_border": False, "rounding": "floor", "min_depth_m": 0.0}])
def test_the_twins_agree_to_the_bit(rng, num_points, distortion, options):
    for dtype in (np.float32, np.float64):
        scene = random_scene(rng, num_points, dtype=dtype)
        ours = pair_points(*scene, distortion=distortion, **options)
        twin = pair_points(*scene, distortion=distortion, implementation="numpy", **options)
        assert_same(ours, twin)
        assert len(ours.depth) > 0 or num_points < 3000


def test_a_kernel_is_compiled_once_whatever_the_memory_layout(rng):
    points, *cameras = random_scene(rng, 500)
    expected = pair_points(points, *cameras)
    signatures = list(projection_numba.pair_views.signatures)
    read_only = points.copy()
    read_only.flags.writeable = False
    for same in (read_only, np.asfortranarray(points), np.repeat(points, 2, axis=0)[::2], points[:, :3]):
        assert_same(pair_points(same, *cameras), expected)
    assert projection_numba.pair_views.signatures == signatures


def test_the_real_keyframe_to_the_bit(real_keyframe):
    scene = (real_keyframe.points, real_keyframe.lidar2cam, real_keyframe.cam2img, real_keyframe.image_size)
    ours = pair_points(*scene)
    assert len(ours.pairing_points) == 22_115
    assert_same(ours, pair_points(*scene, implementation="numpy"))


def test_the_real_keyframe_as_the_devkit_pairs_it(real_keyframe):
    """The chain of `NuScenes.map_pointcloud_to_image`, with the devkit's own classes, in its float32."""
    data_classes = pytest.importorskip("nuscenes.utils.data_classes")
    view_points = pytest.importorskip("nuscenes.utils.geometry_utils").view_points
    quaternion = pytest.importorskip("pyquaternion").Quaternion
    ours = pair_points(
        real_keyframe.points, real_keyframe.lidar2cam, real_keyframe.cam2img, real_keyframe.image_size
    )
    height, width = real_keyframe.image_size
    (_, lidar_calibration, lidar_pose), *cameras = real_keyframe.records
    theirs = set()
    for view, (_, calibration, pose) in enumerate(cameras):
        cloud = data_classes.LidarPointCloud.from_file(str(real_keyframe.lidar_path))
        for record in (lidar_calibration, lidar_pose):
            cloud.rotate(quaternion(record["rotation"]).rotation_matrix)
            cloud.translate(np.array(record["translation"]))
        for record in (pose, calibration):
            cloud.translate(-np.array(record["translation"]))
            cloud.rotate(quaternion(record["rotation"]).rotation_matrix.T)
        u, v, _ = view_points(cloud.points[:3], np.array(calibration["camera_intrinsic"]), normalize=True)
        keep = (cloud.points[2] > 1.0) & (u > 0) & (u < width - 1) & (v > 0) & (v < height - 1)
        for point in np.flatnonzero(keep):
            theirs.add((point, view, round(v[point]), round(u[point])))
    mine = set(map(tuple, np.column_stack(ours[:2]).tolist()))
    assert len(mine - theirs) + len(theirs - mine) < 2 * 0.005 * len(mine)
    assert abs(len(mine) - len(theirs)) < 0.001 * len(mine)


def test_kitti_pairs_are_those_of_its_projection_matrix(kitti_one):
    folder = kitti_one / "training"
    points = np.fromfile(folder / "velodyne" / "000008.bin", dtype=np.float32).reshape(-1, 4)
    lidar2cam, cam2img = kitti_calibration(folder / "calib" / "000008.txt")
    pairing = pair_points(points, lidar2cam[None], cam2img[None], (375, 1242))
    # KITTI publishes the object data cut to what the camera sees, so nearly every point has a pixel.
    assert len(pairing.depth) > 0.97 * len(points)
    homogeneous = (cam2img @ lidar2cam)[:3] @ np.column_stack([points[:, :3], np.ones(len(points))]).T
    uv = (homogeneous[:2] / homogeneous[2])[:, pairing.pairing_points]
    np.testing.assert_array_equal(pairing.pairing_images[:, 1:], np.round(uv[::-1].T))
    np.testing.assert_allclose(pairing.depth, homogeneous[2, pairing.pairing_points], rtol=1e-6)


@IMPLEMENTATIONS
def test_a_lens_pairs_as_project_does(rng, implementation):
    points = rng.uniform([-30, -20, -10], [30, 20, 40], size=(2000, 3))
    cam2img = intrinsics_to_cam2img([[[300, 0, 200], [0, 300, 150], [0, 0, 1]]])
    pairing = pair_points(
        points, LIDAR2CAM, cam2img, (300, 400), distortion=BARREL, implementation=implementation
    )
    uv, depth = project(points, cam2img[0], BARREL)
    keep = (depth > 1) & (uv > 0).all(axis=1) & (uv < [399, 299]).all(axis=1)
    assert 100 < keep.sum() < 1000
    np.testing.assert_array_equal(pairing.pairing_points, np.flatnonzero(keep))
    np.testing.assert_array_equal(pairing.pairing_images[:, 1:], np.round(uv[keep][:, ::-1]))


@IMPLEMENTATIONS
def test_nothing_folds_back_into_a_distorted_image(implementation):
    # r - 0.5 r^3 climbs to 0.544 at r = 0.816 and returns through zero at r = 1.414.
    cam2img = intrinsics_to_cam2img([[[80, 0, 50], [0, 80, 30], [0, 0, 1]]])
    x = np.linspace(0, 3, 301)
    points = 5 * np.stack([x, 0 * x, 1 + 0 * x], axis=1)
    pairing = pair_points(
        points, LIDAR2CAM, cam2img, (60, 100), distortion=[-0.5, 0, 0, 0], implementation=implementation
    )
    cols = pairing.pairing_images[:, 2]
    assert x[pairing.pairing_points].max() == pytest.approx(0.81)
    assert np.all(np.diff(cols) >= 0)


@IMPLEMENTATIONS
def test_zbuffer_is_pairs_without_the_hidden_ones(implementation):
    points = at((50, 30, 5), (50.4, 30, 20), (70, 30, 20))
    everything = pair(points, implementation=implementation)
    visible = pair(points, visibility="zbuffer", implementation=implementation)
    np.testing.assert_array_equal(everything.pairing_points, [0, 1, 2])
    np.testing.assert_array_equal(visible.pairing_points, [0, 2])
    np.testing.assert_array_equal(visible.pairing_images, everything.pairing_images[[0, 2]])


@IMPLEMENTATIONS
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_points_that_are_not_finite(rng, implementation, bad, axis):
    points, *cameras = random_scene(rng, 600)
    points[400, 4] = np.nan  # not a coordinate: not our business
    pair_points(points, *cameras, implementation=implementation)
    points[321, axis] = bad
    with pytest.raises(ValueError, match="1 of 600 rows with NaN or infinity, row 321 first"):
        pair_points(points, *cameras, implementation=implementation)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"points": np.zeros((5, 2))}, r"points: expected \(N, >=3\)"),
        ({"points": np.zeros(5)}, r"points: expected \(N, >=3\)"),
        ({"lidar2cam": np.eye(4)}, r"expected \(V, 4, 4\)"),
        ({"lidar2cam": np.stack([np.eye(4)] * 2)}, r"\(2, 4, 4\) and \(1, 4, 4\)"),
        ({"lidar2cam": 1.1 * np.eye(4)[None]}, "lidar2cam is not a rigid motion"),
        ({"cam2img": np.swapaxes(CAM2IMG, 1, 2)}, "cam2img is not a camera matrix"),
        ({"image_size": (60.5, 100)}, "image_size"),
        ({"image_size": (0, 100)}, "image_size"),
        ({"image_size": np.full((2, 2), 60)}, "image_size"),
        ({"min_depth_m": -1.0}, "min_depth_m"),
        ({"min_depth_m": np.nan}, "min_depth_m"),
        ({"distortion": [0.1, 0.2]}, "distortion"),
        ({"rounding": "ceil"}, "rounding: expected one of nearest, floor"),
        ({"visibility": "raycast"}, "visibility: expected one of none, zbuffer"),
        ({"implementation": "cuda"}, "implementation: expected one of numba, numpy"),
    ],
)
def test_bad_arguments(change, words):
    arguments = {
        "points": at((50, 30, 5)),
        "lidar2cam": LIDAR2CAM,
        "cam2img": CAM2IMG,
        "image_size": (60, 100),
    }
    with pytest.raises(ValueError, match=words):
        pair_points(**(arguments | change))
