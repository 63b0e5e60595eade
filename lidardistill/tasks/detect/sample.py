"""Keyframes with boxes, for training and judging detectors.

A sample is a pure function of (seed, epoch, position in that epoch), as that of `lidardistill.data.keyframes.Keyframes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch.utils.data import Dataset

from lidardistill.data.camera_input import CameraInput, read_cameras
from lidardistill.data.images import image_key
from lidardistill.data.keyframes import SampleKey
from lidardistill.data.substitute import keyframe_rows, read_or_substitute
from lidardistill.data.voxel_input import ScanInput
from lidardistill.datasets.base import DetectionIndex
from lidardistill.datasets.nuscenes.boxes import FrameBoxes
from lidardistill.datasets.sweeps import CLOSE_M, read_sweeps
from lidardistill.tasks.detect.batch import DetectionBatch, DetectionSample, collate_detection
from lidardistill.tasks.detect.detection_augment import (
    DetectionAugment,
    draw_old2new,
    move_boxes,
    move_points,
)
from lidardistill.tasks.detect.gt_sampling import GTSampler

__all__ = [
    "CameraInput",
    "Corrupt",
    "DetectionAugment",
    "DetectionBatch",
    "DetectionDataset",
    "DetectionSample",
    "collate_detection",
]


Corrupt = Callable[[np.ndarray, int], np.ndarray]
"""(points (N, 5) of `read_sweeps`, index row) -> (N', 5)."""


class DetectionDataset(Dataset[DetectionSample]):
    """Keyframes as a detector sees them: scans with those before them, boxes, and images where it fuses.

    In training: objects of other keyframes are pasted, then cloud and boxes are moved together, then boxes whose centre
    has left the range go, then the cloud becomes voxels. Images are neither turned nor flipped; `old2new` says what
    happened to the cloud that they must be brought to.

    Args:
        index: reads keyframes by index row.
        rows: (n,) index rows; a key's last entry is a place in it. May hold repetitions, see `class_balanced_rows`.
        voxels: see `ScanInput`; boxes are kept where their centre lies in the x and y of its range.
        seed: of all randomness here.
        train: augment, paste, and replace keyframes that cannot be read. In evaluation the error comes through: a figure
            over other keyframes than those named would be wrong.
        read_boxes: index row -> boxes, `BoxTable.read`; None for scans without.
        num_sweeps: scans before the keyframe's own, see `read_sweeps`.
        close_m: what counts as the ego car, see `read_sweeps`.
        augment: how the cloud is moved in training; None for CenterPoint's way.
        gt_sampler: what is pasted in training, or None. Not with cameras: a pasted object stands in no image.
        cameras: read the images, too; None for LiDAR alone.
        min_points: boxes with fewer points, of LiDAR and radar, are left out: nobody can see them, and nuScenes does
            not ask for them.
        corrupt: what happens to the points (N, 5) of an index row before anything else, such as
            `corruptions.Corruption`; None: nothing.
        max_substitutes: give up after so many keyframes in a row that cannot be read.

    Raises:
        ValueError: `rows` is empty; a `gt_sampler` beside cameras, or with other sweeps, or without `read_boxes`.
    """

    def __init__(
        self,
        index: DetectionIndex,
        rows: Sequence[int] | np.ndarray,
        voxels: ScanInput,
        *,
        seed: int,
        train: bool,
        read_boxes: Callable[[int], FrameBoxes] | None,
        num_sweeps: int = 0,
        close_m: float = CLOSE_M,
        augment: DetectionAugment | None = None,
        gt_sampler: GTSampler | None = None,
        cameras: CameraInput | None = None,
        min_points: int = 1,
        corrupt: Corrupt | None = None,
        max_substitutes: int = 8,
    ) -> None:
        self.rows = keyframe_rows(rows)
        if gt_sampler is not None and train:
            _check_sampler(gt_sampler, num_sweeps, cameras is not None, read_boxes is not None)
        self.index = index
        self.voxels = voxels
        self.seed = seed
        self.train = train
        self.read_boxes = read_boxes
        self.num_sweeps = num_sweeps
        self.close_m = close_m
        augment = augment or DetectionAugment()
        self.augment = augment if train else augment.for_validation()
        self.gt_sampler = gt_sampler if train else None
        self.cameras = cameras
        self.min_points = min_points
        self.corrupt = corrupt
        self.max_substitutes = max_substitutes if train else 0

    def __len__(self) -> int:
        return len(self.rows)

    def warm_up(self) -> None:
        """Compile the kernels that only some samples need: not every scan has room for a pasted object."""
        if self.gt_sampler is not None:
            self.gt_sampler.warm_up()

    def __getitem__(self, key: SampleKey) -> DetectionSample:
        """Read one keyframe.

        Args:
            key: epoch, position in the epoch's order (they seed the randomness), place in `rows`.

        Returns:
            The sample; in training that of a deterministic substitute, with the reason in `substitutes`, where it
            cannot be read.

        Raises:
            CorruptSample: it cannot be used; in training, neither can `max_substitutes` others.
        """
        return read_or_substitute(self.index, self.rows, key, self.seed, self.max_substitutes, self._sample)

    def _sample(self, row: int, generator: np.random.Generator) -> DetectionSample:
        frame = self.index.frame(row)
        points = read_sweeps(
            self.index, row, self.num_sweeps, close_m=self.close_m, keyframe_points=frame.points
        )
        if self.corrupt is not None:
            points = self.corrupt(points, row)
        boxes, labels = self._boxes(row)
        if self.gt_sampler is not None:
            points, boxes, labels = self.gt_sampler.paste(points, boxes, labels, generator)
        old2new = draw_old2new(self.augment, generator)
        points, boxes = move_points(points, old2new), move_boxes(boxes, old2new)
        inside = centres_inside(boxes, self.voxels.voxels.point_cloud_range)
        voxels = self.voxels.read(points, lidar2ego=frame.lidar2ego @ np.linalg.inv(old2new))
        images = lidar2cam = cam2img = None
        if self.cameras is not None:
            keys = tuple(image_key(path, self.index.dataroot) for path in frame.image_paths)
            images, cam2img = read_cameras(frame, self.cameras, keys)
            lidar2cam = frame.lidar2cam
        return DetectionSample(
            sample_token=frame.sample_token,
            row=row,
            points=points,
            boxes=boxes[inside],
            labels=labels[inside],
            old2new=old2new,
            lidar2global=frame.ego2global @ frame.lidar2ego,
            images=images,
            lidar2cam=lidar2cam,
            cam2img=cam2img,
            **voxels._asdict(),
        )

    def _boxes(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """(n, 9) float32 and (n,) int64 labels."""
        if self.read_boxes is None:
            return np.zeros((0, 9), np.float32), np.zeros(0, np.int64)
        found = self.read_boxes(row)
        seen = found.num_lidar_pts + found.num_radar_pts >= self.min_points
        return found.boxes[seen], found.labels[seen]


def centres_inside(boxes: np.ndarray, point_cloud_range: Sequence[float] | None) -> np.ndarray:
    """(n,) bool: whether the centres of boxes (n, 9) lie in the x and y of a range; all do where there is none."""
    if point_cloud_range is None:
        return np.ones(len(boxes), bool)
    low, high = np.array(point_cloud_range[:2]), np.array(point_cloud_range[3:5])
    return ((boxes[:, :2] >= low) & (boxes[:, :2] < high)).all(axis=1)


def _check_sampler(sampler: GTSampler, num_sweeps: int, has_cameras: bool, has_boxes: bool) -> None:
    if has_cameras:
        raise ValueError(
            "gt_sampler and cameras: a pasted object stands in no image, and a network that fuses both would learn not "
            "to look; turn one of them off"
        )
    if not has_boxes:
        raise ValueError(
            "gt_sampler: expected read_boxes beside it, or objects are pasted into cars; got None"
        )
    if sampler.database.num_sweeps != num_sweeps:
        raise ValueError(
            f"gt_sampler: its objects are of {sampler.database.num_sweeps} sweeps and num_sweeps is {num_sweeps}; build "
            "the database with the same number"
        )
