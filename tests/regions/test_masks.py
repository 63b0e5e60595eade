from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lidardistill.corrupt import CorruptSample
from lidardistill.regions.superpixels.masks import find_mask_file, read_mask_file, relabel_sequential


@pytest.fixture
def ids(rng) -> np.ndarray:
    return rng.integers(0, 1000, (6, 9)).astype(np.int32)


def test_16_bit_png_keeps_more_than_255_ids(tmp_path, ids):
    Image.fromarray(ids.astype(np.uint16)).save(tmp_path / "m.png")
    labels, mask = read_mask_file(tmp_path / "m.png")
    assert labels.dtype == np.int32
    assert ids.max() > 255
    np.testing.assert_array_equal(labels, ids)
    assert mask.dtype == bool
    assert mask.all()


@pytest.mark.parametrize("mode", ["L", "P"])
def test_8_bit_png_grey_and_palette(tmp_path, ids, mode):
    picture = Image.fromarray((ids % 256).astype(np.uint8))
    if mode == "P":
        picture = Image.fromarray((ids % 256).astype(np.uint8)).convert("P")
        picture.putpalette([255 - k // 3 for k in range(768)])
    picture.save(tmp_path / "m.png")
    with Image.open(tmp_path / "m.png") as stored:
        assert stored.mode == mode
    np.testing.assert_array_equal(read_mask_file(tmp_path / "m.png")[0], ids % 256)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64, np.uint64])
def test_npy_of_any_integer_type(tmp_path, ids, dtype):
    np.save(tmp_path / "m.npy", (ids % 100).astype(dtype))
    np.testing.assert_array_equal(read_mask_file(tmp_path / "m.npy")[0], ids % 100)


def test_npz_with_labels_and_mask(tmp_path, ids, rng):
    mask = rng.random(ids.shape) < 0.5
    np.savez(tmp_path / "m.npz", labels=ids, mask=mask)
    labels, read = read_mask_file(tmp_path / "m.npz")
    np.testing.assert_array_equal(read, mask)
    np.testing.assert_array_equal(labels, np.where(mask, ids, 0))
    np.savez(tmp_path / "one.npz", ids)
    np.testing.assert_array_equal(read_mask_file(tmp_path / "one.npz")[0], ids)


def test_only_the_ignore_value_that_is_given_is_ignored(tmp_path):
    stored = np.array([[0, 255, 7], [255, 0, 1]], np.uint8)
    np.save(tmp_path / "m.npy", stored)
    labels, mask = read_mask_file(tmp_path / "m.npy")
    assert mask.all()
    np.testing.assert_array_equal(labels, stored)
    labels, mask = read_mask_file(tmp_path / "m.npy", ignore=255)
    np.testing.assert_array_equal(mask, stored != 255)
    np.testing.assert_array_equal(labels, [[0, 0, 7], [0, 0, 1]])
    _, mask = read_mask_file(tmp_path / "m.npy", ignore=0)
    np.testing.assert_array_equal(mask, stored != 0)


def test_negative_ids_only_if_ignored(tmp_path):
    np.save(tmp_path / "m.npy", np.array([[-1, 3]]))
    with pytest.raises(
        ValueError, match=r"m\.npy: ids must lie in 0\.\.2147483647, got -1\.\.3; .*mask that is False"
    ):
        read_mask_file(tmp_path / "m.npy")
    labels, mask = read_mask_file(tmp_path / "m.npy", ignore=-1)
    assert labels.tolist() == [[0, 3]]
    assert mask.tolist() == [[False, True]]


def test_files_that_are_no_maps(tmp_path, ids):
    def refused(name: str, message: str, **options: object) -> None:
        with pytest.raises(ValueError, match=message) as caught:
            read_mask_file(tmp_path / name, **options)
        assert str(tmp_path / name) in str(caught.value)

    np.save(tmp_path / "float.npy", ids.astype(np.float32))
    refused("float.npy", r"expected integer ids of shape \(H, W\), got float32")
    np.save(tmp_path / "stack.npy", ids[None])
    refused("stack.npy", r"got int32 \(1, 6, 9\)")
    np.save(tmp_path / "big.npy", np.full((2, 2), 2**31))
    refused("big.npy", "ids must lie in")
    np.save(tmp_path / "code.npy", np.array([{"a": 1}]), allow_pickle=True)
    refused("code.npy", "cannot be read .*allow_pickle")
    np.savez(tmp_path / "two.npz", a=ids, b=ids)
    refused("two.npz", "expected an array named labels")
    np.savez(tmp_path / "wide.npz", labels=ids, mask=np.ones((6, 8), bool))
    refused("wide.npz", r"mask must be bool \(6, 9\), got bool \(6, 8\)")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "rgb.png")
    refused("rgb.png", "one channel of 8 or 16 bits, got RGB")
    Image.fromarray(np.zeros((4, 4), bool)).save(tmp_path / "bits.png")
    refused("bits.png", "one channel of 8 or 16 bits, got 1")
    np.save(tmp_path / "size.npy", ids)
    refused("size.npy", r"image has \(9, 6\) pixels \(H, W\), the map \(6, 9\)", image_size=(9, 6))
    (tmp_path / "m.tif").write_bytes(b"II")
    refused("m.tif", "unknown kind '.tif'; expected one of .png, .npy, .npz")


