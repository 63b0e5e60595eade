"""KITTI's object benchmark: one left colour camera, one scan, no time and no ego motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from lidardistill.data.frame import CorruptSample, Frame
from lidardistill.datasets.points import read_points
from lidardistill.geometry.camera import kitti_calibration

POINT_COLUMNS = 4
"""float32 values of a point in a KITTI scan: x, y, z, reflectance."""


def kitti_names(root: Path | str, split: str = "training") -> tuple[str, ...]:
    """Names of all scans of a split.

    Args:
        root: folder that holds `training/` and `testing/`.
        split: one of the two.

    Returns:
        Names such as 000008, rising.

    Raises:
        FileNotFoundError: there are no scans.
    """
    names = tuple(sorted(path.stem for path in (Path(root) / split / "velodyne").glob("*.bin")))
    if not names:
        raise FileNotFoundError(f"no KITTI scans in {root}. {_expected_tree(Path(root), split)}")
    return names


def read_kitti_frame(root: Path | str, name: str, split: str = "training") -> Frame:
    """Read a scan and put its calibration beside it; the picture stays on disk.

    Args:
        root: folder that holds `training/` and `testing/`.
        name: scan, such as 000008.
        split: `training` or `testing`.

    Returns:
        One view, `image_2`. Intensity is the reflectance as stored, 0..1. KITTI's object set has no time and no
        ego motion: times are 0, and the LiDAR frame is ego and global frame.

    Raises:
        FileNotFoundError: scan, picture or calibration is missing.
        CorruptSample: the scan or the head of the picture cannot be used.
        ValueError: the calibration cannot be used.
    """
    folder = Path(root) / split
    lidar_path = folder / "velodyne" / f"{name}.bin"
    image_path = folder / "image_2" / f"{name}.png"
    calibration_path = folder / "calib" / f"{name}.txt"
    for path in (lidar_path, image_path, calibration_path):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing. {_expected_tree(Path(root), split)}")
    try:
        with Image.open(image_path) as picture:  # reads the head only
            width, height = picture.size
    except UnidentifiedImageError as error:
        raise CorruptSample(
            f"picture {image_path} is empty or no PNG. Copy or download the file again."
        ) from error
    lidar2cam, cam2img = kitti_calibration(calibration_path)
    return Frame(
        sample_token=name,
        scene_name=split,
        timestamp_us=0,
        lidar_path=lidar_path,
        points=read_points(lidar_path, POINT_COLUMNS),
        channels=("image_2",),
        image_paths=(image_path,),
        image_timestamps_us=np.zeros(1, dtype=np.int64),
        image_size=np.array([[height, width]], dtype=np.int64),
        lidar2cam=lidar2cam[None],
        cam2img=cam2img[None],
        lidar2ego=np.eye(4),
        ego2global=np.eye(4),
    )


def _expected_tree(root: Path, split: str) -> str:
    return (
        f"Expected tree:\n"
        f"  {root}/{split}/\n"
        f"    velodyne/000000.bin ...\n"
        f"    image_2/000000.png ...\n"
        f"    calib/000000.txt ..."
    )
