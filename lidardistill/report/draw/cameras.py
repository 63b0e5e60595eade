"""What is drawn on camera images: points, superpixel borders, heat, names, and the images side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lidardistill.report.draw.palette import INK, scalar_rgb

LAYOUT = ("FRONT_LEFT", "FRONT", "FRONT_RIGHT", "BACK_LEFT", "BACK", "BACK_RIGHT")
"""nuScenes' cameras as one looks around: in front from left to right, then behind."""
COLUMNS = 3
GAP_PX = 6


def view_order(channels: Sequence[str]) -> list[int]:
    """Order of the views in a picture: nuScenes' cameras from left to right, other cameras as stored."""
    names = [channel.removeprefix("CAM_") for channel in channels]
    if set(names) <= set(LAYOUT):
        return sorted(range(len(names)), key=lambda view: LAYOUT.index(names[view]))
    return list(range(len(names)))


def view_name(channel: str) -> str:
    """`CAM_FRONT_LEFT` as `front left`."""
    return channel.removeprefix("CAM_").replace("_", " ").lower()


def resize(image: np.ndarray, width: int) -> np.ndarray:
    """(H, W, 3) uint8 at another width, averaged over areas where it shrinks."""
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def faded(image: np.ndarray, color: float = 0.3, light: float = 0.8) -> np.ndarray:
    """Fade an image (H, W, 3) uint8: `color` is the share of saturation kept, `light` of brightness."""
    grey = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    mixed = color * image + (1 - color) * grey[..., None]
    return (mixed * light).round().astype(np.uint8)


def splat(
    image: np.ndarray,
    rows: np.ndarray,
    cols: np.ndarray,
    colors: np.ndarray,
    radius: np.ndarray | float,
    outline: int = 0,
) -> None:
    """Draw points as discs into an image; a later point covers an earlier one.

    Args:
        image: (H, W, 3) uint8, changed in place.
        rows, cols: (P,) pixels, integers.
        colors: (P, 3) uint8.
        radius: (P,) or a number, pixels; 0 draws one pixel.
        outline: width of a black rim in pixels, drawn below all the discs.
    """
    sizes = np.broadcast_to(np.asarray(radius, np.float64).round().astype(np.int64), rows.shape)
    if outline:
        _discs(image, rows, cols, np.zeros_like(colors), sizes + outline)
    _discs(image, rows, cols, colors, sizes)


def _discs(
    image: np.ndarray, rows: np.ndarray, cols: np.ndarray, colors: np.ndarray, sizes: np.ndarray
) -> None:
    height, width = image.shape[:2]
    reach = int(sizes.max(initial=0))
    # Each pixel takes the last point that covers it. The order of the offsets does not matter.
    top = np.full(height * width, -1, np.int64)
    order = np.arange(len(rows))
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            r, c = rows + down, cols + right
            inside = (down**2 + right**2 <= (sizes + 0.4) ** 2) & (r >= 0) & (r < height)
            inside &= (c >= 0) & (c < width)
            np.maximum.at(top, r[inside] * width + c[inside], order[inside])
    covered = top >= 0
    image.reshape(-1, 3)[covered] = colors[top[covered]]


def borders(labels: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels whose right or lower neighbour has another label."""
    found = np.zeros(labels.shape, bool)
    found[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    found[:-1] |= labels[:-1] != labels[1:]
    return found


def draw_borders(
    image: np.ndarray, labels: np.ndarray, color: tuple[int, int, int] = (255, 255, 255), share: float = 0.8
) -> np.ndarray:
    """A copy of an image with the borders of its superpixels on it."""
    out = image.astype(np.float32)
    found = borders(labels)
    out[found] = (1 - share) * out[found] + share * np.array(color, np.float32)
    return out.round().astype(np.uint8)


def heat(image: np.ndarray, values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Paint a scalar map over a grey image, stronger for high values: (H, W, 3) uint8."""
    grey = faded(image, color=0.0, light=0.9).astype(np.float32)
    height = np.clip((values - low) / max(high - low, 1e-12), 0, 1)[..., None]
    share = 0.5 + 0.38 * height
    return ((1 - share) * grey + share * scalar_rgb(values, low, high)).round().astype(np.uint8)


def cross(image: np.ndarray, row: int, col: int, size: int = 11) -> None:
    """Mark one place with a ring and four ticks, white with a black rim, in place."""
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    for color, width in (("black", 5), ("white", 2)):
        pen.ellipse((col - size, row - size, col + size, row + size), outline=color, width=width)
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            pen.line(
                (col + dx * size, row + dy * size, col + dx * (size + 6), row + dy * (size + 6)), color, width
            )
    image[:] = np.asarray(picture)


def write_on(
    image: np.ndarray, text: str, *, size: int = 14, at: tuple[int, int] = (6, 6), box: bool = True
) -> None:
    """Write text into an image in place: white on a dark box, or dark. `at`: x, y of the upper left."""
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture, "RGBA")
    if box:
        left, top, right, bottom = pen.textbbox(at, text, font=font(size))
        pen.rounded_rectangle((left - 5, top - 4, right + 5, bottom + 4), 3, fill=(0, 0, 0, 165))
    pen.text(at, text, font=font(size), fill="white" if box else INK)
    image[:] = np.asarray(picture)


