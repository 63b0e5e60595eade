"""How the cost of each kernel grows with the size of its input, measured on one thread.

Usage: .venv/bin/python tools/cost_curves.py datasets/results/bench/costs.json docs/images/costs.png
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

from lidardistill.atomic import atomic_write, write_json_atomic
from lidardistill.backbones.minkunet.config import MinkUNetConfig
from lidardistill.backbones.minkunet.net import MinkUNet
from lidardistill.bench.projection import synthetic_rig
from lidardistill.bench.record import surroundings
from lidardistill.geometry import intrinsics_to_cam2img, pair_points, voxelize
from lidardistill.ops import superpixel_pool
from lidardistill.regions.slic.slic import slic

REPEATS = 7
POINTS = (4_000, 8_000, 17_000, 35_000, 70_000, 140_000)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("json", type=Path)
    parser.add_argument("png", type=Path)
    parser.add_argument("--draw", action="store_true", help="draw what JSON holds, measure nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.json.is_file() and options.draw:
        draw(json.loads(options.json.read_text())["curves"], options.png)
        return
    curves = {name: measure(cases) for name, cases in all_cases().items()}
    write_json_atomic(
        options.json, {"bench": "costs", **surroundings(), "repeats": REPEATS, "curves": curves}
    )
    draw(curves, options.png)


def all_cases() -> dict[str, Iterator[tuple[int, Callable[[], Any]]]]:
    """Name, with the unit of the size in brackets, to (size, what is timed)."""
    return {
        "projection into 6 cameras [points]": project(),
        "voxelisation [points]": voxels(),
        "SLIC exact [pixels]": segments(),
        "pooling, forward + backward [views]": pooling((1, 2, 4, 6, 12), (64,)),
        "pooling, forward + backward [channels]": pooling((6,), (16, 32, 64, 128, 256)),
        "student of the demo, forward + backward [voxels]": student(),
    }


def project() -> Iterator[tuple[int, Callable[[], Any]]]:
    for count in POINTS:
        rig = synthetic_rig(count)
        cam2img = intrinsics_to_cam2img(rig.intrinsics)
        size = np.tile(np.array(rig.image_size), (len(cam2img), 1))
        lidar2cam = rig.lidar2cam()
        yield (
            count,
            lambda rig=rig, lidar2cam=lidar2cam, cam2img=cam2img, size=size: pair_points(
                rig.points, lidar2cam, cam2img, size
            ),
        )


def voxels() -> Iterator[tuple[int, Callable[[], Any]]]:
    for count in POINTS:
        points = synthetic_rig(count).points
        yield count, lambda points=points: voxelize(points, (0.1, 1.0, 0.1), kind="cylindrical")


def segments() -> Iterator[tuple[int, Callable[[], Any]]]:
    rng = np.random.default_rng(0)
    for height, width in ((112, 200), (225, 400), (450, 800), (900, 1600)):
        coarse = rng.integers(0, 256, (9, 16, 3), dtype=np.uint8)
        image = coarse.repeat(-(-height // 9), 0)[:height].repeat(-(-width // 16), 1)[:, :width].copy()
        yield height * width, lambda image=image: slic(image)


def pooling(views: tuple[int, ...], channels: tuple[int, ...]) -> Iterator[tuple[int, Callable[[], Any]]]:
    generator = torch.Generator().manual_seed(0)
    ids = (torch.arange(224)[:, None] // 20 * 13 + torch.arange(416)[None] // 32).int()
    for num_views in views:
        for width in channels:
            maps = torch.randn(num_views, width, 56, 104, generator=generator, requires_grad=True)
            superpixels = ids.expand(num_views, -1, -1)

            def step(maps: torch.Tensor = maps, superpixels: torch.Tensor = superpixels) -> None:
                superpixel_pool(maps, superpixels, 160)[0].sum().backward()

            yield num_views if len(views) > 1 else width, step


def student() -> Iterator[tuple[int, Callable[[], Any]]]:
    net = MinkUNet(1, MinkUNetConfig(preset="mini"))
    for count in POINTS[:-1]:
        found = voxelize(synthetic_rig(count).points, (0.2, 0.2, 0.2), kind="cartesian")
        coords = torch.from_numpy(found.voxel_coords)
        coords = torch.cat([torch.zeros(len(coords), 1, dtype=coords.dtype), coords], 1).int()
        features = torch.ones(len(coords), 1)

        def step(
            coords: torch.Tensor = coords, features: torch.Tensor = features, found: Any = found
        ) -> None:
            net.convolve(features, coords, found.spatial_shape, 1).sum().backward()

        yield len(coords), step


def measure(cases: Iterator[tuple[int, Callable[[], Any]]]) -> list[dict[str, float]]:
    """Size, median and interquartile range in milliseconds of each case, after a call that does not count."""
    points = []
    for size, call in cases:
        call()
        times = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            call()
            times.append(1e3 * (time.perf_counter() - start))
        low, middle, high = np.percentile(times, [25, 50, 75])
        points.append({"size": size, "median_ms": round(middle, 3), "iqr_ms": round(high - low, 3)})
    return points


def draw(curves: dict[str, list[dict[str, float]]], path: Path) -> None:
    """A panel each, both axes logarithmic, with the line of proportional cost through the last point."""
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, NullLocator

    figure, axes = pyplot.subplots(2, 3, figsize=(12, 6.4), layout="constrained")
    for axis, (name, points) in zip(axes.flat, curves.items(), strict=True):
        size = np.array([point["size"] for point in points])
        cost = np.array([point["median_ms"] for point in points])
        axis.loglog(
            size, cost[-1] * size / size[-1], "--", color="#888888", linewidth=1, label="proportional"
        )
        axis.loglog(size, cost, "o-", color="#0072B2", label="measured")
        title, unit = name[:-1].split(" [")
        axis.set_title(title, fontsize=11, loc="left")
        axis.set_xticks(size, [short(n) for n in size])
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.xaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_minor_locator(NullLocator())
        axis.set_xlabel(unit)
        axis.set_ylabel("ms")
        axis.grid(True, which="major", color="#dddddd", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    axes.flat[0].legend(frameon=False)
    with atomic_write(path) as stream:
        figure.savefig(stream, format="png", dpi=110)


def short(number: float) -> str:
    """Such as 950, 35k or 1.4M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.2g}{unit}" if number < 10 * size else f"{number / size:.0f}{unit}"
    return f"{number:.0f}"


if __name__ == "__main__":
    main()
