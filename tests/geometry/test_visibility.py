import numpy as np
import pytest

from lidardistill.geometry import (
    Pairing,
    intrinsics_to_cam2img,
    pair_points,
    splat_radius_px_m,
    visible_pairs,
)

FOCAL = 500.0
SIZE = (480, 640)
CAM2IMG = intrinsics_to_cam2img([[[FOCAL, 0, 320], [0, FOCAL, 240], [0, 0, 1]]])
IMPLEMENTATIONS = pytest.mark.parametrize("implementation", ["numba", "numpy"])


def pairing_of(view_row_col, depth):
    images = np.array(view_row_col, dtype=np.int64).reshape(-1, 3)
    return Pairing(np.arange(len(images)), images, np.array(depth, dtype=np.float32))


def random_pairing(rng, num_pairs, num_views=3):
    high = (num_views, *SIZE)
    return pairing_of(rng.integers(0, high, size=(num_pairs, 3)), rng.uniform(1, 60, num_pairs))


@IMPLEMENTATIONS
def test_by_hand(implementation):
    pairing = pairing_of(
        [
            (0, 100, 100),  # the cover: 50 px m at 5 m is a radius of 10 px
            (0, 106, 108),  # 10 px away, behind: hidden
            (0, 107, 108),  # 10.6 px away: visible
            (0, 100, 100),  # same pixel, 5.4 m: within the margin of 10 %
            (1, 100, 100),  # another view
            (0, 100, 101),  # in front of the cover
        ],
        [5.0, 20.0, 20.0, 5.4, 20.0, 3.0],
    )
    # The last one, at 3 m with 16.7 px, covers the first and all behind it in its view.
    visible = visible_pairs(
        Pairing(*(a[:5] for a in pairing)), SIZE, radius_px_m=50.0, implementation=implementation
    )
    np.testing.assert_array_equal(visible, [True, False, True, True, True])
    visible = visible_pairs(pairing, SIZE, radius_px_m=50.0, implementation=implementation)
    np.testing.assert_array_equal(visible, [False, False, False, False, True, True])


@pytest.mark.parametrize("radius_px_m", [0.0, 20.0, 500.0, 1e6, [5.0, 50.0, 500.0]])
def test_the_twins_agree(rng, radius_px_m):
    pairing = random_pairing(rng, 700)
    ours = visible_pairs(pairing, SIZE, radius_px_m=radius_px_m)
    twin = visible_pairs(pairing, SIZE, radius_px_m=radius_px_m, implementation="numpy")
    np.testing.assert_array_equal(ours, twin)
    assert ours.any()
    assert not ours.all() or np.max(radius_px_m) == 0


def test_the_order_of_pairs_does_not_matter(rng):
    pairing = random_pairing(rng, 500)
    shuffled = rng.permutation(500)
    visible = visible_pairs(pairing, SIZE, radius_px_m=200.0)
    np.testing.assert_array_equal(
        visible_pairs(Pairing(*(a[shuffled] for a in pairing)), SIZE, radius_px_m=200.0), visible[shuffled]
    )


def test_larger_discs_hide_more_and_larger_margins_less(rng):
    pairing = random_pairing(rng, 500)
    shares = [visible_pairs(pairing, SIZE, radius_px_m=r) for r in (50.0, 100.0, 400.0)]
    assert np.all(shares[0] >= shares[1])
    assert np.all(shares[1] >= shares[2])
    tolerant = visible_pairs(pairing, SIZE, radius_px_m=400.0, relative_margin=2.0)
    assert np.all(tolerant >= shares[2])
    assert tolerant.sum() > shares[2].sum()


def plane(z, x, y, step):
    xs, ys = np.meshgrid(np.arange(*x, step), np.arange(*y, step))
    return np.stack([xs.ravel(), ys.ravel(), np.full(xs.size, z)], axis=1)


