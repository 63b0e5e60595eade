"""KITTI's object benchmark: one left colour camera, one scan, no time and no ego motion."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from lidardistill.data.frame import CorruptSample, Frame, Sweep
from lidardistill.datasets.files import missing_files
from lidardistill.datasets.listed import ALL, is_list_file, listed_names
from lidardistill.datasets.points import read_scan
from lidardistill.geometry.camera import kitti_calibration

log = logging.getLogger(__name__)

POINT_COLUMNS = 4
"""Number of float32 values of a point in a KITTI scan: x, y, z, reflectance."""

SPLITS = ("training", "testing")
CHANNEL = "image_2"


class KittiSource:
    """All frames of `training/`, then all frames of `testing/`, sorted by name.

    Each frame is its own scene: the object benchmark has no time and no ego motion, so two frames cannot be
    paired. Times are 0. The LiDAR frame is also the ego frame and the global frame. Labels are not read.

    Args:
        dataroot: folder with `training/`, `testing/` or both.
        missing: "skip" leaves out frames without a picture or calibration, with a warning; "error" keeps
            them.

    Raises:
        FileNotFoundError: there are no scans, or "skip" leaves out all of them.
    """

    kind = "kitti"
    columns = POINT_COLUMNS
    rings: int | None = 64
    intensity_scale = 1.0
    channels: tuple[str, ...] = (CHANNEL,)

    def __init__(self, dataroot: Path | str, *, missing: Literal["error", "skip"] = "error") -> None:
        self.dataroot = Path(dataroot).expanduser().absolute()
        names = [(split, name) for split in SPLITS for name in _scan_names(self.dataroot / split)]
        if not names:
            raise FileNotFoundError(f"no KITTI scans in {dataroot}. {_expected_tree(self.dataroot)}")
        self._names = names
        if missing == "skip":
            lacking = missing_files(self)
            whole = [row for row in range(len(names)) if row not in lacking]
            if not whole:
                raise FileNotFoundError(
                    f"data.missing=skip leaves nothing: each of the {len(names)} scans of {dataroot} lacks "
                    f"its picture or calibration. {_expected_tree(self.dataroot)}"
                )
            if len(whole) < len(names):
                log.warning(
                    "data.missing=skip: %d of %d frames are left out, because their picture or calibration "
                    "is not on disk",
                    len(names) - len(whole),
                    len(names),
                )
            self._names = [names[row] for row in whole]

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"KittiSource({str(self.dataroot)!r}, {len(self)} frames)"

    def sample_token(self, row: int) -> str:
        """Token of a frame, such as training-000008."""
        split, name = self._at(row)
        return f"{split}-{name}"

    def scene_name(self, row: int) -> str:
        return self.sample_token(row)

    def row_of(self, token: str) -> int:
        """Row of a token such as training-000008, or of a name such as 000008 (`training` before `testing`).

        Raises:
            ValueError: there is no such frame.
        """
        for row, (split, name) in enumerate(self._names):
            if token in (name, f"{split}-{name}"):
                return row
        raise ValueError(
            f"no frame {token!r} in {self.dataroot} ({len(self)} frames): expected such as "
            f"{self.sample_token(0)}"
        )

    def scenes_of_split(self, split: str) -> tuple[str, ...]:
        """Tokens of the frames of a split; raises as `rows_of_split`."""
        return tuple(self.sample_token(row) for row in self.rows_of_split(split).tolist())

    def rows_of_scenes(self, names: Iterable[str]) -> np.ndarray:
        """(n,) int64 ascending rows of some frames; raises ValueError for an unknown one."""
        return np.array(sorted({self.row_of(name) for name in names}), dtype=np.int64)

    def rows_of_split(self, split: str) -> np.ndarray:
        """(n,) int64 ascending rows of a split.

        Args:
            split: training, testing, all, or a text file with one frame in each line (000008, or
                testing-000008).

        Raises:
            FileNotFoundError: the list file does not exist.
            ValueError: the split is unknown or empty.
        """
        if split == ALL:
            return np.arange(len(self))
        if is_list_file(split):
            known = {self.sample_token(row): row for row in range(len(self))}
            for row, (_, name) in enumerate(self._names):
                known.setdefault(name, row)  # a name in both folders means the frame of training
            listed = listed_names(split, tuple(known), "frame")
            return np.array(sorted({known[name] for name in listed}), dtype=np.int64)
        rows = np.array(
            [row for row, (folder, _) in enumerate(self._names) if folder == split], dtype=np.int64
        )
        if not len(rows):
            here = sorted({folder for folder, _ in self._names}, reverse=True)
            raise ValueError(
                f"split {split!r}: expected {', '.join(here)}, all, or a .txt file with a frame a line, for "
                f"the KITTI root {self.dataroot}"
            )
        return rows

    def lidar_path(self, row: int) -> Path:
        split, name = self._at(row)
        return self.dataroot / split / "velodyne" / f"{name}.bin"

    def image_paths(self, row: int) -> tuple[Path, ...]:
        split, name = self._at(row)
        return (self.dataroot / split / CHANNEL / f"{name}.png",)

    def calibration_path(self, row: int) -> Path:
        split, name = self._at(row)
        return self.dataroot / split / "calib" / f"{name}.txt"

    def files(self, row: int) -> tuple[Path, ...]:
        """Scan, picture and calibration."""
        return (self.lidar_path(row), *self.image_paths(row), self.calibration_path(row))

    def splits(self) -> dict[str, tuple[int, int]]:
        """Maps each folder to its number of frames, twice: all frames of a split are present."""
        count = Counter(folder for folder, _ in self._names)
        return {folder: (count[folder], count[folder]) for folder in SPLITS}

    def sweeps(self, row: int) -> tuple[Sweep, ...]:
        """(): the object benchmark has no scans between its frames."""
        self._at(row)
        return ()

    def keyframe_scan(self, row: int) -> Sweep:
        return Sweep(self.lidar_path(row), 0, np.eye(4))

    def frame(self, row: int) -> Frame:
        """Read a scan, its calibration, and the size in the header of the picture.

        Returns:
            Frame with one view, `image_2`. Intensity is the reflectance as stored, 0..1.

        Raises:
            FileNotFoundError: scan, picture or calibration is missing.
            CorruptSample: scan, calibration or the header of the picture is invalid.
        """
        if lacking := self._lacking(row):
            raise FileNotFoundError(
                f"{lacking[0]} is missing. {_expected_tree(self.dataroot)}. Copy the file, or leave out "
                "frames that are not complete: data.missing=skip."
            )
        (image_path,) = self.image_paths(row)
        try:
            lidar2cam, cam2img = kitti_calibration(self.calibration_path(row))
        except ValueError as error:
            raise CorruptSample(f"{error}. Copy or download the file again.") from error
        points, kept = read_scan(self.lidar_path(row), POINT_COLUMNS)
        return Frame(
            sample_token=self.sample_token(row),
            scene_name=self.scene_name(row),
            timestamp_us=0,
            lidar_path=self.lidar_path(row),
            points=points,
            channels=self.channels,
            image_paths=(image_path,),
            image_timestamps_us=np.zeros(1, dtype=np.int64),
            image_size=np.array([_picture_size(image_path)], dtype=np.int64),
            lidar2cam=lidar2cam[None],
            cam2img=cam2img[None],
            lidar2ego=np.eye(4),
            ego2global=np.eye(4),
            kept=kept,
        )

    def _at(self, row: int) -> tuple[str, str]:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row}: expected 0 .. {len(self) - 1}")
        return self._names[row]

    def _lacking(self, row: int) -> list[Path]:
        return [path for path in self.files(row) if not path.is_file()]


def _picture_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture, from the header of the file."""
    try:
        with Image.open(path) as picture:
            width, height = picture.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise CorruptSample(
            f"picture {path} is empty or no PNG ({error}). Copy or download the file again."
        ) from error
    return height, width


def _scan_names(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "velodyne").glob("*.bin"))


def _expected_tree(root: Path) -> str:
    return (
        f"Expected in {root}: training/velodyne/000000.bin, training/image_2/000000.png, "
        "training/calib/000000.txt"
    )
