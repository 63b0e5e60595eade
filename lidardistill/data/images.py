"""Camera pictures from disk."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from lidardistill.data.frame import CorruptSample
from lidardistill.regions.superpixels.scaling import reduce_by_area

JPEG_SCALES = (1, 2, 4, 8)
"""Whole factors by which a JPEG can be decoded reduced: its blocks are 8 x 8."""


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
    if not data:
        raise CorruptSample(
            f"picture {path} is empty: expected a JPEG or PNG, got 0 bytes. Copy the file again."
        )
    try:
        if data[:2] == b"\xff\xd8":
            found, image = _decode_jpeg(data, scale, buffer)
        else:
            with Image.open(io.BytesIO(data)) as picture:
                image = np.asarray(picture.convert("RGB"))
            found, image = (image.shape[0], image.shape[1]), reduce_by_area(image, scale)
    except (ValueError, OSError, SyntaxError) as error:
        raise CorruptSample(
            f"picture {path} cannot be decoded: expected a whole JPEG or PNG, got {len(data)} bytes and "
            f'"{error}". Copy or download the file again.'
        ) from error
    if size is not None and tuple(found) != tuple(size):
        raise CorruptSample(
            f"picture {path} has {found[0]}x{found[1]} pixels (height x width): expected "
            f"{size[0]}x{size[1]}, as its table row says. The calibration belongs to that size; restore the original file."
        )
    return image


def _decode_jpeg(data: bytes, scale: int, buffer: np.ndarray | None) -> tuple[tuple[int, int], np.ndarray]:
    """Size of the whole picture, and its pixels reduced."""
    height, width, *_ = simplejpeg.decode_jpeg_header(data, strict=True)
    reduced = -(-height // scale), -(-width // scale)
    if buffer is not None and buffer.size < reduced[0] * reduced[1] * 3:
        buffer = None
    # strict: without it libjpeg fills what is missing with grey and says nothing
    options = {"min_height": reduced[0], "min_width": reduced[1], "min_factor": scale} if scale > 1 else {}
    image = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True, buffer=buffer, **options)
    assert image.shape[:2] == reduced, f"asked libjpeg for {reduced}, got {image.shape}"
    return (height, width), image


def image_key(path: Path, dataroot: Path) -> str:
    """Name of an image in superpixel caches and mask folders: its path inside the data set.

    Args:
        path: image file.
        dataroot: root of its data set.

    Returns:
        Such as `samples/CAM_FRONT/x.jpg` on every system; a data set that moves keeps its cache.
    """
    return path.relative_to(dataroot).as_posix()
