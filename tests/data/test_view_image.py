"""Reduced images and superpixels at a crop: skipped work must not change the result."""

from __future__ import annotations

import dataclasses
import os
import pickle
import warnings

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from lidardistill.data.config import ImageConfig
from lidardistill.data.frame import CorruptSample, Frame
from lidardistill.data.image_cache import ImageCache
from lidardistill.data.images import read_image
from lidardistill.data.keyframes import Keyframes
from lidardistill.data.view_image import ViewImage
from lidardistill.methods.image_pairs import ImagePairs
from lidardistill.regions.slic.slic import slic
from lidardistill.regions.superpixels.scaling import reduce_by_area
from lidardistill.regions.superpixels.source import SuperpixelSource
from lidardistill.regions.superpixels.store import fingerprint
from tests.support.inputs import augment, scan_input

SIZE = (61, 95)
"""Odd: the last blocks of a reduced image are cut."""


def write_picture(path, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (8, 12, 3)).repeat(8, axis=0).repeat(8, axis=1)[3:, 1:]
    path.write_bytes(simplejpeg.encode_jpeg(coarse.astype(np.uint8), quality=95))
    return path


@pytest.fixture
def picture(tmp_path):
    return write_picture(tmp_path / "a.jpg")


@pytest.fixture
def cache(tmp_path):
    return ImageCache(tmp_path / "cache", 2)


def entries(cache):
    return sorted(path for path in cache.root.rglob("*") if path.is_file())


