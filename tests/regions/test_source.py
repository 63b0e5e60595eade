from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image

from lidardistill.data.images import read_image
from lidardistill.regions.slic.slic import slic
from lidardistill.regions.superpixels.scaling import enlarge_labels, reduce_by_area
from lidardistill.regions.superpixels.source import SuperpixelSource, segment
from lidardistill.regions.superpixels.store import SuperpixelStore

NAME = "samples/CAM_FRONT/x.jpg"


@pytest.fixture
def image(rng) -> np.ndarray:
    coarse = rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)
    return coarse.repeat(10, axis=0).repeat(10, axis=1)[:77, :115]


class Counted:
    """An image that counts how often it was decoded."""

    def __init__(self, image: np.ndarray) -> None:
        self.image = image
        self.calls = 0

    def __call__(self) -> np.ndarray:
        self.calls += 1
        return self.image


def test_computes_on_the_fly(image):
    labels, mask = SuperpixelSource(40, 6.0, 1.0)(image, NAME)
    np.testing.assert_array_equal(labels, slic(image, 40, 6.0, 1.0))
    assert labels.dtype == np.int32
    assert mask.dtype == bool
    assert mask.all()
    assert mask.shape == image.shape[:2]
    np.testing.assert_array_equal(SuperpixelSource(40, 6.0, 1.0)(lambda: image, NAME)[0], labels)


def test_scale_segments_the_reduced_image_with_the_reduced_sigma(image):
    labels, _ = SuperpixelSource(40, 6.0, 3.0, scale=2)(image, NAME)
    small = slic(reduce_by_area(image, 2), 40, 6.0, 1.5)
    np.testing.assert_array_equal(labels, enlarge_labels(small, 2, image.shape[:2]))
    assert labels.shape == image.shape[:2]


def test_half_size_stays_close_on_a_real_image(nuscenes_one):
    from lidardistill.regions.superpixels.quality import boundary_recall

    path = next((nuscenes_one / "samples" / "CAM_FRONT").glob("*.jpg"))
    image = reduce_by_area(read_image(path), 2)
    full = segment(image, sigma=1.5)
    assert boundary_recall(full, segment(image, sigma=1.5, scale=2)) > 0.55


def test_the_store_is_filled_and_then_used(image, tmp_path):
    counted = Counted(image)
    first = SuperpixelSource(40, store=tmp_path)(counted, NAME)[0]
    assert counted.calls == 1
    second = SuperpixelSource(40, store=SuperpixelStore(tmp_path, SuperpixelSource(40).key))(counted, NAME)[0]
    assert counted.calls == 1
    np.testing.assert_array_equal(first, second)
    SuperpixelSource(41, store=tmp_path)(counted, NAME)
    SuperpixelSource(40, scale=2, store=tmp_path)(counted, NAME)
    assert counted.calls == 3


def test_an_image_that_changed_under_its_name_is_segmented_anew(image, tmp_path):
    source = SuperpixelSource(40, store=tmp_path)
    source(image, NAME)
    other = image[:, ::-1].copy()
    with pytest.warns(RuntimeWarning, match="made from another image"):
        labels, _ = source(other, NAME)
    np.testing.assert_array_equal(labels, slic(other, 40))
    np.testing.assert_array_equal(source(other, NAME)[0], labels)


def test_a_damaged_entry_is_mended(image, tmp_path):
    source = SuperpixelSource(40, store=tmp_path)
    labels, _ = source(image, NAME)
    path = source.store.path_of(NAME)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.warns(RuntimeWarning, match=path.name):
        np.testing.assert_array_equal(source(image, NAME)[0], labels)
    np.testing.assert_array_equal(source.store.get(NAME), labels)


def test_a_store_that_cannot_be_written_does_not_stop_the_run(image, tmp_path):
    (tmp_path / "file").touch()
    source = SuperpixelSource(40, store=tmp_path / "file" / "store")
    with (
        pytest.warns(RuntimeWarning, match="no longer stored"),
        pytest.warns(RuntimeWarning, match="cannot be read"),
    ):
        labels, _ = source(image, NAME)
    np.testing.assert_array_equal(labels, slic(image, 40))
    assert not source.write


def test_write_false_only_reads(image, tmp_path):
    SuperpixelSource(40, store=tmp_path / "store", write=False)(image, NAME)
    assert not (tmp_path / "store").exists()


def test_mask_files_are_renumbered_and_void_is_a_mask(tmp_path):
    stored = np.array([[900, 900, 0], [12, 0, 12]], np.uint16)
    Image.fromarray(stored).save(tmp_path / "x.png")
    labels, mask = SuperpixelSource(mask_root=tmp_path)(lambda: None, NAME)
    np.testing.assert_array_equal(labels, [[2, 2, 0], [1, 0, 1]])
    assert mask.all()
    labels, mask = SuperpixelSource(mask_root=tmp_path, mask_ignore=0)(np.zeros((2, 3, 3), np.uint8), NAME)
    np.testing.assert_array_equal(labels, [[1, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(mask, stored > 0)
    with pytest.raises(ValueError, match=r"x\.png: its image has \(4, 3\) pixels"):
        SuperpixelSource(mask_root=tmp_path)(np.zeros((4, 3, 3), np.uint8), NAME)
    with pytest.raises(FileNotFoundError, match=r"'y\.jpg'"):
        SuperpixelSource(mask_root=tmp_path)(lambda: None, "y.jpg")


def test_more_superpixels_than_reserved_rows(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(400).reshape(20, 20))
    with pytest.raises(
        ValueError,
        match=r"x\.jpg' has 400 superpixels, but 300 rows .*superpixels\.num_superpixels\. Set that to 200",
    ):
        SuperpixelSource(mask_root=tmp_path)(lambda: None, NAME)
    labels, _ = SuperpixelSource(mask_root=tmp_path, max_id_bound=400)(lambda: None, NAME)
    assert labels.max() == 399
    assert labels.dtype == np.int32


@pytest.mark.parametrize("compactness", [0.5, 6.0, 100.0])
def test_the_default_bound_holds_where_more_come_than_were_asked_for(compactness, rng):
    # At 224x400 the grid of seeds has 153 places for the requested 150.
    source = SuperpixelSource(150, compactness)
    assert source.max_id_bound == 300
    labels, _ = source(rng.integers(0, 256, (224, 400, 3), dtype=np.uint8), NAME)
    assert labels.max() < 300
    if compactness == 100.0:
        assert labels.max() >= 150


def test_a_source_travels_to_other_processes(image, tmp_path):
    source = SuperpixelSource(40, store=tmp_path)
    labels, _ = source(image, NAME)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source))(lambda: None, NAME)[0], labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "quick"}, "unknown preset"),
        ({"scale": 0}, "scale must be a whole number"),
        ({"max_id_bound": 0}, "max_id_bound must be at least 1"),
        ({"store": "a", "mask_root": "b"}, "give one of store and mask_root"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        SuperpixelSource(**options)


def test_missing_mask_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder of region maps"):
        SuperpixelSource(mask_root=tmp_path / "none")