@IMPLEMENTATIONS
def test_a_wall_behind_a_car_is_hidden_where_the_car_is(implementation):
    """The answer is known: from the camera, the plate at 5 m covers four times its size at 20 m."""
    plate = plane(5.0, (-1.0, 1.001), (-0.5, 1.001), 0.1)
    wall = plane(20.0, (-8, 8), (-5, 5), 0.4)
    points = np.concatenate([plate, wall]) + 1e-4
    pairing = pair_points(points, np.eye(4)[None], CAM2IMG, SIZE)
    radius = splat_radius_px_m(CAM2IMG)
    np.testing.assert_array_equal(radius, [0.1 * FOCAL])
    visible = visible_pairs(pairing, SIZE, radius_px_m=radius, implementation=implementation)

    x, y, z = points[pairing.pairing_points].T
    # Distance in pixels from the edge of the plate, as the camera sees it; inside is negative.
    from_edge = FOCAL * np.maximum(
        np.abs(x / z) - 1.0 / 5.0, np.maximum(-0.5 / 5.0 - y / z, y / z - 1.0 / 5.0)
    )
    behind = z > 10
    disc = 0.1 * FOCAL / 5.0
    assert (behind & (from_edge < -1)).sum() > 200
    assert not visible[behind & (from_edge < -1)].any()
    assert visible[behind & (from_edge > disc + 1)].all()
    assert visible[~behind].all()


@pytest.mark.parametrize("height_m", [1.3, 1.6])
def test_a_road_does_not_hide_itself(height_m):
    # Rings of a LiDAR 0.4 m above the camera, on flat ground: no point of it is behind another.
    azimuth, elevation = np.meshgrid(
        np.radians(np.arange(-40, 40, 0.3)), np.radians(-np.arange(1.0, 30.0, 1.3))
    )
    distance = (height_m + 0.4) / np.tan(-elevation)
    points = np.stack(
        [np.sin(azimuth) * distance, np.full_like(distance, height_m), np.cos(azimuth) * distance - 0.5],
        axis=-1,
    ).reshape(-1, 3)
    cam2img = intrinsics_to_cam2img([[[1266, 0, 800], [0, 1266, 450], [0, 0, 1]]])
    pairing = pair_points(points, np.eye(4)[None], cam2img, (900, 1600))
    assert len(pairing.depth) > 2000
    assert visible_pairs(pairing, (900, 1600), radius_px_m=splat_radius_px_m(cam2img)).all()


def test_the_real_keyframe_loses_a_few_pairs(real_keyframe):
    scene = (real_keyframe.points, real_keyframe.lidar2cam, real_keyframe.cam2img, real_keyframe.image_size)
    everything = pair_points(*scene)
    radius = splat_radius_px_m(real_keyframe.cam2img)
    visible = visible_pairs(everything, real_keyframe.image_size, radius_px_m=radius)
    assert 0.005 < 1 - visible.mean() < 0.1
    kept = pair_points(*scene, visibility="zbuffer")
    np.testing.assert_array_equal(kept.pairing_points, everything.pairing_points[visible])
    front = everything.pairing_images[:, 0] == 0
    twin = visible_pairs(
        Pairing(*(a[front] for a in everything)),
        real_keyframe.image_size,
        radius_px_m=radius[0],
        implementation="numpy",
    )
    np.testing.assert_array_equal(visible[front], twin)


def test_no_pairs():
    assert visible_pairs(pairing_of([], []), SIZE, radius_px_m=50.0).shape == (0,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"radius_px_m": -1.0}, "radius_px_m"),
        ({"radius_px_m": [1.0, 1.0]}, "radius_px_m"),
        ({"radius_px_m": np.nan}, "radius_px_m"),
        ({"relative_margin": -0.1}, "relative_margin"),
        ({"image_size": (100, 100)}, "outside its image"),
        ({"image_size": np.full((1, 2), 500)}, r"views must be 0\.\.0"),
        ({"image_size": (1, 2, 3)}, "image_size"),
        ({"pairing": pairing_of([(0, 1, 1)], [0.0])}, "positive metres"),
        ({"pairing": pairing_of([(0, -1, 1)], [1.0])}, "outside its image"),
        ({"implementation": "cuda"}, "implementation"),
    ],
)
def test_bad_arguments(change, words):
    arguments = {
        "pairing": pairing_of([(0, 400, 1), (1, 5, 5), (2, 5, 5)], [2.0, 3.0, 4.0]),
        "image_size": SIZE,
        "radius_px_m": 50.0,
    }
    with pytest.raises(ValueError, match=words):
        visible_pairs(**(arguments | change))
