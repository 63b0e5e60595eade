"""The preset exact gives scikit-image's segmentation, on drawn and on real images."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from scipy import ndimage

from lidardistill.data.images import read_image
from lidardistill.regions.slic import slic_kernels
from lidardistill.regions.slic._slic_tiles_numba import fill_tiles
from lidardistill.regions.slic.slic import slic, warm_up
from lidardistill.regions.superpixels.config import SuperpixelConfig
from lidardistill.regions.superpixels.quality import agreement, boundary_recall
from lidardistill.regions.superpixels.source import SuperpixelSource

# Measured on the six real images: recall .9998, and .9998 at worst.
WORST_RECALL, MEAN_RECALL, WORST_AGREEMENT = 0.97, 0.99, 0.98


def shapes(size: tuple[int, int], seed: int) -> np.ndarray:
    """(H, W, 3) uint8: shaded discs on a ramp, with grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    picture = np.stack([60 + y / 4, 90 + x / 8, 140 - y / 5], axis=-1)
    for _ in range(25):
        cy, cx, radius = rng.uniform(0, size[0]), rng.uniform(0, size[1]), rng.uniform(10, 60)
        picture[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = rng.uniform(20, 230, 3)
    return np.clip(picture + rng.normal(0, 5, picture.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "num", "compactness", "sigma"),
    [
        ((90, 160), 40, 6.0, 3.0),
        ((77, 131), 30, 20.0, 1.0),  # ragged against the tiles of 32 x 16
        ((64, 300), 7, 0.5, 0.0),
        ((5, 211), 12, 6.0, 2.0),  # flatter than the Gaussian is wide
        ((211, 3), 12, 6.0, 0.0),
        ((40, 33), 700, 6.0, 1.0),  # windows of a few pixels
        ((20, 20), 5000, 6.0, 0.0),  # a seed on every pixel
        ((1, 1), 150, 6.0, 3.0),
    ],
)
def test_exact_is_scikit_image_pixel_by_pixel(size, num, compactness, sigma, rng):
    grey = np.repeat(rng.integers(0, 256, (*size, 1), dtype=np.uint8), 3, axis=2)
    noise = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    for image in (shapes(size, 1), noise, grey, np.full_like(grey, 77), shapes(size, 2) // 8):
        expected = slic(image, num, compactness, sigma, "reference")
        found = slic(image, num, compactness, sigma, "exact")
        # Equal here; float32 may decide a tie the other way on another machine.
        assert (found == expected).mean() > 0.995
        assert found.max() == expected.max()


def test_drawn_images_are_cut_as_scikit_image_does():
    recalls = []
    for seed in range(3):
        image = shapes((360, 480), seed)
        expected, found = slic(image, 60, preset="reference"), slic(image, 60)
        recalls.append(boundary_recall(expected, found))
        assert agreement(expected, found) > WORST_AGREEMENT
        assert abs(int(found.max()) - int(expected.max())) <= 6
    assert np.mean(recalls) > MEAN_RECALL - 0.05  # superpixels are smaller here: two pixels weigh more


@pytest.mark.slow
def test_real_images_are_cut_as_promised(nuscenes_one):
    paths = sorted((nuscenes_one / "samples").glob("CAM_*/*.jpg"))
    assert len(paths) == 6
    recalls = []
    for path in paths:
        image = read_image(path)
        expected, found = slic(image, preset="reference"), slic(image)
        recalls.append(boundary_recall(expected, found))
        assert agreement(expected, found) >= WORST_AGREEMENT, path
    assert min(recalls) >= WORST_RECALL
    assert np.mean(recalls) >= MEAN_RECALL


@pytest.mark.parametrize("preset", ["fast", "draft"])
def test_a_config_with_a_preset_that_was_removed_learns_what_to_change(preset):
    with pytest.raises(ValueError, match=rf"the preset {preset} was removed: remove this key"):
        SuperpixelConfig(preset=preset)


def test_repeats_bit_by_bit_also_on_several_threads():
    images = [shapes((123, 170), seed) for seed in range(4)]
    first = [slic(image, 40) for image in images]
    found: dict[int, np.ndarray] = {}

    def work(place: int) -> None:
        found[place] = slic(images[place % 4], 40)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place, labels in found.items():
        np.testing.assert_array_equal(labels, first[place % 4])
    assert len(found) == 8


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 5), (31, 17), (32, 16), (33, 161)])
def test_every_size_gives_connected_regions(size):
    for num in (1, 5, 60):
        labels = slic(shapes(size, 3), num)
        assert labels.shape == size
        assert labels.dtype == np.int32
        assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
        # Region 0 may also contain small pieces that precede all others, as in scikit-image.
        for region in range(1, labels.max() + 1):
            assert ndimage.label(labels == region)[1] == 1


def test_nothing_is_left_to_compile_after_warming_up():
    kernels = [
        slic_kernels.smooth_lab,
        slic_kernels.assign,
        slic_kernels.write_labels,
        slic_kernels.place_centres,
        fill_tiles,
        slic_kernels.sum_grid,
        slic_kernels.connect,
        slic_kernels.connect_by_search,
    ]
    warm_up("exact")
    before = [len(kernel.signatures) for kernel in kernels]
    assert min(before) == 1
    image = shapes((50, 60), 0)
    image.setflags(write=False)
    for picture in (image, image[::-1, ::2], image[:30].copy()):
        slic(picture, 9, 0.5, 0.0)
        slic(picture, np.int64(9), 6, 1)
    assert [len(kernel.signatures) for kernel in kernels] == before


def test_a_source_on_reduced_images_warms_up_the_scale_too(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "lidardistill.regions.superpixels.source.warm_up_scaling", lambda: asked.append("scale")
    )
    SuperpixelSource(20, preset="exact").warm_up()
    assert not asked
    SuperpixelSource(20, preset="exact", scale=2).warm_up()
    assert asked == ["scale"]


def test_a_source_warms_up_its_own_preset_and_mask_files_need_none(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("lidardistill.regions.superpixels.source.warm_up", asked.append)
    SuperpixelSource(20, preset="exact").warm_up()
    SuperpixelSource(20, mask_root=tmp_path).warm_up()
    assert asked == ["exact"]
