"""Samples of keyframes with boxes, for training and evaluating detectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lidardistill.data.camera_input import CameraInput, read_cameras
from lidardistill.data.images import image_key
from lidardistill.data.keyframes import Recipe
from lidardistill.data.voxel_input import ScanInput
from lidardistill.datasets.base import Source
from lidardistill.datasets.labelled import FrameBoxes
from lidardistill.datasets.sweeps import read_sweeps
from lidardistill.tasks.detect.batch import DetectionBatch, DetectionSample, collate_detection
from lidardistill.tasks.detect.config import DetectionAugmentConfig
from lidardistill.tasks.detect.detection_augment import draw_old2new, move_boxes, move_points
from lidardistill.tasks.detect.gt_sampling import GTSampler

Corrupt = Callable[[np.ndarray, int], np.ndarray]
"""(points (N, 5) of `read_sweeps`, index row) -> (N', 5)."""


@dataclass(frozen=True)
class DetectionRecipe(Recipe[DetectionSample]):
    """Detector samples: scans with their sweeps, boxes, and images for a fusion detector.

    Order in training: paste objects of other keyframes, move points and boxes together, drop boxes whose
    centre is outside the range, voxelise. Images are not augmented; `old2new` is the motion of the points.

    Attributes:
        scan: turns points into the input of a backbone; boxes are kept if their centre lies in the x and y of
            its range.
        read_boxes: index row -> boxes, `BoxTable.read`; None for scans without.
        num_sweeps: number of earlier scans that are added, see `read_sweeps`.
        augment: random motion of points and boxes; None disables it.
        gt_sampler: pastes objects, or None. Not with cameras, because images do not show a pasted object.
        cameras: image reader; None for LiDAR alone.
        min_points: boxes with fewer LiDAR and radar points are left out: they are invisible, and nuScenes
            does not evaluate them.
        corrupt: changes the points (N, 5) of an index row before all other steps, such as
            `corruptions.Corruption`.

    Raises:
        ValueError: a `gt_sampler` with cameras, with another number of sweeps, or without `read_boxes`.
    """

    scan: ScanInput
    read_boxes: Callable[[int], FrameBoxes] | None = None
    num_sweeps: int = 0
    augment: DetectionAugmentConfig | None = None
    gt_sampler: GTSampler | None = None
    cameras: CameraInput | None = None
    min_points: int = 1
    corrupt: Corrupt | None = None

    def __post_init__(self) -> None:
        if self.gt_sampler is not None:
            has_boxes = self.read_boxes is not None
            _check_sampler(self.gt_sampler, self.num_sweeps, self.cameras is not None, has_boxes)

    def warm_up(self) -> None:
        """Compile the kernels of GT sampling, because not every sample uses them."""
        if self.gt_sampler is not None:
            self.gt_sampler.warm_up()

    def sample(self, source: Source, row: int, generator: np.random.Generator) -> DetectionSample:
        """Read one keyframe."""
        frame = source.frame(row)
        points = read_sweeps(source, row, self.num_sweeps, keyframe_points=frame.points)
        if self.corrupt is not None:
            points = self.corrupt(points, row)
        boxes, labels = self._boxes(row)
        if self.gt_sampler is not None:
            points, boxes, labels = self.gt_sampler.paste(points, boxes, labels, generator)
        old2new = draw_old2new(self.augment, generator)
        points, boxes = move_points(points, old2new), move_boxes(boxes, old2new)
        inside = centres_inside(boxes, self.scan.voxels.point_cloud_range)
        voxels = self.scan.read(points, lidar2ego=frame.lidar2ego @ np.linalg.inv(old2new))
        images = lidar2cam = cam2img = None
        if self.cameras is not None:
            keys = tuple(image_key(path, source.dataroot) for path in frame.image_paths)
            images, cam2img = read_cameras(frame, self.cameras, keys)
            lidar2cam = frame.lidar2cam
        return DetectionSample(
            sample_token=frame.sample_token,
            row=row,
            points=points,
            voxels=voxels,
            boxes=boxes[inside],
            labels=labels[inside],
            old2new=old2new,
            lidar2global=frame.ego2global @ frame.lidar2ego,
            images=images,
            lidar2cam=lidar2cam,
            cam2img=cam2img,
        )

    def collate(self, samples: Sequence[DetectionSample]) -> DetectionBatch:
        """See `collate_detection`."""
        return collate_detection(samples)

    def _boxes(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """(n, 9) float32 and (n,) int64 labels."""
        if self.read_boxes is None:
            return np.zeros((0, 9), np.float32), np.zeros(0, np.int64)
        found = self.read_boxes(row)
        seen = found.num_lidar_pts + found.num_radar_pts >= self.min_points
        return found.boxes[seen], found.labels[seen]


def centres_inside(boxes: np.ndarray, point_cloud_range: Sequence[float] | None) -> np.ndarray:
    """(n,) bool: True if the centre of a box (n, 9) lies in the x and y of a range; all True for None."""
    if point_cloud_range is None:
        return np.ones(len(boxes), bool)
    low, high = np.array(point_cloud_range[:2]), np.array(point_cloud_range[3:5])
    return ((boxes[:, :2] >= low) & (boxes[:, :2] < high)).all(axis=1)


def _check_sampler(sampler: GTSampler, num_sweeps: int, has_cameras: bool, has_boxes: bool) -> None:
    if has_cameras:
        raise ValueError(
            "gt_sampler and cameras: a pasted object stands in no image, and a network that fuses both would "
            "learn not to look; turn one of them off"
        )
    if not has_boxes:
        raise ValueError(
            "gt_sampler: expected read_boxes beside it, or objects are pasted into cars; got None"
        )
    if sampler.database.num_sweeps != num_sweeps:
        raise ValueError(
            f"gt_sampler: its objects are of {sampler.database.num_sweeps} sweeps and num_sweeps is "
            f"{num_sweeps}; build the database with the same number"
        )
