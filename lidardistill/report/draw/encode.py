"""Pictures as bytes, files and data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from lidardistill.atomic import atomic_write

_GREYS = 16

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def png_bytes(picture: np.ndarray, colors: int | None = None) -> bytes:
    """PNG of an (H, W, 3) uint8 picture, reduced to a palette of `colors` (at most 256) if given."""
    buffer = io.BytesIO()
    if colors is None:
        Image.fromarray(picture).save(buffer, "PNG", optimize=True)
        return buffer.getvalue()
    reduced = reduce_colors(picture, colors)
    packed, place = np.unique(_packed(reduced), return_inverse=True)
    image = Image.fromarray(place.reshape(picture.shape[:2]).astype(np.uint8), "P")
    image.putpalette(_unpacked(packed).tobytes())
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def reduce_colors(
    picture: np.ndarray, colors: int, *, rare: bool = False, kept: Sequence[tuple[int, int, int]] = ()
) -> np.ndarray:
    """The same picture in fewer colours.

    Args:
        picture: (H, W, 3) uint8.
        colors: largest number of colours, 1..256.
        rare: count each colour once, not by its pixels, so that thin lines and small dots on white keep their
            colours; 16 greys are reserved for letters and lines.
        kept: with `rare`, colours that stay exactly as they are, because a legend names them.

    Returns:
        (H, W, 3) uint8.
    """
    image = Image.fromarray(picture)
    if rare:
        if len(np.unique(_packed(picture))) <= colors:
            return picture
        distinct = _unpacked(np.unique(_packed(picture // 8 * 8 + 4)))
        free = max(colors - _GREYS - len(kept), 1)
        sample = Image.fromarray(distinct[None]).quantize(free, method=Image.Quantize.MEDIANCUT)
        greys = np.linspace(0, 255, _GREYS).round().astype(np.uint8).repeat(3)
        fixed = np.array(kept, np.uint8).reshape(-1)
        palette = Image.new("P", (1, 1))
        chosen = np.array(sample.getpalette(), np.uint8)[: 3 * free]
        palette.putpalette(np.concatenate([fixed, greys, chosen]).tobytes())
        image = image.quantize(palette=palette, dither=Image.Dither.NONE)
    else:
        image = image.quantize(colors, method=Image.Quantize.MEDIANCUT, kmeans=3, dither=Image.Dither.NONE)
    out = np.array(image.convert("RGB"))
    out[(picture == 255).all(axis=2)] = 255  # paper stays white
    return out


def _packed(picture: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 as one integer a pixel: sorting those is thirty times faster than sorting rows."""
    red, green, blue = (picture[..., channel].astype(np.uint32) for channel in range(3))
    return (red << 16 | green << 8 | blue).reshape(-1)


def _unpacked(values: np.ndarray) -> np.ndarray:
    """Inverse of `_packed`: (K, 3) uint8."""
    return np.stack([values >> 16 & 255, values >> 8 & 255, values & 255], axis=1).astype(np.uint8)


def jpeg_bytes(picture: np.ndarray, quality: int = 85) -> bytes:
    """JPEG of an (H, W, 3) uint8 picture, colours at full resolution so that thin lines stay clean."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
    return buffer.getvalue()


def data_uri(data: bytes) -> str:
    """What an `img` tag takes in place of an address."""
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def figure_picture(figure: Figure, dpi: float = 160) -> np.ndarray:
    """A matplotlib figure as (H, W, 3) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def save_png(picture: np.ndarray, path: Path, colors: int | None = None) -> Path:
    """Write a picture, whole or not at all.

    Args:
        picture: (H, W, 3) uint8.
        path: the file; its folder is made.
        colors: reduce to so many colours, for a smaller file.
    """
    with atomic_write(Path(path)) as stream:
        stream.write(png_bytes(picture, colors))
    return Path(path)
