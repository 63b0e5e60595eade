from __future__ import annotations

import numpy as np
import pytest

from lidardistill.regions.superpixels.scaling import enlarge_labels, reduce_by_area


@pytest.mark.parametrize("size", [(8, 12), (9, 13), (5, 4), (1, 1), (2, 7)])
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_area_average_equals_a_loop(size, factor, rng):
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    small = reduce_by_area(image, factor)
    assert small.dtype == np.uint8
    assert small.shape == (-(-size[0] // factor), -(-size[1] // factor), 3)
    for row in range(small.shape[0]):
        for col in range(small.shape[1]):
            block = image[row * factor : (row + 1) * factor, col * factor : (col + 1) * factor].reshape(-1, 3)
            np.testing.assert_array_equal(small[row, col], np.floor(block.mean(axis=0) + 0.5))


@pytest.mark.parametrize("size", [(8, 12), (9, 13), (5, 4), (1, 1)])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_labels_come_back_to_their_block(size, factor, rng):
    small = rng.integers(0, 1000, (-(-size[0] // factor), -(-size[1] // factor)), dtype=np.int32)
    labels = enlarge_labels(small, factor, size)
    assert labels.dtype == np.int32
    assert labels.shape == size
    rows, cols = np.mgrid[: size[0], : size[1]]
    np.testing.assert_array_equal(labels, small[rows // factor, cols // factor])


@pytest.mark.parametrize("factor", [0, -2, 1.5, True])
def test_bad_factor(factor):
    with pytest.raises(ValueError, match="scale must be a whole number"):
        reduce_by_area(np.zeros((4, 4, 3), np.uint8), factor)