def test_an_entry_is_made_once_and_is_the_area_average(picture, cache):
    made = cache.read(picture, "a.jpg", SIZE)
    whole = read_image(picture)
    assert np.array_equal(made.pixels, reduce_by_area(whole, 2))
    assert made.fingerprint == fingerprint(whole)
    assert entries(cache) == [cache.path_of("a.jpg")]
    assert cache.path_of("a.jpg").stat().st_size == cache.bytes_of(SIZE) == 64 + 31 * 48 * 3

    stamp = picture.stat()
    picture.write_bytes(b"x" * stamp.st_size)  # no picture any more: what is read now comes from the entry
    os.utime(picture, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    again = pickle.loads(pickle.dumps(cache)).read(picture, "a.jpg", SIZE)
    assert np.array_equal(again.pixels, made.pixels)
    assert again.fingerprint == made.fingerprint
    again.pixels[:] = 0  # private to this process
    assert np.array_equal(cache.read(picture, "a.jpg", SIZE).pixels, made.pixels)


def test_another_picture_under_the_same_name_replaces_the_entry(picture, cache):
    cache.read(picture, "a.jpg", SIZE)
    write_picture(picture, seed=1)
    assert np.array_equal(cache.read(picture, "a.jpg", SIZE).pixels, reduce_by_area(read_image(picture), 2))
    assert len(entries(cache)) == 1
    assert ImageCache(cache.root, 4).path_of("a.jpg") != cache.path_of("a.jpg")


@pytest.mark.parametrize("damage", ["truncate", "header", "empty"])
def test_a_damaged_entry_is_made_anew(picture, cache, damage):
    good = cache.read(picture, "a.jpg", SIZE)
    entry = cache.path_of("a.jpg")
    data = bytearray(entry.read_bytes())
    if damage == "header":
        data[34] ^= 1  # a bit of the fingerprint
    entry.write_bytes({"truncate": data[:-5], "header": data, "empty": b""}[damage])
    found = cache.read(picture, "a.jpg", SIZE)
    assert np.array_equal(found.pixels, good.pixels)
    assert found.fingerprint == good.fingerprint
    assert entry.stat().st_size == cache.bytes_of(SIZE)


def test_a_disk_that_is_full_costs_time_and_not_the_run(picture, cache, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.warns(RuntimeWarning, match=r"no longer stored .*No space left on device; the run continues"):
        first = cache.read(picture, "a.jpg", SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        assert np.array_equal(cache.read(picture, "a.jpg", SIZE).pixels, first.pixels)
    assert entries(cache) == [], "something was left behind"


def test_pictures_that_cannot_be_read_are_not_cached(tmp_path, picture, cache):
    with pytest.raises(FileNotFoundError, match=r"none\.jpg is missing"):
        cache.read(tmp_path / "none.jpg", "none.jpg", SIZE)
    with pytest.raises(CorruptSample, match="expected 60x95"):
        cache.read(picture, "a.jpg", (60, 95))
    picture.write_bytes(picture.read_bytes()[:200])
    with pytest.raises(CorruptSample, match="cannot be decoded"):
        cache.read(picture, "a.jpg", SIZE)
    assert not cache.root.exists()
    with pytest.raises(ValueError, match="at least 2, got 1"):
        ImageCache(tmp_path, 1)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_jpeg_is_decoded_reduced(tmp_path, scale):
    ramp = np.add.outer(np.linspace(0, 120, 64), np.linspace(0, 120, 96))[..., None].repeat(3, axis=2)
    path = tmp_path / "ramp.jpg"
    path.write_bytes(simplejpeg.encode_jpeg(ramp.astype(np.uint8), quality=98))
    image = read_image(path, (64, 96), scale)
    assert image.shape == (64 // scale, 96 // scale, 3)
    assert np.abs(image.astype(int) - reduce_by_area(read_image(path), scale)).max() <= 2
    with pytest.raises(CorruptSample, match=r"has 64x96 pixels .*: expected 63x96"):
        read_image(path, (63, 96), scale)


def test_reduced_decoding_of_odd_sizes_and_of_other_formats(tmp_path, picture):
    assert read_image(picture, SIZE, 2).shape == (31, 48, 3)
    Image.fromarray(read_image(picture)).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png", SIZE, 4), reduce_by_area(read_image(picture), 4))
    with pytest.raises(ValueError, match="one of 1, 2, 4, 8, got 3"):
        read_image(picture, SIZE, 3)
    data = picture.read_bytes()
    picture.write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptSample, match="cannot be decoded"):
        read_image(picture, SIZE, 2)


def test_an_image_is_read_no_larger_than_needed(picture, cache, monkeypatch):
    asked = []

    def counted(path, size=None, scale=1, **options):
        asked.append(scale)
        return read_image(path, size, scale, **options)

    monkeypatch.setattr("lidardistill.data.view_image.read_image", counted)
    monkeypatch.setattr("lidardistill.data.image_cache.read_image", counted)

    def look(**options):
        asked.clear()
        image = ViewImage(picture, "a.jpg", SIZE, ImageConfig(**options))
        found = (image.fingerprint(), image.pixels().shape, image.reduced(3))
        image.pixels()
        return found

    whole = fingerprint(read_image(picture))
    assert look() == (whole, (*SIZE, 3), None)
    assert asked == [1]
    assert look(scale=2) == (whole, (31, 48, 3), None)
    assert asked == [1]
    assert look(scale=2, reduce="jpeg") == (None, (31, 48, 3), None)
    assert asked == [2]
    for expected in ([1], []):
        assert look(scale=2, cache=str(cache.root)) == (whole, (31, 48, 3), None)
        assert asked == expected
    hidden = ViewImage(picture, "a.jpg", SIZE, is_shown=False)
    asked.clear()
    assert hidden.fingerprint() is None
    assert asked == []


def test_memory_is_used_again_by_closed_images_alone(tmp_path):
    paths = [write_picture(tmp_path / f"{seed}.jpg", seed) for seed in range(3)]
    expected = [read_image(path) for path in paths]
    images = [ViewImage(path, path.name, SIZE) for path in paths]
    first, second = images[0](), images[1]()
    assert not np.shares_memory(first, second)
    assert np.array_equal(first, expected[0])
    images[1].close()
    third = images[2]()
    assert np.shares_memory(third, second)
    assert not np.shares_memory(third, first)
    assert np.array_equal(first, expected[0])
    assert np.array_equal(third, expected[2])
    assert np.array_equal(images[1](), expected[1]), "a closed image is read again"
    assert np.array_equal(third, expected[2]), "memory of an open image was given away"
    half = ViewImage(paths[0], "0.jpg", SIZE, ImageConfig(scale=2, reduce="jpeg"))
    assert half.pixels().shape == (31, 48, 3)
    assert np.array_equal(half(), expected[0])
    assert not np.shares_memory(half(), half.pixels())


class OneFrame:
    def __init__(self, folder):
        rng = np.random.default_rng(0)
        xyz = rng.uniform((1, -20, -5), (40, 20, 5), size=(4000, 3))
        cam2img = np.eye(4)
        cam2img[:3, :3] = [[50, 0, SIZE[1] / 2], [0, 50, SIZE[0] / 2], [0, 0, 1]]
        lidar2cam = np.eye(4)
        lidar2cam[:3, :3] = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
        self.dataroot = folder
        self._frame = Frame(
            sample_token="token",
            scene_name="scene",
            timestamp_us=0,
            lidar_path=folder / "0.bin",
            points=np.concatenate([xyz, rng.uniform(size=(4000, 1))], axis=1).astype(np.float32),
            channels=("FRONT", "COPY"),
            image_paths=(write_picture(folder / "f.jpg", 3), write_picture(folder / "g.jpg", 4)),
            image_timestamps_us=np.zeros(2, np.int64),
            image_size=np.array([SIZE, SIZE]),
            lidar2cam=np.stack([lidar2cam] * 2),
            cam2img=np.stack([cam2img] * 2),
            lidar2ego=np.eye(4),
            ego2global=np.eye(4),
        )

    def frame(self, row):
        return self._frame

    def sample_token(self, row):
        return "token"


def whole_maps(source):
    """The slow twin: a reader without `at`; it builds the full maps and then resizes them."""

    def read(image, key):
        return source(image, key)

    read.max_id_bound = source.max_id_bound
    return read


def dataset(index, superpixels, **options):
    voxels = scan_input(kind="cartesian", voxel_size=(0.5, 0.5, 0.5))
    recipe = ImagePairs(voxels, augment(cuboid_min_pairs=1024), superpixels=superpixels, **options)
    return Keyframes(index, [0], recipe, seed=5)


@pytest.mark.parametrize("kind", ["store", "computed", "scaled", "masks"])
def test_superpixels_at_the_crop_equal_those_of_the_whole_map(tmp_path, kind):
    index = OneFrame(tmp_path)
    options = {"num_superpixels": 20, "sigma": 1.0}
    if kind == "masks":
        (tmp_path / "masks").mkdir()
        for name in "fg":
            ids = np.random.default_rng(6).integers(0, 9, SIZE)
            np.save(tmp_path / "masks" / f"{name}.npy", ids.astype(np.int32))
        source = SuperpixelSource(20, mask_root=tmp_path / "masks", mask_ignore=4)
    else:
        store = tmp_path / "store" if kind == "store" else None
        source = SuperpixelSource(**options, store=store, scale=2 if kind == "scaled" else 1)
    fast, slow = dataset(index, source), dataset(index, whole_maps(source))
    crops = set()
    for position in range(6):
        a, b = fast[0, position, 0], slow[0, position, 0]
        for field in dataclasses.fields(a):
            x, y = getattr(a, field.name), getattr(b, field.name)
            if field.name == "voxels":
                assert all(np.array_equal(one, other) for one, other in zip(x, y, strict=True))
            else:
                assert np.array_equal(x, y) if isinstance(x, np.ndarray) else x == y, field.name
        assert a.superpixel_mask.all() == (kind != "masks")
        crops.add(a.superpixels.tobytes())
    assert len(crops) >= 3


def test_reduced_images_leave_pairs_and_superpixels_alone(tmp_path, cache):
    index = OneFrame(tmp_path)
    source = SuperpixelSource(20, sigma=1.0, store=tmp_path / "store")
    whole = dataset(index, source)
    ways = {
        "average": dataset(index, source, images=ImageConfig(scale=2)),
        "cache, made": dataset(index, source, images=ImageConfig(scale=2, cache=str(cache.root))),
        "cache, read": dataset(index, source, images=ImageConfig(scale=2, cache=str(cache.root))),
        "reduced decoding": dataset(index, source, images=ImageConfig(scale=2, reduce="jpeg")),
    }
    averaged = ways["average"][0, 2, 0].images
    for name, data in ways.items():
        # The cache changes no pixel, so a run may lose its cache and continue.
        assert np.array_equal(data[0, 2, 0].images, averaged) == (name != "reduced decoding")
        for position in range(4):
            a, b = whole[0, position, 0], data[0, position, 0]
            for field in ("points", "superpixels", "superpixel_mask", "pairing_points", "pairing_images"):
                assert np.array_equal(getattr(a, field), getattr(b, field)), (name, field)
            error = np.abs(a.images - b.images)
            assert 0 < error.mean() < 0.06, name


def test_a_reduced_image_is_segmented_as_it_is_at_hand(tmp_path, cache):
    """Block averages are what `scale` segments anyway, so from the cache the result is the same."""
    index = OneFrame(tmp_path)
    source = SuperpixelSource(20, sigma=1.0, scale=2)
    cached = dataset(index, source, images=ImageConfig(scale=2, cache=str(cache.root)))
    whole = dataset(index, source)
    cached[0, 0, 0]
    sizes = []

    def spied(image, *arguments):
        sizes.append(image.shape)
        return slic(image, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lidardistill.regions.superpixels.source.slic", spied)
        patch.setattr("lidardistill.data.view_image.read_image", None)  # nothing is decoded
        found = cached[0, 1, 0]
    assert sizes == [(31, 48, 3)] * 2
    assert np.array_equal(found.superpixels, whole[0, 1, 0].superpixels)


def test_a_stored_map_of_another_image_is_not_taken(tmp_path, cache):
    index = OneFrame(tmp_path)
    source = SuperpixelSource(20, sigma=1.0, store=tmp_path / "store")
    for options in ({}, {"images": ImageConfig(scale=2, cache=str(cache.root))}):
        data = dataset(index, source, **options)
        data[0, 0, 0]
        write_picture(tmp_path / "f.jpg", seed=8 + len(options))
        with pytest.warns(RuntimeWarning, match="was made from another image"):
            found = data[0, 0, 0]
        assert np.array_equal(found.superpixels, dataset(index, whole_maps(source))[0, 0, 0].superpixels)
