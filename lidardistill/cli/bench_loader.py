"""`lidardistill bench loader`: one keyframe through `PairDataset` against SLidR's way of loading it, in one process."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lidardistill.cli.bench_projection import CHANNELS, Rig, devkit_chain, synthetic_rig
from lidardistill.cli.bench_timing import alternate

if TYPE_CHECKING:
    from torch import Tensor

    from lidardistill.data.augment import AugmentSettings
    from lidardistill.data.pairs import PairDataset
    from lidardistill.data.types import Frame, PairSample

SEED = 0
COMPARED = 8
BASELINE = "SLidR's loader: Pillow, / 255 in float64, torch resize by image, PNG superpixels, devkit's chain, np.unique"


def run(
    rounds: int = 5, dataroot: Path | None = None, *, image_size: tuple[int, int] = (900, 1600)
) -> dict[str, Any]:
    """Alternates our way and SLidR's over the same keyframe, the same crops and the same cached superpixels.

    Both draw the same numbers and share the code that turns them into windows and masks, which costs the baseline
    less than its own would.

    Args:
        rounds: of five samples each.
        dataroot: a nuScenes root, whose first keyframe is used; None for a made-up sweep and made-up pictures.
        image_size: rows, columns of the made-up pictures.

    Returns:
        What `alternate` returns, `input`, and `quality` over `COMPARED` samples: the largest difference of the images
        (of 1.0), whether the superpixels are the same, pairs and voxels of both, and the keyframes a second.
    """
    import torch

    from lidardistill.data.augment import AugmentSettings
    from lidardistill.data.pairs import PairDataset, image_key
    from lidardistill.data.voxel_input import VoxelSettings
    from lidardistill.regions.source import SuperpixelSource

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory(prefix="lidardistill-bench-") as folder:
            frame, root = (
                _made_up_frame(Path(folder), image_size) if dataroot is None else _first_frame(dataroot)
            )
            # Half resolution, because only the reading of superpixels is measured.
            superpixels = SuperpixelSource(scale=2, store=Path(folder) / "store")
            dataset = PairDataset(
                _OneKeyframe(frame, root),
                [0],
                superpixels=superpixels,
                augment=AugmentSettings(),
                voxels=VoxelSettings(),
                seed=SEED,
                train=True,
            )
            product_turns, baseline_turns = itertools.count(), itertools.count()
            maps = [dataset.superpixels(_read(path), image_key(path, root))[0] for path in frame.image_paths]
            baseline = SLidRLoader(frame, dataset.augment, maps, Path(folder))
            quality = _compare(dataset, baseline)
            figures = alternate(
                lambda: dataset[0, next(product_turns), 0], lambda: baseline(next(baseline_turns)), rounds
            )
    finally:
        torch.set_num_threads(threads)
    figures["baseline"]["name"] = BASELINE
    quality["keyframes_per_s"] = round(1e3 / figures["product"]["median_ms"], 1)
    return {
        "name": "loader",
        **figures,
        "threads": 1,
        "input": {
            "source": str(dataroot or "synthetic"),
            "points": len(frame.points),
            "views": len(frame.image_paths),
            "image_size": frame.image_size[0].tolist(),
        },
        "quality": quality,
    }


@dataclass
class LoadedByBaseline:
    """What SLidR's loader hands over, as far as it is compared; shapes as in `PairSample`."""

    images: Tensor
    superpixels: Tensor
    pairing_points: np.ndarray
    pairing_images: np.ndarray
    voxel_coords: np.ndarray


