"""Camera pictures from disk."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from lidardistill.data.frame import CorruptSample


def read_image(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode a JPEG (libjpeg-turbo) or any other format that Pillow reads.

    Args:
        path: picture file.
        size: height and width in pixels that the tables promise; None accepts any. A picture of another size
            would put every projected point on the wrong pixel.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptSample: the file is empty, truncated, no picture, or of another size.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"picture {path} is missing although the tables name it. Expected: the data set's files beside its "
            f"tables. Download the part that holds it, or leave its scene out of the split."
        ) from None
    if not data:
        raise CorruptSample(
            f"picture {path} is empty: expected a JPEG or PNG, got 0 bytes. Copy the file again."
        )
    try:
        if data[:2] == b"\xff\xd8":
            # strict: without it libjpeg fills what is missing with grey and says nothing
            image = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
        else:
            with Image.open(io.BytesIO(data)) as picture:
                image = np.asarray(picture.convert("RGB"))
    except (ValueError, OSError, SyntaxError) as error:
        raise CorruptSample(
            f"picture {path} cannot be decoded: expected a whole JPEG or PNG, got {len(data)} bytes and "
            f'"{error}". Copy or download the file again.'
        ) from error
    if size is not None and image.shape[:2] != tuple(size):
        raise CorruptSample(
            f"picture {path} has {image.shape[0]}x{image.shape[1]} pixels (height x width): expected "
            f"{size[0]}x{size[1]}, as its table row says. The calibration belongs to that size; restore the original file."
        )
    return image
