"""Each step of the kernels against a slow twin: scikit-image, SciPy, or brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.color import rgb2lab
from skimage.segmentation._slic import _enforce_label_connectivity_cython
from skimage.util import regular_grid

from lidardistill.regions.slic._slic_assign_numba import MIXED, assign, write_labels
from lidardistill.regions.slic._slic_connect_numba import connect, connect_by_search
from lidardistill.regions.slic._slic_lab_numba import LINEAR, gaussian_weights, smooth_lab
from lidardistill.regions.slic._slic_rivals_numba import BOTTOM, CENTRE, COL, COLOUR, LEFT, RIGHT, ROW, TOP
from lidardistill.regions.slic._slic_tiles_numba import MAX_TILE_ROWS, cut_tiles, sum_grid
from lidardistill.regions.slic.slic_kernels import nearest_seed, no_winners, seed_grid

F = np.float32


@pytest.mark.parametrize("sigma", [0.0, 0.4, 1.0, 3.0, 7.3])
@pytest.mark.parametrize("size", [(1, 1), (2, 9), (40, 3), (45, 70)])
def test_smooth_lab_equals_skimage_and_scipy(size, sigma, rng):
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    image[: size[0] // 2] //= 16  # below the knee of Lab
    planes = np.empty((3, *size), F)
    smooth_lab(image, LINEAR, gaussian_weights(sigma), F(1 / 6), planes)
    lab = rgb2lab(image / 255.0)
    expected = ndimage.gaussian_filter(lab, (sigma, sigma, 0)) / 6 if sigma else lab / 6
    np.testing.assert_allclose(planes.transpose(1, 2, 0), expected, atol=3e-5)


def test_every_colour_code_has_its_lightness():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    planes = np.empty((3, 1, 256), F)
    smooth_lab(ramp, LINEAR, gaussian_weights(0.0), F(1), planes)
    np.testing.assert_allclose(planes[:, 0].T, rgb2lab(ramp / 255.0)[0], atol=2e-4)


def test_seeds_stand_where_skimage_puts_them(rng):
    for _ in range(500):
        size = tuple(int(side) for side in rng.integers(1, 200, 2))
        for image_size in (size, (size[0], size[0]), (1, size[0])):
            num = int(rng.integers(1, 400))
            rows, cols = seed_grid(image_size, num)
            _, *expected = regular_grid((1, *image_size), num)
            for found, wanted, side in zip((rows, cols), expected, image_size, strict=True):
                assert list(found) == list(range(side))[wanted]
                assert found.step == (wanted.step or 1)


def test_nearest_seed_takes_the_first_of_two(rng):
    assert nearest_seed(range(2, 9, 4), 9).tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1]
    for _ in range(200):
        size = int(rng.integers(1, 120))
        seeds = range(int(rng.integers(0, size)), size, int(rng.integers(1, 30)))
        expected = np.abs(np.arange(size)[:, None] - np.array(seeds)).argmin(axis=1)
        np.testing.assert_array_equal(nearest_seed(seeds, size), expected)


def random_case(rng: np.random.Generator, size: tuple[int, int], num: int):  # type: ignore[no-untyped-def]
    """Smooth planes, and centres of which some are dead, some far from their window's middle."""
    planes = ndimage.gaussian_filter(rng.normal(0, 12, (3, *size)), (0, 3, 3)).astype(F)
    centres = np.zeros((num, CENTRE), F)
    centres[:, ROW] = rng.uniform(0, size[0], num)
    centres[:, COL] = rng.uniform(0, size[1], num)
    places = rng.integers(0, size, (num, 2))
    centres[:, COLOUR : COLOUR + 3] = planes[:, places[:, 0], places[:, 1]].T
    for axis, low, high in ((0, TOP, BOTTOM), (1, LEFT, RIGHT)):
        reach = rng.integers(5, 40, num)
        centres[:, low] = np.maximum(np.floor(centres[:, axis] - reach), 0)
        centres[:, high] = np.minimum(np.floor(centres[:, axis] + reach), size[axis] - 1)
    centres[::5, TOP], centres[::5, BOTTOM] = 1, 0
    centres[3] = centres[1]  # a tie everywhere
    return planes, centres


def try_every_centre(planes: np.ndarray, centres: np.ndarray, weight: np.float32) -> np.ndarray:
    """The slow twin of `assign`: the same float32 sums, every centre at every pixel."""
    _, height, width = planes.shape
    y, x = np.mgrid[:height, :width].astype(F)
    distances = []
    for one in centres:
        dy, dx = y - one[ROW], x - one[COL]
        dl, da, db = planes - one[COLOUR : COLOUR + 3, None, None]
        distance = weight * (dy * dy + dx * dx) + (dl * dl + da * da + db * db)
        distances.append(distance if one[TOP] <= one[BOTTOM] else np.full_like(distance, np.inf))
    free = np.stack(distances)
    inside = [(y >= one[TOP]) & (y <= one[BOTTOM]) & (x >= one[LEFT]) & (x <= one[RIGHT]) for one in centres]
    bound = np.where(np.stack(inside), free, np.inf)
    return np.where(np.isfinite(bound.min(axis=0)), bound.argmin(axis=0), free.argmin(axis=0))