@lru_cache(maxsize=16)
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font that matplotlib carries, so that every machine draws the same letters."""
    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size
    )


def mosaic(
    pictures: Sequence[np.ndarray], names: Sequence[str], *, columns: int = COLUMNS, text_size: int = 14
) -> np.ndarray:
    """Pictures of one width in rows, each with its name in the corner, on white.

    Args:
        pictures: (h, w, 3) uint8 each, of one width; heights may differ between rows.
        names: written into the corner; an empty one is not.
        columns: pictures in a row.
        text_size: pixels.

    Returns:
        (H, W, 3) uint8.
    """
    rows = []
    for start in range(0, len(pictures), columns):
        shown = [np.array(picture) for picture in pictures[start : start + columns]]
        for picture, name in zip(shown, names[start : start + columns], strict=True):
            if name:
                write_on(picture, name, size=text_size, at=(9, 8))
        rows.append(_beside(shown, columns if len(pictures) > columns else len(shown)))
    return stack(rows)


def stack(pictures: Sequence[np.ndarray], gap: int = GAP_PX) -> np.ndarray:
    """Pictures below each other on white, flush left."""
    width = max(picture.shape[1] for picture in pictures)
    height = sum(picture.shape[0] for picture in pictures) + gap * (len(pictures) - 1)
    out = np.full((height, width, 3), 255, np.uint8)
    top = 0
    for picture in pictures:
        out[top : top + picture.shape[0], : picture.shape[1]] = picture
        top += picture.shape[0] + gap
    return out


def _beside(pictures: Sequence[np.ndarray], places: int) -> np.ndarray:
    height, width = max(p.shape[0] for p in pictures), pictures[0].shape[1]
    out = np.full((height, places * width + (places - 1) * GAP_PX, 3), 255, np.uint8)
    for place, picture in enumerate(pictures):
        left = place * (width + GAP_PX)
        out[: picture.shape[0], left : left + picture.shape[1]] = picture
    return out


def color_bar(
    width: int, low: float, high: float, ticks: Sequence[tuple[float, str]], title: str, *, size: int = 18
) -> np.ndarray:
    """A legend for `scalar_rgb`: a strip with ticks below it and its meaning to the left.

    Args:
        width: pixels.
        low, high: ends of the scale.
        ticks: value and what is written there.
        title: what the colours mean.
        size: of the letters, pixels.

    Returns:
        (h, width, 3) uint8.
    """
    out = np.full((size * 3, width, 3), 255, np.uint8)
    left = int(font(size).getlength(title)) + 2 * size
    right = width - 2 * size
    top, bottom = size // 3, size // 3 + size
    out[top:bottom, left:right] = scalar_rgb(np.linspace(low, high, right - left), low, high)[None]
    picture = Image.fromarray(out)
    pen = ImageDraw.Draw(picture)
    pen.text((0, (top + bottom) // 2), title, font=font(size), fill=INK, anchor="lm")
    for value, label in ticks:
        x = left + (right - left) * (value - low) / (high - low)
        pen.line((x, bottom, x, bottom + size // 3), INK, 2)
        pen.text((x, bottom + size // 2), label, font=font(size), fill=INK, anchor="ma")
    return np.asarray(picture)
