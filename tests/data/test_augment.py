"""Cloud and pair augmentations against SLidR's rules and against torch's operations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidardistill.data.augment import (
    CropWindow,
    augment_cloud,
    crop_pixels,
    draw_window,
    drop_cuboid,
    flip_horizontal,
    resized_crop,
    select_points,
)
from lidardistill.data.config import AugmentConfig
from lidardistill.data.image_augment import resize_image, resize_labels

SLIDR = AugmentConfig()


def changed(**changes):
    return SLIDR.model_copy(update=changes)


def random_points(rng, num_points=2000):
    points = rng.normal(size=(num_points, 4)).astype(np.float32) * 20
    points[:, 3] = np.arange(num_points)
    return points


def random_pairs(rng, num_pairs=9000, num_views=6, num_points=2000):
    view = np.sort(rng.integers(num_views, size=num_pairs))
    rows_cols = np.stack([rng.integers(1, 899, num_pairs), rng.integers(1, 1599, num_pairs)], axis=1)
    return rng.integers(num_points, size=num_pairs), np.concatenate([view[:, None], rows_cols], axis=1)


def test_defaults_are_slidrs():
    assert SLIDR.image_size == (224, 416)
    assert (SLIDR.crop_area, SLIDR.crop_aspect) == ((0.3, 1.0), (14 / 9, 17 / 9))
    assert (SLIDR.crop_min_pairs, SLIDR.crop_min_share, SLIDR.cuboid_min_pairs) == (1024, 0.75, 1024)


def test_cloud_is_turned_around_z_and_mirrored(rng):
    points = random_points(rng)
    moved, matrix = augment_cloud(points, SLIDR, rng)
    expected = points[:, :3].astype(np.float64) @ matrix[:3, :3].T
    np.testing.assert_allclose(moved[:, :3], expected, atol=1e-5)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(4), atol=1e-12)
    assert np.array_equal(moved[:, 2:], points[:, 2:])
    assert np.array_equal(points, random_points(np.random.default_rng(0))), "the input was changed"


def test_cloud_draws_all_angles_and_all_four_mirrorings(rng):
    matrices = np.stack([augment_cloud(np.zeros((1, 4), np.float32), SLIDR, rng)[1] for _ in range(400)])
    mirrored = np.linalg.det(matrices[:, :3, :3]) < 0
    assert 0.4 < mirrored.mean() < 0.6
    angle = np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0])
    assert np.histogram(angle, bins=4, range=(-np.pi, np.pi))[0].min() > 60
    flips = changed(rotate=False)
    found = {tuple(np.diag(augment_cloud(random_points(rng), flips, rng)[1])[:2]) for _ in range(40)}
    assert found == {(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)}


def test_every_step_can_be_turned_off(rng):
    off = SLIDR.still()
    points, (pairing_points, pairing_images) = random_points(rng), random_pairs(rng)
    state = rng.bit_generator.state
    assert np.array_equal(augment_cloud(points, off, rng)[0], points)
    kept = drop_cuboid(points, pairing_points, pairing_images, 6, off, rng)
    assert all(mask.all() for mask in kept)
    windows, moved, inside = resized_crop(pairing_images, np.tile([900, 1600], (6, 1)), off, rng)
    assert windows == [CropWindow(0, 0, 900, 1600)] * 6
    assert inside.all()
    assert not flip_horizontal(moved, np.full(6, 416), off, rng)[1].any()
    assert rng.bit_generator.state == state, "validation drew random numbers"


def test_cuboid_removes_the_inside_of_one_box(rng):
    points, (pairing_points, pairing_images) = random_points(rng), random_pairs(rng)
    settings = changed(cuboid_min_pairs=0, cuboid_max_share=1.0)
    for _ in range(20):
        point_kept, pair_kept = drop_cuboid(points, pairing_points, pairing_images, 6, settings, rng)
        assert np.array_equal(pair_kept, point_kept[pairing_points])
        gone = points[~point_kept, :3]
        if len(gone) == 0:
            continue
        in_hull = ((points[:, :3] >= gone.min(0)) & (points[:, :3] <= gone.max(0))).all(axis=1)
        assert np.array_equal(in_hull, ~point_kept)
        extent = points[:, :3].max(0) - points[:, :3].min(0)
        assert (gone.max(0) - gone.min(0) <= extent).all()


def test_cuboid_is_rolled_back_when_a_view_would_keep_too_few_pairs(rng):
    points, (pairing_points, pairing_images) = random_points(rng), random_pairs(rng, num_pairs=6 * 1500)
    enough = changed(cuboid_max_share=1.0)
    outcomes = []
    for _ in range(60):
        point_kept, pair_kept = drop_cuboid(points, pairing_points, pairing_images, 6, enough, rng)
        left = np.bincount(pairing_images[pair_kept, 0], minlength=6)
        assert pair_kept.all() == point_kept[pairing_points].all()
        assert left.min() >= 1024
        outcomes.append(point_kept.all())
    assert not all(outcomes)
    for blind in (3, 5):
        seen = pairing_images[:, 0] != blind
        for _ in range(10):
            kept = drop_cuboid(points, pairing_points[seen], pairing_images[seen], 6, enough, rng)
            assert all(mask.all() for mask in kept), "a view without pairs keeps fewer than 1024"


def test_selected_points_keep_their_pairs(rng):
    points, (pairing_points, pairing_images) = random_points(rng), random_pairs(rng)
    point_kept = rng.random(len(points)) < 0.7
    pair_kept = point_kept[pairing_points]
    new_points, new_pairing, new_images = select_points(
        points, pairing_points, pairing_images, point_kept, pair_kept
    )
    assert np.array_equal(new_points, points[point_kept])
    assert np.array_equal(new_points[new_pairing, 3], points[pairing_points[pair_kept], 3])
    assert np.array_equal(new_images, pairing_images[pair_kept])


def test_windows_follow_torchvisions_rule(rng):
    windows = np.array([draw_window(900, 1600, SLIDR, rng) for _ in range(2000)])
    top, left, height, width = windows.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 900).all()
    assert (left + width <= 1600).all()
    area, aspect = height * width / (900 * 1600), width / height
    assert 0.29 < area.min() < 0.32
    assert area.max() > 0.93
    assert abs(aspect.min() - 14 / 9) < 0.01
    assert abs(aspect.max() - 17 / 9) < 0.01
    # Small areas always fit, so their area is uniform and their aspect log-uniform.
    assert abs(np.median(area[area < 0.6]) - 0.45) < 0.02
    wide = changed(crop_area=(0.1, 0.2), crop_aspect=(0.5, 2.0))
    height, width = np.array([draw_window(1000, 1000, wide, rng) for _ in range(2000)]).T[2:]
    assert abs(np.median(width / height) - 1.0) < 0.1, "the median of a uniform draw would be 1.25"


def test_a_shape_that_never_fits_falls_back_to_the_centre(rng):
    full = changed(crop_area=(1.0, 1.0))
    assert draw_window(900, 900, full, rng) == CropWindow(160, 0, 579, 900)
    assert draw_window(100, 1600, full, rng) == CropWindow(0, 705, 100, 189)


def test_crop_pixels_is_slidrs_rounding():
    window = CropWindow(100, 200, 480, 820)
    pixels = np.array([[100, 200], [99, 200], [101, 201], [340, 610], [579, 1019], [578, 1018]])
    moved, inside = crop_pixels(pixels, window, (224, 416), pixel_exact=False)
    expected = np.round((pixels - [100, 200]) * [224 / 480, 416 / 820]).astype(int)
    assert np.array_equal(moved, expected)
    # SLidR's rule: the pixel above the window rounds into row 0, the last row and column round out of the
    # window.
    assert inside.tolist() == [True, True, True, True, False, True]
    full = CropWindow(0, 0, 900, 1600)
    moved, inside = crop_pixels(np.array([[899, 1599]]), full, (224, 416), pixel_exact=False, clamp=True)
    assert moved.tolist() == [[223, 415]]
    assert inside.all()


@given(
    top=st.integers(0, 40), left=st.integers(0, 40), height=st.integers(1, 60), width=st.integers(1, 60),
    rows=st.integers(1, 70), cols=st.integers(1, 70), seed=st.integers(0, 10**6), flipped=st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_resize_image_equals_its_twin_and_torch(top, left, height, width, rows, cols, seed, flipped):
    image = np.random.default_rng(seed).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    window = CropWindow(top, left, height, width)
    fast = resize_image(image, window, (rows, cols), flipped=flipped)
    slow = resize_image(image, window, (rows, cols), flipped=flipped, implementation="numpy")
    np.testing.assert_allclose(fast, slow, atol=5e-7)
    cut = torch.from_numpy(image[top : top + height, left : left + width].transpose(2, 0, 1) / 255.0).float()
    other = torch.nn.functional.interpolate(
        cut[None], size=(rows, cols), mode="bilinear", align_corners=False, antialias=False
    )[0]
    np.testing.assert_allclose(fast, other.flip(-1) if flipped else other, atol=3e-5)


@given(
    top=st.integers(0, 40), left=st.integers(0, 40), height=st.integers(1, 60), width=st.integers(1, 60),
    rows=st.integers(1, 70), cols=st.integers(1, 70), flipped=st.booleans(), pixel_exact=st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_resize_labels_equals_torch(top, left, height, width, rows, cols, flipped, pixel_exact):
    labels = np.arange(10000, dtype=np.int32).reshape(100, 100)
    window = CropWindow(top, left, height, width)
    got = resize_labels(labels, window, (rows, cols), flipped=flipped, pixel_exact=pixel_exact)
    slow = resize_labels(
        labels, window, (rows, cols), flipped=flipped, pixel_exact=pixel_exact, implementation="numpy"
    )
    assert np.array_equal(got, slow)
    cut = torch.from_numpy(labels[top : top + height, left : left + width].astype(np.float64))
    mode = "nearest-exact" if pixel_exact else "nearest"
    expected = torch.nn.functional.interpolate(cut[None, None], size=(rows, cols), mode=mode)[0, 0].numpy()
    assert got.dtype == np.int32
    assert np.array_equal(got, expected[:, ::-1] if flipped else expected)


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("scale", [2, 3])
def test_a_reduced_image_shows_the_same_place(rng, scale, flipped):
    """Block averages of a ramp equal the ramp at the blocks' centres; a shifted window would differ."""
    ramp = (
        np.add.outer(1.0 * np.arange(60), 1.0 * np.arange(90))[..., None].repeat(3, axis=2).astype(np.uint8)
    )
    reduced = ramp.reshape(60 // scale, scale, 90 // scale, scale, 3).mean(axis=(1, 3))
    assert np.array_equal(reduced % 1, reduced * 0), "block averages of this ramp are whole numbers"
    window, size = CropWindow(7, 12, 41, 67), (13, 22)
    whole = resize_image(ramp, window, size, flipped=flipped)
    fast = resize_image(reduced.astype(np.uint8), window, size, scale=scale, flipped=flipped)
    slow = resize_image(
        reduced.astype(np.uint8), window, size, scale=scale, flipped=flipped, implementation="numpy"
    )
    np.testing.assert_allclose(fast, whole, atol=2e-5)
    np.testing.assert_allclose(fast, slow, atol=1e-6)
    edge = resize_image(reduced.astype(np.uint8), CropWindow(0, 0, 60, 90), (60, 90), scale=scale)
    assert edge[0, 0, 0] * 255 == pytest.approx(reduced[0, 0, 0])
    assert edge[0, -1, -1] * 255 == pytest.approx(reduced[-1, -1, 0])
    with pytest.raises(ValueError, match="inside the 60 x 90 image"):
        resize_image(reduced.astype(np.uint8), CropWindow(0, 0, 61, 90), size, scale=scale)


def test_labels_may_be_coarser_than_the_image():
    coarse = np.arange(50 * 80).reshape(50, 80)
    fine = coarse.repeat(2, axis=0).repeat(2, axis=1)
    window = CropWindow(11, 7, 61, 90)
    got = resize_labels(coarse, window, (30, 40), image_size=(100, 160))
    assert np.array_equal(got, resize_labels(fine, window, (30, 40)))


def test_resize_refuses_what_it_cannot_read():
    image = np.zeros((10, 10, 3), np.uint8)
    with pytest.raises(ValueError, match="window"):
        resize_image(image, CropWindow(0, 0, 11, 10), (4, 4))
    with pytest.raises(ValueError, match="uint8"):
        resize_image(image.astype(np.float32), CropWindow(0, 0, 10, 10), (4, 4))
    with pytest.raises(ValueError, match="out"):
        resize_image(image, CropWindow(0, 0, 10, 10), (4, 4), out=np.zeros((3, 4, 5), np.float32))
    with pytest.raises(ValueError, match="labels"):
        resize_labels(image, CropWindow(0, 0, 10, 10), (4, 4))
    with pytest.raises(ValueError, match="out"):
        resize_labels(image[..., 0], CropWindow(0, 0, 10, 10), (4, 4), out=np.zeros((4, 4), np.int32))


def test_crop_is_retried_until_enough_pairs_are_left(rng, monkeypatch):
    # All pairs of view 0 in one corner: most windows lose them all.
    corner = np.stack([np.zeros(500, int), rng.integers(1, 90, 500), rng.integers(1, 160, 500)], axis=1)
    size = np.array([[900, 1600]])
    for _ in range(20):
        _, _, inside = resized_crop(corner, size, SLIDR, rng)
        assert inside.mean() > 0.75
    monkeypatch.setattr("lidardistill.data.augment._CROP_TRIES", 1)
    assert min(resized_crop(corner, size, SLIDR, rng)[2].mean() for _ in range(20)) < 0.5


def test_more_than_1024_pairs_are_enough(rng):
    _, pairing_images = random_pairs(rng, num_pairs=9000, num_views=1)
    _, _, inside = zip(
        *(resized_crop(pairing_images, np.array([[900, 1600]]), SLIDR, rng) for _ in range(20)), strict=True
    )
    shares = np.array([kept.mean() for kept in inside])
    assert shares.min() < 0.75, "windows of 30 % are taken where they keep more than 1024 pairs"


def test_the_order_of_pairs_does_not_matter(rng):
    _, pairing_images = random_pairs(rng)
    pairing_images = pairing_images[np.argsort(pairing_images[:, 0], kind="stable")]
    shuffled = rng.permutation(len(pairing_images))
    size = np.tile([[900, 1600]], (6, 1))
    windows, moved, kept = resized_crop(pairing_images, size, SLIDR, np.random.default_rng(3))
    again = resized_crop(pairing_images[shuffled], size, SLIDR, np.random.default_rng(3))
    assert again[0] == windows
    assert np.array_equal(again[1], moved[shuffled])
    assert np.array_equal(again[2], kept[shuffled])
    assert len(np.unique(moved[:, 0])) == 6


def test_a_view_without_pairs_takes_its_first_window(rng):
    # SLidR divides 0 by 0 here and hangs.
    size = np.tile([900, 1600], (3, 1))
    last_view = np.stack([np.full(2000, 2), rng.integers(1, 899, 2000), rng.integers(1, 1599, 2000)], axis=1)
    generator = np.random.default_rng(5)
    first_draws = [draw_window(900, 1600, SLIDR, generator) for _ in range(2)]
    assert resized_crop(last_view, size, SLIDR, np.random.default_rng(5))[0][:2] == first_draws
    nothing = np.empty((0, 3), np.int64)
    windows, moved, inside = resized_crop(nothing, size, SLIDR, rng)
    assert (len(windows), moved.shape, inside.shape) == (3, (0, 3), (0,))


def test_the_retry_is_bounded(rng):
    impossible = changed(crop_min_share=1.0)
    pairs = np.stack([np.zeros(10, int), rng.integers(1, 899, 10), rng.integers(1, 1599, 10)], axis=1)
    assert len(resized_crop(pairs, np.array([[900, 1600]]), impossible, rng)[0]) == 1


def test_flip_mirrors_whole_views(rng):
    pairing_images = np.stack(
        [rng.integers(6, size=500), rng.integers(224, size=500), rng.integers(416, size=500)], 1
    )
    mirrored, flipped = flip_horizontal(pairing_images, np.full(6, 416), SLIDR, rng)
    view = pairing_images[:, 0]
    assert flipped.any()
    assert not flipped.all()
    assert np.array_equal(mirrored[~flipped[view]], pairing_images[~flipped[view]])
    assert np.array_equal(mirrored[flipped[view], 2], 415 - pairing_images[flipped[view], 2])
    assert np.array_equal(mirrored[:, :2], pairing_images[:, :2])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_size", (0, 416)),
        ("crop_area", (0.5, 1.5)),
        ("crop_aspect", (2.0, 1.0)),
        ("cuboid_max_share", -0.1),
    ],
)
def test_settings_name_the_wrong_value(key, value):
    with pytest.raises(ValueError, match=key):
        AugmentConfig(**{key: value})
