"""`lidardistill bench superpixels`: the presets against scikit-image, in one process."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

NUM_SUPERPIXELS, COMPACTNESS, SIGMA = 150, 6.0, 3.0  # SLidR
REFERENCE = "reference"
HALF = "reference_half"
PRODUCT = "exact"
PRODUCT_HALF = "exact_half"


def run(
    rounds: int = 5,
    dataroot: Path | None = None,
    *,
    max_images: int = 6,
    reduce: int = 1,
) -> dict[str, Any]:
    """Time every preset at full and at half size, in turn on one thread.

    scikit-image is the preset `reference`.

    Args:
        rounds: times each image is segmented in each way, after one that does not count.
        dataroot: folder with `samples/CAM_*/*.jpg`; None draws pictures of polygons instead.
        max_images: images at most.
        reduce: factor by which each image is reduced first; for a quick look.

    Returns:
        `ways`, by name: `median_ms`, `iqr_ms` (over all images and rounds), `ratio` (the baseline's time over
        its own, median of the images' ratios of medians), and means over the images of `boundary_recall` and
        `boundary_precision` within 2 px and `agreement` (all three against the baseline),
        `explained_variance` of Lab and `num_segments`, with the worst recall and the largest number.
        `baseline` and `product` repeat two of them
        and `ratio` compares them. `codec`: bytes of a map against those of an 8-bit PNG, and times, means by
            image.

    Raises:
        FileNotFoundError: if `dataroot` has no camera images.
    """
    from skimage.color import rgb2lab

    from lidardistill.regions.slic.slic import PRESETS
    from lidardistill.regions.superpixels.quality import agreement, boundary_recall, explained_variance
    from lidardistill.regions.superpixels.scaling import reduce_by_area
    from lidardistill.regions.superpixels.source import segment

    def way(preset: str, scale: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda image: segment(image, NUM_SUPERPIXELS, COMPACTNESS, SIGMA, preset, scale)

    ways = {name: way(name, 1) for name in sorted(PRESETS, key=lambda name: name != REFERENCE)}
    ways |= {HALF: way(REFERENCE, 2), PRODUCT_HALF: way(PRODUCT, 2)}
    times: dict[str, list[list[float]]] = {name: [] for name in ways}
    quality: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    codec: list[dict[str, float]] = []
    images = _drawn(max_images) if dataroot is None else _camera_images(dataroot, max_images)
    count = 0
    with _one_processor() as threads:
        for full in images:
            image = reduce_by_area(full, reduce)
            count += 1
            labels: dict[str, np.ndarray] = {}
            measured: dict[str, list[float]] = {name: [] for name in ways}
            for turn in range(rounds + 1):
                for name, make in ways.items():
                    begin = time.perf_counter()
                    labels[name] = make(image)
                    if turn > 0:
                        measured[name].append(1e3 * (time.perf_counter() - begin))
            lab = rgb2lab(image)
            for name in ways:
                times[name].append(measured[name])
                quality[name].append(
                    {
                        "boundary_recall": boundary_recall(labels[REFERENCE], labels[name]),
                        "boundary_precision": boundary_recall(labels[name], labels[REFERENCE]),
                        "agreement": agreement(labels[REFERENCE], labels[name]),
                        "explained_variance": explained_variance(lab, labels[name]),
                        "num_segments": float(labels[name].max() + 1),
                    }
                )
            codec.append(_measure_codec(labels[REFERENCE], rounds))
    figures = {name: _summary(times[name], times[REFERENCE], quality[name]) for name in ways}
    return {
        "name": "superpixels",
        "baseline": {
            "name": f"preset {REFERENCE}: scikit-image at full size, SLidR's parameters, no contrast stretch",
            **figures[REFERENCE],
        },
        "product": {"name": PRODUCT, **figures[PRODUCT]},
        "ratio": figures[PRODUCT]["ratio"],
        "ways": figures,
        "codec": {key: float(np.mean([one[key] for one in codec])) for key in codec[0]},
        "rounds": rounds,
        "threads": threads,
        "input": {
            "source": "drawn polygons" if dataroot is None else str(dataroot),
            "images": count,
            "num_superpixels": NUM_SUPERPIXELS,
        },
    }


def _summary(
    times: list[list[float]], baseline: list[list[float]], quality: list[dict[str, float]]
) -> dict[str, float]:
    low, median, high = np.percentile(np.concatenate(times), [25, 50, 75])
    ratios = [np.median(b) / np.median(t) for t, b in zip(times, baseline, strict=True)]
    means = {key: float(np.mean([one[key] for one in quality])) for key in quality[0]}
    return {
        "median_ms": float(median),
        "iqr_ms": float(high - low),
        "ratio": float(np.median(ratios)),
        **means,
        "worst_boundary_recall": min(one["boundary_recall"] for one in quality),
        "max_segments": max(one["num_segments"] for one in quality),
    }


def _measure_codec(labels: np.ndarray, rounds: int) -> dict[str, float]:
    """Bytes and milliseconds of one map, as row runs and as an 8-bit PNG (SLidR's way, at most 256 ids)."""
    from PIL import Image

    from lidardistill.regions.superpixels.run_codec import decode, encode

    def png() -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(labels.astype(np.uint8)).save(buffer, "PNG")
        return buffer.getvalue()

    def median_ms(work: Callable[[], object]) -> float:
        taken = []
        for _ in range(rounds + 1):
            begin = time.perf_counter()
            work()
            taken.append(1e3 * (time.perf_counter() - begin))
        return float(np.median(taken[1:]))

    runs, picture = encode(labels), png()
    return {
        "bytes": float(len(runs)),
        "png_bytes": float(len(picture)),
        "encode_ms": median_ms(lambda: encode(labels)),
        "decode_ms": median_ms(lambda: decode(runs)),
        "png_decode_ms": median_ms(lambda: np.asarray(Image.open(io.BytesIO(picture)))),
    }


def _camera_images(dataroot: Path, max_images: int) -> Iterator[np.ndarray]:
    from lidardistill.data.images import read_image

    paths = sorted(Path(dataroot).glob("samples/CAM_*/*.jpg"))
    if not paths:
        raise FileNotFoundError(f"no camera images in {dataroot}: expected samples/CAM_*/*.jpg")
    chosen = np.linspace(0, len(paths) - 1, min(max_images, len(paths))).round().astype(int)
    for place in chosen:
        yield read_image(paths[place])


def _drawn(count: int) -> Iterator[np.ndarray]:
    """(900, 1600, 3) uint8 pictures of shaded polygons with grain, to segment without a data set."""
    from PIL import Image, ImageDraw

    height, width = 900, 1600  # nuScenes
    for seed in range(count):
        rng = np.random.default_rng(seed)
        picture = Image.new("RGB", (width, height), (120, 140, 170))
        draw = ImageDraw.Draw(picture)
        for _ in range(60):
            corners = rng.uniform(0, 1, (4, 2)) * (width, height) * 0.4 + rng.uniform(0, 0.8, 2) * (
                width,
                height,
            )
            draw.polygon([(x, y) for x, y in corners.tolist()], fill=tuple(rng.integers(20, 230, 3).tolist()))
        shade = np.linspace(0.7, 1.2, height)[:, None, None]
        grain = rng.normal(0, 6, (height, width, 1))
        yield np.clip(np.asarray(picture) * shade + grain, 0, 255).astype(np.uint8)


@contextlib.contextmanager
def _one_processor() -> Iterator[str]:
    """Hold this process on one processor where the system can, so that no library's threads count."""
    if not hasattr(os, "sched_setaffinity"):
        yield "not limited on this system"
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield "one processor"
    finally:
        os.sched_setaffinity(0, before)
