"""Read camera pictures from disk."""

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
"""Reduction factors of the JPEG decoder; a JPEG has blocks of 8 x 8 pixels."""

_MOST_PIXELS = 100_000_000  # more than any camera has; a damaged header may claim billions


@spanned("decode images")
def read_image(
    path: Path, size: tuple[int, int] | None = None, scale: int = 1, *, buffer: np.ndarray | None = None
) -> np.ndarray:
    """Decode a JPEG (libjpeg-turbo) or any other format that Pillow reads.

    Decoding a JPEG at scale 2 costs about 30 % less, and at scale 8 hardly less than that, because its
    entropy coding must be read in full. The pixels are close to area averages, not equal to them.

    Args:
        path: picture file.
        size: height and width in pixels according to the tables; None accepts any. In a picture of another
            size, every projected point would be on the wrong pixel.
        scale: whole factor of the reduction, one of `JPEG_SCALES`; `size` is that of the whole picture.
        buffer: (n,) uint8 memory for the pixels of a JPEG; used if it is large enough. Fresh memory costs a
            quarter of the decoding, because the system zeroes it page by page.

    Returns:
        (ceil(H / scale), ceil(W / scale), 3) uint8 RGB.

    Raises:
        ValueError: unknown scale.
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
            f"picture {path} is missing although the data set names it. Expected: the data set's files "
            f"beside its tables. Download the part with this file, or leave out the scenes that are not on "
            f"disk: data.missing=skip."
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
    # Decoders raise errors of many classes; all of them mean that this file is damaged.
    except Exception as error:
        raise CorruptSample(
            f"picture {path} cannot be decoded: expected a whole JPEG or PNG, got {len(data)} bytes and "
            f'"{str(error) or type(error).__name__}". Copy or download the file again.'
        ) from error


class _OtherSizeError(Exception):
    """A picture has an unexpected (height, width); args[0] holds it."""


def _check_size(found: tuple[int, int], size: tuple[int, int] | None) -> None:
    """Check the size in a file's header before memory for the pixels is allocated."""
    if (tuple(found) != tuple(size)) if size is not None else found[0] * found[1] > _MOST_PIXELS:
        raise _OtherSizeError(found)


def _decode_other(
    data: bytes, size: tuple[int, int] | None, scale: int, buffer: np.ndarray | None
) -> np.ndarray:
    """Decode any format that Pillow reads, reduced by `scale`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `_check_size` is stricter
        with Image.open(io.BytesIO(data)) as picture:
            _check_size((picture.height, picture.width), size)
            return reduce_by_area(_rgb(picture), scale)


def _rgb(picture: Image.Image) -> np.ndarray:
    """Return (H, W, 3) uint8. 16-bit grey values are divided by 256; Pillow would clip them to 255."""
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
    """Decode a JPEG, reduced by `scale`."""
    height, width, *_ = simplejpeg.decode_jpeg_header(data, strict=True)
    _check_size((height, width), size)
    reduced = -(-height // scale), -(-width // scale)
    if buffer is not None and buffer.size < reduced[0] * reduced[1] * 3:
        buffer = None
    # strict: without it, libjpeg fills missing parts with grey and reports no error
    options = {"min_height": reduced[0], "min_width": reduced[1], "min_factor": scale} if scale > 1 else {}
    image = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True, buffer=buffer, **options)
    if image.shape[:2] != reduced:
        raise ValueError(f"asked libjpeg for {reduced}, got {image.shape}")
    return image


def image_key(path: Path, dataroot: Path) -> str:
    """Return the name of an image in superpixel caches and mask folders: its path inside the data set.

    Args:
        path: image file.
        dataroot: root of its data set.

    Returns:
        Such as `samples/CAM_FRONT/x.jpg` on every system; a data set that moves keeps its cache.
    """
    return path.relative_to(dataroot).as_posix()
