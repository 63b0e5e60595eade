"""Camera pictures from disk."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from lidardistill.corrupt import CorruptSample
from lidardistill.regions.superpixels.scaling import reduce_by_area
from lidardistill.spans import spanned

JPEG_SCALES = (1, 2, 4, 8)
"""Whole factors by which a JPEG can be decoded reduced: its blocks are 8 x 8."""

_MOST_PIXELS = 100_000_000  # more than any camera has; a file may promise billions


@spanned("decode images")
def read_image(
    path: Path, size: tuple[int, int] | None = None, scale: int = 1, *, buffer: np.ndarray | None = None
) -> np.ndarray:
    """Decode a JPEG (libjpeg-turbo) or any other format that Pillow reads.

    A JPEG that is decoded at scale 2 costs about 30 % less, and one at scale 8 hardly less than that: its entropy
    coding must be read in full. The pixels are close to area averages, not equal to them.

    Args:
        path: picture file.
        size: height and width in pixels that the tables promise; None accepts any. A picture of another size
            would put every projected point on the wrong pixel.
        scale: whole factor by which the picture is reduced, one of `JPEG_SCALES`; `size` is that of the whole picture.
        buffer: (n,) uint8 that the pixels of a JPEG are written into where it is large enough. Fresh memory costs a
            quarter of the decoding: the system hands it out page by page, zeroed.

    Returns:
        (ceil(H / scale), ceil(W / scale), 3) uint8 RGB.

    Raises:
        ValueError: another scale.
        FileNotFoundError: there is no such file.
        CorruptSample: the file is empty, truncated, no picture, or of another size.
    """
    if scale not in JPEG_SCALES:
        raise ValueError(f"scale: expected one of {', '.join(map(str, JPEG_SCALES))}, got {scale}")
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"picture {path} is missing although the data set names it. Expected: the data set's files beside its "
            f"tables. Download the part that holds it, or leave out the scenes that are not on disk: "
            f"data.missing=skip."
        ) from None
    except OSError as error:
        raise CorruptSample(
            f"picture {path} cannot be read: {error.strerror or error}. Copy or download the file again."
        ) from error
    if not data:
        raise CorruptSample(
            f"picture {path} is empty: expected a JPEG or PNG, got 0 bytes. Copy the file again."
        )
    decode = _decode_jpeg if data[:2] == b"\xff\xd8" else _decode_other
    try:
        return decode(data, size, scale, buffer)
    except _OtherSizeError as error:
        found = error.args[0]
        raise CorruptSample(
            f"picture {path} has {found[0]}x{found[1]} pixels (height x width): expected "
            + (
                f"{size[0]}x{size[1]}, as its table row says. The calibration belongs to that size; "
                if size
                else f"{_MOST_PIXELS} at most; "
            )
            + "restore the original file."
        ) from None
    except (
        Exception
    ) as error:  # decoders raise classes of all kinds, and nothing but this file decides about it
        raise CorruptSample(
            f"picture {path} cannot be decoded: expected a whole JPEG or PNG, got {len(data)} bytes and "
            f'"{str(error) or type(error).__name__}". Copy or download the file again.'
        ) from error


class _OtherSizeError(Exception):
    """A picture has (height, width) pixels, which nobody expects."""


def _check_size(found: tuple[int, int], size: tuple[int, int] | None) -> None:
    """Look at the size that a file's head promises, before memory is taken for so many pixels."""
    if (tuple(found) != tuple(size)) if size is not None else found[0] * found[1] > _MOST_PIXELS:
        raise _OtherSizeError(found)


def _decode_other(
    data: bytes, size: tuple[int, int] | None, scale: int, buffer: np.ndarray | None
) -> np.ndarray:
    """Pixels of any format that Pillow reads, reduced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `_check_size` is stricter
        with Image.open(io.BytesIO(data)) as picture:
            _check_size((picture.height, picture.width), size)
            return reduce_by_area(_rgb(picture), scale)


def _rgb(picture: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8. Grey values of 16 bits are divided by 256: Pillow would cut all above 255 off."""
    if picture.mode == "F":
        raise ValueError("pixels are fractions; whole numbers of 8 or 16 bits are expected")
    if not picture.mode.startswith("I"):
        return np.asarray(picture.convert("RGB"))
    grey = np.asarray(picture)
    if grey.min() < 0 or grey.max() > 65535:
        raise ValueError("pixels have 32 bits; 8 or 16 bits are expected")
    return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)


def _decode_jpeg(
    data: bytes, size: tuple[int, int] | None, scale: int, buffer: np.ndarray | None
) -> np.ndarray:
    """Pixels of a JPEG, reduced."""
    height, width, *_ = simplejpeg.decode_jpeg_header(data, strict=True)
    _check_size((height, width), size)
    reduced = -(-height // scale), -(-width // scale)
    if buffer is not None and buffer.size < reduced[0] * reduced[1] * 3:
        buffer = None
    # strict: without it libjpeg fills what is missing with grey and says nothing
    options = {"min_height": reduced[0], "min_width": reduced[1], "min_factor": scale} if scale > 1 else {}
    image = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True, buffer=buffer, **options)
    if image.shape[:2] != reduced:
        raise ValueError(f"asked libjpeg for {reduced}, got {image.shape}")
    return image


def image_key(path: Path, dataroot: Path) -> str:
    """Name of an image in superpixel caches and mask folders: its path inside the data set.

    Args:
        path: image file.
        dataroot: root of its data set.

    Returns:
        Such as `samples/CAM_FRONT/x.jpg` on every system; a data set that moves keeps its cache.
    """
    return path.relative_to(dataroot).as_posix()
