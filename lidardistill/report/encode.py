"""Pictures as bytes, files and data URIs."""

from __future__ import annotations

import base64
import io
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def png_bytes(picture: np.ndarray, colors: int | None = None) -> bytes:
    """PNG of an (H, W, 3) uint8 picture, reduced to a palette of `colors` if given."""
    image = Image.fromarray(picture)
    if colors is not None:
        image = image.quantize(colors, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


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
    write_whole(Path(path), png_bytes(picture, colors))
    return Path(path)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its place and rename it, so that nobody ever sees half of it.

    Raises:
        OSError: it cannot be written; what stood there is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, staging = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        os.fchmod(handle, 0o644)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(staging, path)
    except BaseException:
        Path(staging).unlink(missing_ok=True)
        raise
