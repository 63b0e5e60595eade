"""The reference preset is scikit-image 0.18: SLidR's version, which does not stretch the contrast."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from skimage.color import rgb2lab
from skimage.segmentation import slic as todays_slic
from skimage.segmentation._slic import _enforce_label_connectivity_cython, _slic_cython
from skimage.util import regular_grid

from lidardistill.data.images import read_image
from lidardistill.regions.slic.slic import PRESETS, slic
from lidardistill.regions.superpixels.scaling import reduce_by_area

GOLDEN = Path(__file__).with_name("slic_of_skimage_0_18_2.npz")


def dark_image() -> np.ndarray:
    """(90, 160, 3) uint8 with values 20..50: blocks and ramps of whole numbers, equal on every machine."""
    y, x = np.mgrid[:90, :160]
    blocks = (x // 23 + 2 * (y // 17)) % 5
    channels = [
        20 + blocks * 4 + (x * y) // 900,
        25 + blocks * 3 + (x + y) // 40,
        30 + (blocks * 7) % 11 + x**2 // 6000,
    ]
    return np.stack(channels, axis=-1).astype(np.uint8)


def unstretched_slic(image: np.ndarray, num: int, compactness: float, sigma: float) -> np.ndarray:
    """The slow twin: SLIC step by step with scikit-image's inner loops, without the stretch."""
    height, width, _ = image.shape
    lab = rgb2lab(image / 255.0)[None]
    smooth = ndimage.gaussian_filter(lab, [0, sigma, sigma, 0]) if sigma else lab
    grid = regular_grid((1, height, width), num)
    seeds = np.stack([axis[grid].ravel() for axis in np.mgrid[:1, :height, :width]], axis=1).astype(float)
    step = max(float(s.step or 1) for s in grid)
    labels = _slic_cython(
        np.ascontiguousarray(smooth / compactness),
        None,
        np.ascontiguousarray(np.hstack([seeds, np.zeros((len(seeds), 3))])),
        step,
        10,
        np.ones(3),
        False,
        ignore_color=False,
        start_label=0,
    )
    mean_size = height * width / len(seeds)
    whole = _enforce_label_connectivity_cython(
        labels, int(0.5 * mean_size), int(3 * mean_size), start_label=0
    )
    return np.asarray(whole)[0]


def test_dark_image_equals_what_skimage_0_18_2_gave():
    # Made with a Python 3.8 that has scikit-image 0.18.2:
    #   slic(dark_image(), n_segments=150, compactness=6, sigma=3.0, start_label=0)
    #   slic(dark_image(), n_segments=40, compactness=0.5, sigma=1.0, start_label=0)
    golden = np.load(GOLDEN)
    # A cube root that differs in the last bit may move a pixel on another machine.
    for preset in ("reference", "exact"):
        assert (slic(dark_image(), preset=preset) == golden["labels"]).mean() > 0.999
        assert (slic(dark_image(), 40, 0.5, 1.0, preset) == golden["labels_40"]).mean() > 0.999


def test_todays_skimage_would_stretch_a_dark_image():
    stretched = todays_slic(dark_image(), n_segments=150, compactness=6.0, sigma=3.0, start_label=0)
    assert (stretched != slic(dark_image(), preset="reference")).mean() > 0.2


@pytest.mark.parametrize(("num", "compactness", "sigma"), [(150, 6.0, 3.0), (30, 6.0, 3.0), (400, 20.0, 0.0)])
def test_equals_the_unstretched_twin_on_a_dark_image(num, compactness, sigma):
    expected = unstretched_slic(dark_image(), num, compactness, sigma)
    np.testing.assert_array_equal(slic(dark_image(), num, compactness, sigma, "reference"), expected)


def test_equals_the_unstretched_twin_on_real_images(nuscenes_one):
    for path in sorted((nuscenes_one / "samples").glob("CAM_FRONT*/*.jpg"))[:2]:
        image = reduce_by_area(read_image(path), 4)
        for picture in (image, image // 6 + 20):
            found = slic(picture, preset="reference")
            np.testing.assert_array_equal(found, unstretched_slic(picture, 150, 6.0, 3.0))


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_ids_are_int32_without_a_gap(preset, rng):
    image = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    for picture in (image, np.zeros_like(image), np.full_like(image, 255), image[:3, :5], image[:1, :1]):
        for num in (1, 7, 500):
            labels = slic(picture, num, preset=preset)
            assert labels.dtype == np.int32
            assert labels.shape == picture.shape[:2]
            assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))


def test_more_than_255_ids(rng):
    labels = slic(rng.integers(0, 256, (160, 240, 3), dtype=np.uint8), 600, compactness=30.0)
    assert labels.max() > 400


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_regions_are_connected(preset):
    labels = slic(dark_image(), 40, preset=preset)
    assert labels.max() > 10
    for region in range(labels.max() + 1):
        assert ndimage.label(labels == region)[1] == 1


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_image_is_left_alone(preset):
    image = dark_image()
    image.setflags(write=False)
    slic(image, preset=preset)
    mirrored = slic(np.ascontiguousarray(image[:, ::-1]), preset=preset)
    np.testing.assert_array_equal(slic(image[:, ::-1], preset=preset), mirrored)


def test_unknown_preset_names_those_that_exist():
    with pytest.raises(ValueError, match=r"unknown preset 'fats'.*reference"):
        slic(dark_image(), preset="fats")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_superpixels": 0}, "num_superpixels must be at least 1, got 0"),
        ({"num_superpixels": 3.5}, "num_superpixels must be a whole number, got 3.5"),
        ({"num_superpixels": True}, "num_superpixels must be a whole number"),
        ({"compactness": 0.0}, "compactness must be a number above 0"),
        ({"compactness": float("nan")}, "compactness must be a number above 0"),
        ({"sigma": -1.0}, "sigma must be a number of pixels"),
        ({"image": np.zeros((4, 4, 3), np.float32)}, r"uint8 RGB array of shape \(H, W, 3\), got float32"),
        ({"image": np.zeros((4, 4), np.uint8)}, r"got uint8 \(4, 4\)"),
        ({"image": np.zeros((0, 4, 3), np.uint8)}, "no pixels"),
        ({"image": "photo.jpg"}, "got str"),
    ],
)
def test_bad_arguments(arguments, message):
    for preset in PRESETS:
        with pytest.raises(ValueError, match=message):
            slic(**{"image": dark_image(), "preset": preset, **arguments})
