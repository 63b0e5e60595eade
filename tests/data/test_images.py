"""Pictures: right pixels for good files, one clear error for bad ones."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from lidardistill.data.frame import CorruptSample
from lidardistill.data.images import read_image


@pytest.fixture
def pixels(rng):
    smooth = np.add.outer(np.linspace(0, 200, 48), np.linspace(0, 50, 64))
    return np.stack([smooth, smooth[::-1], 250 - smooth], axis=-1).astype(np.uint8)


@pytest.fixture
def jpeg(tmp_path, pixels):
    path = tmp_path / "picture.jpg"
    path.write_bytes(simplejpeg.encode_jpeg(pixels, quality=98))
    return path


def test_a_jpeg_is_rgb(jpeg, pixels):
    image = read_image(jpeg)
    assert image.dtype == np.uint8
    assert image.shape == (48, 64, 3)
    assert np.abs(image.astype(int) - pixels).max() < 12
    with Image.open(jpeg) as picture:  # Pillow decodes with the same library
        assert np.abs(image.astype(int) - np.asarray(picture)).max() <= 2


def test_a_png_is_exact(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    np.testing.assert_array_equal(read_image(tmp_path / "picture.png"), pixels)


def test_a_grey_picture_has_three_channels(tmp_path, pixels):
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.repeat(pixels[..., :1], 3, axis=2))
    (tmp_path / "grey.jpg").write_bytes(simplejpeg.encode_jpeg(pixels[..., :1].copy(), colorspace="GRAY"))
    assert read_image(tmp_path / "grey.jpg").shape == (48, 64, 3)


def test_a_truncated_jpeg_is_never_filled_with_grey(jpeg):
    data = jpeg.read_bytes()
    for length in (2, 30, len(data) // 2, len(data) - 40, len(data) - 1):
        jpeg.write_bytes(data[:length])
        with pytest.raises(CorruptSample, match=rf"picture {jpeg} cannot be decoded: .* got {length} bytes"):
            read_image(jpeg)


def test_a_truncated_real_picture(nuscenes_one, tmp_path):
    data = next((nuscenes_one / "samples" / "CAM_FRONT").glob("*.jpg")).read_bytes()
    path = tmp_path / "picture.jpg"
    for length in (len(data) // 2, len(data) - 1000, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(CorruptSample, match="cannot be decoded"):
            read_image(path)
    path.write_bytes(data)
    assert read_image(path, (900, 1600)).shape == (900, 1600, 3)


def test_an_end_marker_does_not_hide_a_hole(jpeg):
    data = jpeg.read_bytes()
    jpeg.write_bytes(data[: len(data) // 2] + b"\xff\xd9")
    with pytest.raises(CorruptSample, match="cannot be decoded"):
        read_image(jpeg)


def test_a_truncated_png(tmp_path, pixels):
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    data = path.read_bytes()
    for length in (10, len(data) // 2, len(data) - 30):
        path.write_bytes(data[:length])
        with pytest.raises(CorruptSample, match="cannot be decoded"):
            read_image(path)


def test_an_empty_picture(jpeg):
    jpeg.write_bytes(b"")
    with pytest.raises(CorruptSample, match=rf"picture {jpeg} is empty: .* got 0 bytes"):
        read_image(jpeg)


def test_what_is_no_picture(jpeg):
    jpeg.write_bytes(b"<html>404</html>")
    with pytest.raises(CorruptSample, match="cannot be decoded"):
        read_image(jpeg)


def test_a_picture_of_another_size(jpeg):
    assert read_image(jpeg, (48, 64)).shape == (48, 64, 3)
    with pytest.raises(CorruptSample, match=r"has 48x64 pixels .*: expected 64x48"):
        read_image(jpeg, (64, 48))


def test_a_missing_picture(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.jpg is missing although the data set names it"):
        read_image(tmp_path / "none.jpg")


def test_grey_of_16_bits_is_scaled_not_cut_off(tmp_path, pixels):
    grey = pixels[..., 0]
    expected = np.repeat(grey[..., None], 3, axis=2)
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), expected)
    for name in ("grey.tif", "big.tif"):
        stored = (grey.astype(np.uint16) * 256).astype(">u2" if name == "big.tif" else "<u2")
        Image.frombytes("I;16B" if name == "big.tif" else "I;16", (64, 48), stored.tobytes()).save(
            tmp_path / name
        )
        np.testing.assert_array_equal(read_image(tmp_path / name), expected)
    assert read_image(tmp_path / "grey.png", (48, 64), 2).shape == (24, 32, 3)


def test_pixels_that_are_neither_8_nor_16_bits_are_refused(tmp_path, pixels):
    Image.fromarray(pixels[..., 0].astype(np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(pixels[..., 0].astype(np.int32) * 9999).save(tmp_path / "long.tif")
    for name in ("float.tif", "long.tif"):
        with pytest.raises(CorruptSample, match=rf"{name} cannot be decoded: .*8 or 16 bits"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_other_modes_keep_their_colours(tmp_path, pixels, mode):
    picture = Image.fromarray(pixels).convert(mode)
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    picture.save(path)
    np.testing.assert_array_equal(read_image(path), np.asarray(picture.convert("RGB")))


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header states another size than its data have."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(b"\0" * 999)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("side", [12_000, 30_000])
@pytest.mark.filterwarnings("error")
def test_a_picture_that_promises_too_many_pixels(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of(side, side))
    for size in (None, (48, 64)):
        with pytest.raises(CorruptSample, match=r"bomb\.png"):
            read_image(path, size)


def test_a_jpeg_that_promises_too_many_pixels_takes_no_memory(jpeg):
    data = bytearray(jpeg.read_bytes())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", 65000, 65000)
    jpeg.write_bytes(data)
    with pytest.raises(CorruptSample, match="has 65000x65000 pixels"):
        read_image(jpeg)


def test_a_picture_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(CorruptSample, match=r"folder\.jpg cannot be read"):
        read_image(tmp_path / "folder.jpg")


def test_whatever_a_decoder_raises_names_the_picture(tmp_path, pixels, monkeypatch):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for kind in (struct.error, zlib.error, MemoryError, IndexError, AssertionError):
        monkeypatch.setattr(Image, "open", lambda *_, kind=kind: (_ for _ in ()).throw(kind()))
        with pytest.raises(CorruptSample, match=rf"a\.png cannot be decoded.*{kind.__name__}"):
            read_image(tmp_path / "a.png")