class SLidRLoader:
    """SLidR's loading of one keyframe with cached superpixels, step by step as methods.md 1 and 12 describe it.

    Args:
        frame: the keyframe.
        augment: the same settings as ours.
        superpixels: V maps (H, W) below 256, kept as 8-bit PNG files as SLidR does.
        folder: where to keep them.
    """

    def __init__(
        self, frame: Frame, augment: AugmentSettings, superpixels: list[np.ndarray], folder: Path
    ) -> None:
        from PIL import Image

        self.frame = frame
        self.augment = augment
        self.rig = _rig_of(frame)
        self.superpixel_paths = [folder / f"{channel}.png" for channel in frame.channels]
        for path, labels in zip(self.superpixel_paths, superpixels, strict=True):
            assert labels.max() < 256
            Image.fromarray(labels.astype(np.uint8)).save(path)

    def __call__(self, position: int) -> LoadedByBaseline:
        import torch
        import torch.nn.functional as F
        from PIL import Image

        from lidardistill.data import augment
        from lidardistill.data.substitute import sample_generator

        frame, settings = self.frame, self.augment
        generator = sample_generator(SEED, 0, position)
        rig = replace(self.rig, points=np.fromfile(frame.lidar_path, np.float32).reshape(-1, 5))
        images = [np.array(Image.open(path)) / 255 for path in frame.image_paths]
        maps = [np.array(Image.open(path)) for path in self.superpixel_paths]
        pairing_points, pairing_images = devkit_chain(rig)

        stacked = torch.tensor(np.array(images, dtype=np.float32).transpose(0, 3, 1, 2))
        labels = torch.tensor(np.array(maps))[:, None]
        points, _ = augment.augment_cloud(rig.points[:, :4], settings, generator)
        kept = augment.drop_cuboid(points, pairing_points, pairing_images, len(images), settings, generator)
        points, pairing_points, pairing_images = augment.select_points(
            points, pairing_points, pairing_images, *kept
        )
        windows, pairing_images, inside = augment.resized_crop(
            pairing_images, frame.image_size, settings, generator
        )
        assert settings.image_size is not None
        height, width = settings.image_size
        pairing_images, flipped = augment.flip_horizontal(
            pairing_images, np.full(len(images), width), settings, generator
        )
        resized = torch.empty((len(images), 3, height, width))
        superpixels = torch.empty((len(images), height, width), dtype=torch.uint8)
        for view, (top, left, rows, cols) in enumerate(windows):
            box = (slice(view, view + 1), slice(None), slice(top, top + rows), slice(left, left + cols))
            image = F.interpolate(stacked[box], size=(height, width), mode="bilinear", align_corners=False)[0]
            map_ = F.interpolate(labels[box], size=(height, width), mode="nearest")[0, 0]
            resized[view] = image.flip(-1) if flipped[view] else image
            superpixels[view] = map_.flip(-1) if flipped[view] else map_

        x, y, z = points[:, :3].T.astype(np.float64)
        cells = np.stack([np.sqrt(x * x + y * y) / 0.1, np.degrees(np.arctan2(y, x)), z / 0.1], axis=1)
        coords, inverse = np.unique(np.floor(cells).astype(np.int32), axis=0, return_inverse=True)
        assert len(inverse) == len(points)
        return LoadedByBaseline(resized, superpixels, pairing_points[inside], pairing_images[inside], coords)


def _compare(dataset: PairDataset, baseline: SLidRLoader) -> dict[str, Any]:
    quality: dict[str, Any] = {
        "image_max_error": 0.0, "superpixels_equal": True, "pairs": 0, "pairs_of_baseline": 0, "voxels_equal": True,
    }  # fmt: skip
    for position in range(COMPARED):
        ours: PairSample = dataset[0, position, 0]
        theirs = baseline(position)
        assert ours.images is not None
        error = float(np.abs(ours.images - theirs.images.numpy()).max())
        quality["image_max_error"] = max(quality["image_max_error"], error)
        quality["superpixels_equal"] &= bool((ours.superpixels == theirs.superpixels.numpy()).all())
        quality["pairs"] += len(ours.pairing_points)
        quality["pairs_of_baseline"] += len(theirs.pairing_points)
        quality["voxels_equal"] &= len(ours.voxel_coords) == len(theirs.voxel_coords)
    return quality


class _OneKeyframe:
    """An index of one keyframe that reads its points anew each time."""

    def __init__(self, frame: Frame, dataroot: Path) -> None:
        self._frame = frame
        self.dataroot = dataroot

    def frame(self, row: int) -> Frame:
        from lidardistill.data.points import read_points

        return replace(self._frame, points=read_points(self._frame.lidar_path, 5))

    def sample_token(self, row: int) -> str:
        return self._frame.sample_token


def _first_frame(dataroot: Path) -> tuple[Frame, Path]:
    from lidardistill.data.nuscenes import NuScenesIndex

    versions = sorted(path.name for path in Path(dataroot).glob("v1.0-*") if path.is_dir())
    if not versions:
        raise FileNotFoundError(f"no nuScenes tables under {dataroot}: expected a folder v1.0-*")
    index = NuScenesIndex.open(dataroot, versions[0])
    return index.frame(0), index.dataroot


def _made_up_frame(folder: Path, image_size: tuple[int, int]) -> tuple[Frame, Path]:
    """A made-up sweep with pictures that cost about as much to decode as street scenes."""
    import simplejpeg

    from lidardistill.data.types import Frame
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


def _rig_of(frame: Frame) -> Rig:
    """The frame's poses in the four steps that the devkit's chain takes, to the same effect."""
    lidar2global = frame.ego2global @ frame.lidar2ego
    height, width = frame.image_size[0].tolist()
    return Rig(
        points=frame.points,
        lidar2ego=frame.lidar2ego,
        ego2global=frame.ego2global,
        cam2ego=np.tile(np.eye(4), (len(frame.channels), 1, 1)),
        cam_ego2global=lidar2global @ np.linalg.inv(frame.lidar2cam),
        intrinsics=frame.cam2img[:, :3, :3],
        image_size=(height, width),
    )


def _read(path: Path) -> np.ndarray:
    from lidardistill.data.images import read_image

    return read_image(path)