@pytest.mark.parametrize("name", ["m.png", "m.npy", "m.npz"])
def test_truncated_files_name_their_path(tmp_path, ids, name):
    path = tmp_path / name
    if name == "m.png":
        Image.fromarray(ids.astype(np.uint16)).save(path)
    elif name == "m.npy":
        np.save(path, ids)
    else:
        np.savez_compressed(path, labels=ids)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=f"{name} cannot be read"):
            read_mask_file(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"m\.png"):
        read_mask_file(tmp_path / "m.png")


@pytest.mark.parametrize("spread", [1, 50, 10**8])
@pytest.mark.parametrize("implementation", ["numba", "numpy"])
def test_relabel_is_in_order_and_without_a_gap(implementation, spread, rng):
    labels = rng.integers(-5, 20, (12, 10)).astype(np.int32) * spread
    mask = rng.random(labels.shape) < 0.7
    out, count = relabel_sequential(labels, mask, implementation=implementation)
    place = {value: k for k, value in enumerate(sorted(set(labels[mask].tolist())))}
    assert count == len(place)
    assert out.dtype == np.int32
    expected = [
        [place[v] if ok else 0 for v, ok in zip(*row, strict=True)] for row in zip(labels, mask, strict=True)
    ]
    np.testing.assert_array_equal(out, expected)
    turned, _ = relabel_sequential(labels.T, mask.T, implementation=implementation)
    np.testing.assert_array_equal(turned, np.transpose(expected))


def test_relabel_of_nothing():
    nine = np.full((3, 4), 9, np.int32)
    out, count = relabel_sequential(nine, np.zeros((3, 4), bool))
    assert count == 0
    assert not out.any()
    assert relabel_sequential(nine)[1] == 1
    assert relabel_sequential(np.zeros((0, 4), np.int32))[1] == 0
    with pytest.raises(ValueError, match="expected labels"):
        relabel_sequential(nine.astype(np.int64))


def test_find_mask_file_by_its_place(tmp_path):
    (tmp_path / "samples" / "CAM_FRONT").mkdir(parents=True)
    (tmp_path / "CAM_FRONT").mkdir()
    places = [
        tmp_path / "x.npz",
        tmp_path / "CAM_FRONT" / "x.npy",
        tmp_path / "samples" / "CAM_FRONT" / "x.png",
    ]
    for place in places:  # the more of the path agrees, the better
        place.touch()
        assert find_mask_file(tmp_path, "samples/CAM_FRONT/x.jpg") == place
        assert find_mask_file(tmp_path, "/data/nuscenes/samples/CAM_FRONT/x.jpg") == place
    (tmp_path / "v1.2.png").touch()
    assert find_mask_file(tmp_path, "v1.2") == tmp_path / "v1.2.png"
    with pytest.raises(FileNotFoundError, match=r"CAM_BACK/y\.jpg'; looked for .*samples/CAM_BACK/y\.png"):
        find_mask_file(tmp_path, "samples/CAM_BACK/y.jpg")
    with pytest.raises(ValueError, match="names no place below"):
        find_mask_file(tmp_path, "samples/../../x.jpg")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".png"])
def test_damage_of_any_kind_is_the_fault_of_one_keyframe(tmp_path, suffix):
    """A loader replaces such a keyframe; any other error would end the run."""
    path = tmp_path / f"m{suffix}"
    ids = np.arange(600, dtype=np.uint8).reshape(20, 30)
    if suffix == ".npy":
        np.save(path, ids)
    elif suffix == ".npz":
        np.savez(path, labels=ids)
    else:
        Image.fromarray(ids).save(path)
    data = path.read_bytes()
    for broken in (
        b"",
        data[:10],
        data[:40],
        data[: len(data) // 2],
        data[:-9],
        b"\0" * 50,
        b"\x93NUMPY\x01\0v\0{'descr",
    ):
        path.write_bytes(broken)
        with pytest.raises(CorruptSample, match=rf"region map .*m\{suffix}"):
            read_mask_file(path)
