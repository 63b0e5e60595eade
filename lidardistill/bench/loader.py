"""`lidardistill bench loader`: our loading of one keyframe against SLidR's, in one process."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lidardistill.bench.harness.timing import alternate_all
from lidardistill.bench.loader_baseline import SLidRLoader
from lidardistill.bench.projection import CHANNELS, synthetic_rig

if TYPE_CHECKING:
    from lidardistill.data.config import ImageConfig
    from lidardistill.data.frame import Frame
    from lidardistill.data.keyframes import Keyframes
    from lidardistill.datasets.base import Source
    from lidardistill.methods.image_pairs import ImagePairs, PairSample
    from lidardistill.regions.superpixels.source import SuperpixelSource

SEED = 0
COMPARED = 8
ON_THE_FLY = ("exact",)
ON_THE_FLY_ROUNDS = 3
PRODUCT = "cached_superpixels"
BASELINE = (
    "SLidR's loader: Pillow, / 255 in float64, torch resize by image, PNG superpixels, devkit's chain, "
    "np.unique"
)
BASELINE_ON_THE_FLY = "the same with scikit-image's SLIC instead of PNG superpixels"


def run(
    rounds: int = 5,
    dataroot: Path | None = None,
    *,
    image_size: tuple[int, int] = (900, 1600),
    workers: tuple[int, ...] = (1, 2),
) -> dict[str, Any]:
    """Alternates our ways and SLidR's over the same keyframe and the same crops, all on one thread.

    All draw the same numbers and share the code that turns them into windows and masks, which costs the
    baseline less than its own would. Superpixels on the fly are measured for each of `ON_THE_FLY`; their
    baseline takes seconds a sample, so it runs once in each of `ON_THE_FLY_ROUNDS` rounds.

    Args:
        rounds: of five samples each.
        dataroot: a nuScenes root, whose first keyframe is used; None for a made-up sweep and made-up
            pictures.
        image_size: rows, columns of the made-up pictures.
        workers: numbers of worker processes, and of threads, whose keyframes a second are measured.

    Returns:
        What `alternate` returns for cached superpixels, `input`, `quality` over `COMPARED` samples: the
        largest and the mean difference of the images (of 1.0), whether the superpixels are the same, pairs
        and voxels of both, and the keyframes a second; `variants`, the same for each other way; `workers`,
        see `keyframes_per_second`.
    """
    import torch

    from lidardistill.bench.loader_workers import keyframes_per_second
    from lidardistill.data.images import image_key

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory(prefix="lidardistill-bench-") as name:
            folder = Path(name)
            frame, root = _made_up_frame(folder, image_size) if dataroot is None else _first_frame(dataroot)
            index: Any = _OneKeyframe(frame, root)  # all of a source that these recipes read
            cached, on_the_fly = _cached_ways(index, folder), _on_the_fly_ways(index)
            recipe: ImagePairs = cached[PRODUCT].recipe  # type: ignore[assignment]
            source = recipe.superpixels
            assert source is not None
            maps = [source(_read(path), image_key(path, root))[0] for path in frame.image_paths]
            baseline = SLidRLoader(frame, recipe.augment, maps, folder, seed=SEED)
            quality = {way: _compare(dataset, baseline) for way, dataset in (cached | on_the_fly).items()}
            figures = alternate_all(_calls(cached), _turns(baseline), rounds)
            if on_the_fly:
                slow = SLidRLoader(frame, baseline.augment, maps, folder, seed=SEED, on_the_fly=True)
                figures |= alternate_all(
                    _calls(on_the_fly), _turns(slow), ON_THE_FLY_ROUNDS, baseline_calls=1
                )
            speeds = keyframes_per_second(cached[PRODUCT], workers)
    finally:
        torch.set_num_threads(threads)
    for way, found in figures.items():
        found["baseline"]["name"] = BASELINE if way in cached else BASELINE_ON_THE_FLY
        quality[way]["keyframes_per_s"] = round(1e3 / found["product"]["median_ms"], 1)
    for way in on_the_fly:  # they segment anew, which `bench superpixels` judges
        del quality[way]["superpixels_equal"]
    return {
        "name": "loader",
        **figures.pop(PRODUCT),
        "threads": 1,
        "input": {
            "source": str(dataroot or "synthetic"),
            "points": len(frame.points),
            "views": len(frame.image_paths),
            "image_size": frame.image_size[0].tolist(),
        },
        "quality": quality[PRODUCT],
        "variants": {way: {**found, "quality": quality[way]} for way, found in figures.items()},
        "workers": speeds,
    }


def _cached_ways(index: Source, folder: Path) -> dict[str, Keyframes[PairSample]]:
    from lidardistill.data.config import ImageConfig
    from lidardistill.regions.superpixels.source import SuperpixelSource

    # Half resolution, because only the reading of superpixels is measured.
    source = SuperpixelSource(scale=2, store=folder / "store")
    return {
        PRODUCT: _dataset(index, source, ImageConfig()),
        "image_cache_half": _dataset(index, source, ImageConfig(scale=2, cache=str(folder / "images"))),
        "jpeg_half": _dataset(index, source, ImageConfig(scale=2, reduce="jpeg")),
    }


def _on_the_fly_ways(index: Source) -> dict[str, Keyframes[PairSample]]:
    from lidardistill.data.config import ImageConfig
    from lidardistill.regions.superpixels.source import SuperpixelSource

    ways = {
        f"on_the_fly_{preset}": _dataset(index, SuperpixelSource(preset=preset), ImageConfig())
        for preset in ON_THE_FLY
    }
    for preset in ON_THE_FLY:
        half = SuperpixelSource(preset=preset, scale=2)
        ways[f"on_the_fly_{preset}_jpeg_half"] = _dataset(index, half, ImageConfig(scale=2, reduce="jpeg"))
    return ways


def _dataset(index: Source, source: SuperpixelSource, images: ImageConfig) -> Keyframes[PairSample]:
    from lidardistill.data.config import AugmentConfig, VoxelConfig
    from lidardistill.data.keyframes import Keyframes
    from lidardistill.data.voxel_input import ScanInput
    from lidardistill.methods.image_pairs import ImagePairs

    recipe = ImagePairs(ScanInput(VoxelConfig()), AugmentConfig(), images, superpixels=source)
    return Keyframes(index, [0], recipe, seed=SEED)


def _calls(datasets: dict[str, Keyframes[PairSample]]) -> dict[str, Callable[[], Any]]:
    def load(dataset: Keyframes[PairSample], position: int) -> PairSample:
        return dataset[0, position, 0]

    return {way: _turns(partial(load, dataset)) for way, dataset in datasets.items()}


def _turns(load: Callable[[int], Any]) -> Callable[[], Any]:
    """The next sample at each call."""
    positions = itertools.count()
    return lambda: load(next(positions))


def _compare(dataset: Keyframes[PairSample], baseline: SLidRLoader) -> dict[str, Any]:
    quality: dict[str, Any] = {
        "image_max_error": 0.0, "image_mean_error": 0.0, "superpixels_equal": True, "pairs": 0,
        "pairs_of_baseline": 0,
        "voxels_equal": True,
    }  # fmt: skip
    for position in range(COMPARED):
        ours: PairSample = dataset[0, position, 0]
        theirs = baseline(position)
        assert ours.images is not None
        assert ours.superpixels is not None
        error = np.abs(ours.images - theirs.images.numpy())
        quality["image_max_error"] = max(quality["image_max_error"], float(error.max()))
        quality["image_mean_error"] += float(error.mean()) / COMPARED
        quality["superpixels_equal"] &= bool(np.array_equal(ours.superpixels, theirs.superpixels.numpy()))
        quality["pairs"] += len(ours.pairing_points)
        quality["pairs_of_baseline"] += len(theirs.pairing_points)
        quality["voxels_equal"] &= len(ours.voxels.voxel_coords) == len(theirs.voxel_coords)
    return quality


class _OneKeyframe:
    """An index of one keyframe that reads its points anew each time."""

    def __init__(self, frame: Frame, dataroot: Path) -> None:
        self._frame = frame
        self.dataroot = dataroot

    def frame(self, row: int) -> Frame:
        from lidardistill.datasets.points import read_points

        return replace(self._frame, points=read_points(self._frame.lidar_path, 5))

    def sample_token(self, row: int) -> str:
        return self._frame.sample_token


def _first_frame(dataroot: Path) -> tuple[Frame, Path]:
    from lidardistill.datasets.kinds import open_source, source_config

    versions = sorted(path.name for path in Path(dataroot).glob("v1.0-*") if path.is_dir())
    if not versions:
        raise FileNotFoundError(f"no nuScenes tables under {dataroot}: expected a folder v1.0-*")
    index = open_source(source_config("nuscenes", dataroot, versions[0]))
    return index.frame(0), index.dataroot


def _made_up_frame(folder: Path, image_size: tuple[int, int]) -> tuple[Frame, Path]:
    """A made-up sweep with pictures that cost about as much to decode as street scenes."""
    import simplejpeg

    from lidardistill.data.frame import Frame
    from lidardistill.geometry import intrinsics_to_cam2img

    rig = synthetic_rig()
    rng = np.random.default_rng(SEED)
    lidar_path = folder / "points.bin"
    rig.points.astype(np.float32).tofile(lidar_path)
    height, width = image_size
    row, col = np.mgrid[:height, :width] / width
    paths = []
    for channel in CHANNELS:
        waves = [np.sin(rng.uniform(5, 90) * row + rng.uniform(5, 90) * col) for _ in range(3)]
        picture = 128 + 60 * np.stack(waves, axis=-1) + 12 * rng.standard_normal((height, width, 3))
        paths.append(folder / f"{channel}.jpg")
        paths[-1].write_bytes(simplejpeg.encode_jpeg(picture.clip(0, 255).astype(np.uint8), quality=90))
    zoom = np.diag([width / rig.image_size[1], height / rig.image_size[0], 1.0])
    frame = Frame(
        sample_token="made-up",
        scene_name="made-up",
        timestamp_us=0,
        lidar_path=lidar_path,
        points=rig.points[:, :4],
        channels=CHANNELS,
        image_paths=tuple(paths),
        image_timestamps_us=np.zeros(len(paths), np.int64),
        image_size=np.tile(np.array(image_size, np.int64), (len(paths), 1)),
        lidar2cam=rig.lidar2cam(),
        cam2img=intrinsics_to_cam2img(zoom @ rig.intrinsics),
        lidar2ego=rig.lidar2ego,
        ego2global=rig.ego2global,
    )
    return frame, folder


def _read(path: Path) -> np.ndarray:
    from lidardistill.data.images import read_image

    return read_image(path)
