"""Measure our cache formats against standard ones, alternating in one process: see docs/decisions 0024 and
0025.

    python tools/compare_cache_formats.py [--dataroot ROOT] [--rounds N]

`superpixels`: a keyframe's six maps at the crossings of its crops, from row runs and from zlib (level 1) of
    the whole map.
`images`: six reduced images, from bare bytes with a head and from .npy with mmap_mode "c"; each is touched at
    its crop.
`keyframe`: a keyframe of the loader with both caches, for scale. Milliseconds, medians; and the share of a
keyframe that the standard format adds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lidardistill.backbones.minkunet.config import MinkUNetConfig
from lidardistill.data.config import AugmentConfig, ImageConfig, VoxelConfig
from lidardistill.data.image_cache import ImageCache
from lidardistill.data.images import image_key
from lidardistill.data.keyframes import Keyframes
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.methods.image_pairs import ImagePairs
from lidardistill.regions.superpixels.run_codec import decode_at, encode
from lidardistill.regions.superpixels.source import SuperpixelSource


def medians_ms(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median time of each way; every round runs each once."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, work in ways.items():
            begin = time.perf_counter()
            work()
            if turn:
                taken[name].append(1e3 * (time.perf_counter() - begin))
    return {name: round(float(np.median(times)), 3) for name, times in taken.items()}


def measure(dataroot: Path, rounds: int) -> dict[str, object]:
    version = next(path.name for path in sorted(dataroot.glob("v1.0-*")))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = NuScenesIndex.open(dataroot, version, cache_dir=folder / "index")
        source = SuperpixelSource(store=folder / "superpixels")
        images = ImageConfig(scale=2, cache=str(folder / "images"))
        recipe = ImagePairs(
            MinkUNetConfig().scan_input(VoxelConfig()), AugmentConfig(), images, superpixels=source
        )
        data = Keyframes(index, np.arange(1), recipe, seed=0)
        data[0, 0, 0]
        frame = index.frame(0)
        cache, maps, arrays = ImageCache(folder / "images", 2), [], []
        for number, (path, size) in enumerate(zip(frame.image_paths, frame.image_size.tolist(), strict=True)):
            key = image_key(path, dataroot)
            stored = source.store.get(key)  # type: ignore[union-attr]
            maps.append((encode(stored), zlib.compress(stored.astype(np.uint8).tobytes(), 1), stored.shape))
            np.save(folder / f"{number}.npy", cache.read(path, key, tuple(size)).pixels)
            arrays.append((path, key, tuple(size), folder / f"{number}.npy"))
        height, width = maps[0][2]
        rows = np.linspace(height // 8, height * 7 // 8, 224).astype(np.int64)
        cols = np.linspace(width // 8, width * 7 // 8, 416).astype(np.int64)
        out = np.empty((224, 416), np.int32)

        def runs() -> None:
            for data_runs, _, _ in maps:
                decode_at(data_runs, rows, cols, out=out)

        def zipped() -> None:
            for _, data_zip, shape in maps:
                whole = np.frombuffer(zlib.decompress(data_zip), np.uint8).reshape(shape)
                out[:] = whole[rows[:, None], cols[None, :]]

        def bare() -> int:
            return sum(int(cache.read(*what[:3]).pixels[50:200:8, 50:300].sum()) for what in arrays)

        def npy() -> int:
            total = 0
            for path, _, _, file in arrays:
                os.stat(path)  # an entry must still be compared with its picture
                total += int(np.load(file, mmap_mode="c").view(np.ndarray)[50:200:8, 50:300].sum())
            return total

        superpixels = medians_ms({"row_runs": runs, "zlib": zipped}, rounds)
        pictures = medians_ms({"bare": bare, "npy": npy}, rounds)
        keyframe = medians_ms({"loader": lambda: data[0, 1, 0]}, rounds)["loader"]
        return {
            "superpixels": superpixels
            | {"bytes_row_runs": sum(len(m[0]) for m in maps), "bytes_zlib": sum(len(m[1]) for m in maps)},
            "images": pictures,
            "keyframe": keyframe,
            "share_of_zlib": round((superpixels["zlib"] - superpixels["row_runs"]) / keyframe, 3),
            "share_of_npy": round((pictures["npy"] - pictures["bare"]) / keyframe, 3),
            "rounds": rounds,
            "load_average": os.getloadavg()[0],
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataroot", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    print(json.dumps(measure(options.dataroot, options.rounds), indent=1))