@pytest.mark.parametrize(("size", "num"), [((90, 130), 60), ((32, 16), 7), ((7, 100), 12), ((70, 5), 40)])
@pytest.mark.parametrize("tile_rows", [4, 13, MAX_TILE_ROWS])
def test_ruling_out_changes_no_pixel(size, num, tile_rows, rng):
    planes, centres = random_case(rng, size, num)
    weight = F(1 / 14**2)
    tiles = cut_tiles(planes, tile_rows)
    winners, sole = no_winners(tiles)
    y, x = np.mgrid[: size[0], : size[1]]
    numbers = np.stack([y, x, *planes, np.ones(size)], axis=-1).reshape(-1, 6).astype(np.float64)
    labels, sums = np.full(size, -1, np.int32), np.zeros((num, 6))
    # A first round, and three more with small, large and no changes of the centres.
    for moved in (0.0, 0.3, 6.0, 0.0):
        centres[:, :5] += rng.normal(0, 1, (num, 5)).astype(F) * F(moved)
        assign(tiles, centres, weight, winners, sole, sums)
        write_labels(tiles, winners, sole, labels)
        expected = try_every_centre(planes, centres, weight)
        np.testing.assert_array_equal(labels, expected)
        wanted = np.zeros((num, 6))
        np.add.at(wanted, expected.ravel(), numbers)
        np.testing.assert_array_equal(sums[:, [0, 5]], wanted[:, [0, 5]])
        np.testing.assert_allclose(sums, wanted, rtol=1e-7, atol=1e-6)


def test_labels_do_not_need_sums(rng):
    planes, centres = random_case(rng, (70, 90), 30)
    tiles = cut_tiles(planes, 16)
    labels = np.empty((2, 70, 90), np.int32)
    for found, sums in zip(labels, (np.zeros((30, 6)), np.empty((0, 6))), strict=True):
        winners, sole = no_winners(tiles)
        assign(tiles, centres, F(0.01), winners, sole, sums)
        write_labels(tiles, winners, sole, found)
    np.testing.assert_array_equal(*labels)


def test_a_tile_of_one_centre_is_summed_without_its_pixels(rng):
    # Without this, the kernel would be correct but slow, and no other test would fail.
    planes, centres = random_case(rng, (64, 64), 5)
    centres = centres[:2].copy()
    centres[:, TOP], centres[:, BOTTOM] = 0, 63
    centres[:, LEFT], centres[:, RIGHT] = 0, 63
    centres[1, COLOUR] += 500
    tiles = cut_tiles(planes, 32)
    winners, sole = no_winners(tiles)
    sums = np.zeros((2, 6))
    tiles.pixels[:] = np.nan
    assign(tiles, centres, F(0.01), winners, sole, sums)
    assert np.isfinite(sums).all()
    assert sums[:, 5].tolist() == [64 * 64, 0]
    assert (sole == 0).all()


def test_what_does_not_change_hands_is_not_summed_again(rng):
    planes, centres = random_case(rng, (64, 64), 9)
    tiles = cut_tiles(planes, 16)
    winners, sole = no_winners(tiles)
    sums = np.zeros((9, 6))
    assign(tiles, centres, F(0.01), winners, sole, sums)
    assert (sole == MIXED).any()
    before = sums.copy()
    tiles.sums[:] = np.nan
    assign(tiles, centres, F(0.01), winners, sole, sums)
    np.testing.assert_array_equal(sums, before)


def test_the_first_round_goes_by_position_alone(rng):
    planes = rng.normal(0, 9, (3, 50, 70)).astype(F)
    rows, cols = seed_grid((50, 70), 20)
    sums = np.zeros((len(rows) * len(cols), 6))
    sum_grid(planes, nearest_seed(rows, 50), nearest_seed(cols, 70), len(cols), sums)
    y, x = np.mgrid[:50, :70]
    grid = np.array([(row, col) for row in rows for col in cols])
    nearest = ((y[..., None] - grid[:, 0]) ** 2 + (x[..., None] - grid[:, 1]) ** 2).argmin(axis=-1)
    wanted = np.zeros_like(sums)
    numbers = np.stack([y, x, *planes, np.ones(y.shape)], axis=-1)
    np.add.at(wanted, nearest.ravel(), numbers.reshape(-1, 6).astype(np.float64))
    np.testing.assert_allclose(sums, wanted, rtol=1e-9, atol=1e-9)


def test_pieces_join_as_in_skimage(rng):
    quick = 0
    for turn in range(600):
        height, width = rng.integers(1, 30, 2)
        labels = rng.integers(0, rng.integers(1, 5) + 1, (height, width))
        if turn % 2:
            labels = labels.repeat(3, axis=0).repeat(2, axis=1)
        least = int(rng.integers(0, 12))
        most = int(rng.integers(max(least, 1), 200))
        expected = _enforce_label_connectivity_cython(
            np.ascontiguousarray(labels[None]), least, most, start_label=0
        )
        expected = np.asarray(expected)[0]
        labels = labels.astype(np.int32)
        searched, found = np.empty_like(labels), np.empty_like(labels)
        assert connect_by_search(labels, least, most, searched) == expected.max() + 1
        np.testing.assert_array_equal(searched, expected)
        count = connect(labels, least, most, found)
        if count >= 0:
            quick += 1
            assert count == expected.max() + 1
            np.testing.assert_array_equal(found, expected)
    assert 100 < quick < 600
