"""Cached teacher features: they are found again, and never those of other pictures, regions or weights."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from lidardistill.corrupt import CorruptSample
from lidardistill.data.config import ImageConfig
from lidardistill.methods.slidr.cached_features import FeatureStore, feature_key
from lidardistill.regions.superpixels.config import SuperpixelConfig
from lidardistill.teachers.config import ResNet50TeacherConfig, ViTTeacherConfig

FEATURES, COUNT = np.arange(12, dtype=np.float32).reshape(4, 3), np.array([3, 0, 1, 2], np.float32)


class Root:
    """Two keyframes of two pictures each, and a region map for each picture."""

    def __init__(self, dataroot: Path) -> None:
        self.dataroot = dataroot

    def write(self) -> Root:
        for row in (0, 1):
            for path in self.image_paths(row):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"picture")
                (self.dataroot.parent / "maps" / path.parent.name).mkdir(parents=True, exist_ok=True)
                self.map_of(path).write_bytes(b"regions")
        return self

    def sample_token(self, row: int) -> str:
        return f"token{row}"

    def image_paths(self, row: int) -> tuple[Path, ...]:
        return tuple(self.dataroot / "samples" / camera / f"{row}.jpg" for camera in ("CAM_A", "CAM_B"))

    def map_of(self, picture: Path) -> Path:
        return self.dataroot.parent / "maps" / picture.parent.name / f"{picture.stem}.npy"


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path / "root").write()


def replace(path: Path, content: bytes) -> None:
    """Write another content of the same size, a second later."""
    stamp = path.stat().st_mtime_ns + 10**9
    path.write_bytes(content)
    os.utime(path, ns=(stamp, stamp))


def test_features_are_found_again(tmp_path, root):
    store = FeatureStore(tmp_path / "cache", "recipe")
    assert not store.has(root, 0)
    store.put(root, 0, FEATURES, COUNT)
    assert store.has(root, 0)
    assert not store.has(root, 1)
    for got, expected in zip(store.get(root, 0), (FEATURES, COUNT), strict=True):
        np.testing.assert_array_equal(got, expected)
    with pytest.raises(FileNotFoundError, match="no teacher features of keyframe token1"):
        store.get(root, 1)
    assert not FeatureStore(tmp_path / "cache", "another").has(root, 0)


@pytest.mark.parametrize("change", ["picture", "map", "no map"])
def test_other_pictures_or_region_maps_have_no_features(tmp_path, root, change):
    store = FeatureStore(tmp_path / "cache", "recipe", tmp_path / "maps")
    for row in (0, 1):
        store.put(root, row, FEATURES, COUNT)
    picture = root.image_paths(0)[1]
    if change == "picture":
        replace(picture, b"erutcip")
    elif change == "map":
        replace(root.map_of(picture), b"snoiger")
    else:
        root.map_of(picture).unlink()
    assert not store.has(root, 0)
    assert store.has(root, 1)
    with pytest.raises(FileNotFoundError, match="run it again"):
        store.get(root, 0)


def test_region_maps_count_only_if_they_are_used(tmp_path, root):
    store = FeatureStore(tmp_path / "cache", "recipe")
    store.put(root, 0, FEATURES, COUNT)
    shutil.rmtree(tmp_path / "maps")
    assert store.has(root, 0)


def test_a_data_set_that_moves_keeps_its_features(tmp_path, root):
    FeatureStore(tmp_path / "cache", "recipe").put(root, 0, FEATURES, COUNT)
    moved = Root(root.dataroot.rename(tmp_path / "elsewhere"))
    assert FeatureStore(tmp_path / "cache", "recipe").has(moved, 0)


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_a_damaged_file_counts_as_missing(tmp_path, root, length, caplog):
    store = FeatureStore(tmp_path / "cache", "recipe")
    store.put(root, 0, FEATURES, COUNT)
    path = store.path(root, 0)
    path.write_bytes(path.read_bytes()[:length])
    assert not store.has(root, 0)
    assert "truncated or damaged; they are computed anew" in caplog.text
    with pytest.raises(CorruptSample, match=path.name):
        store.get(root, 0)


def test_a_token_cannot_leave_the_cache(tmp_path, root):
    root.sample_token = lambda row: "../../escaped"
    with pytest.raises(ValueError, match="is no file name"):
        FeatureStore(tmp_path / "cache", "recipe").put(root, 0, FEATURES, COUNT)
    assert not list(tmp_path.rglob("escaped*"))


def key(teacher=None, superpixels=None, images=None, size=(224, 416)):
    return feature_key(
        teacher or ResNet50TeacherConfig(), superpixels or SuperpixelConfig(), images or ImageConfig(), size
    )


def test_every_setting_that_changes_features_changes_the_key(tmp_path):
    settings = [
        {},
        {"size": (112, 208)},
        {"images": ImageConfig(scale=2)},
        {"images": ImageConfig(scale=2, reduce="jpeg")},
        {"superpixels": SuperpixelConfig(num_superpixels=20)},
        {"superpixels": SuperpixelConfig(sigma=1.0)},
        {"superpixels": SuperpixelConfig(masks=str(tmp_path))},
        {"teacher": ResNet50TeacherConfig(dilated=False)},
    ]
    assert len({key(**one) for one in settings}) == len(settings)


def test_caches_and_the_place_of_masks_do_not_change_the_key(tmp_path):
    assert key(superpixels=SuperpixelConfig(cache="a")) == key(superpixels=SuperpixelConfig(cache="b"))
    assert key(superpixels=SuperpixelConfig(masks="a")) == key(superpixels=SuperpixelConfig(masks="b"))
    assert key(images=ImageConfig(scale=2, cache="a")) == key(images=ImageConfig(scale=2))


def test_weights_count_with_their_contents(tmp_path):
    one, two = tmp_path / "one.pth", tmp_path / "two.pth"
    one.write_bytes(b"weights")
    two.write_bytes(b"weights")
    first = key(ResNet50TeacherConfig(weights=str(one)))
    assert first == key(ResNet50TeacherConfig(weights=str(two)))
    two.write_bytes(b"sthgiew")
    assert first != key(ResNet50TeacherConfig(weights=str(two)))
    folder = tmp_path / "vit"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    first = key(ViTTeacherConfig(kind="dinov2", weights=str(folder)))
    (folder / "model.safetensors").write_bytes(b"sthgiew")
    assert first != key(ViTTeacherConfig(kind="dinov2", weights=str(folder)))
