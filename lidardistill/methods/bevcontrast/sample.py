"""Two scans of one scene, a second apart, for pretraining without cameras. No label or image is ever
opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lidardistill.data.batch import Batch, VoxelBatch
from lidardistill.data.collate import collate_voxels, concatenate, sources_of
from lidardistill.data.config import VoxelConfig
from lidardistill.data.frame import Frame
from lidardistill.data.keyframes import Recipe
from lidardistill.data.voxel_input import ScanInput, VoxelInput
from lidardistill.datasets.base import Source, rows_with_partner
from lidardistill.geometry.bev import planar_motion
from lidardistill.geometry.rigid import invert_rigid
from lidardistill.methods.bevcontrast.config import BEVContrastConfig


@dataclass
class PlacedScan:
    """One augmented scan, and where its voxels are, in numpy.

    Attributes:
        points: (N, 4) float32, augmented LiDAR frame, metres; intensity as stored.
        voxels: the same points as voxels.
        voxel_xy: (M, 2) float32 centre of each voxel, augmented LiDAR frame, metres.
        scan2global: (4, 4) float64, from the augmented LiDAR frame.
    """

    points: np.ndarray
    voxels: VoxelInput
    voxel_xy: np.ndarray
    scan2global: np.ndarray


@dataclass
class ScanPairSample:
    """Two scans of one scene, augmented independently.

    Attributes:
        sample_token: the keyframe of scan a.
        a: the earlier scan.
        b: the later scan.
        b2a: (3, 3) float64, from b to a, seen from above: homogeneous x, y, 1, metres.
        substitutes: (sample token, reason) of pairs that could not be read and that this one replaces.
    """

    sample_token: str
    a: PlacedScan
    b: PlacedScan
    b2a: np.ndarray
    substitutes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class ScanPairBatch(Batch):
    """Pairs of scans: scan a of pair i is scan i of the voxels, scan b of it is scan B + i.

    Attributes:
        voxels: 2 B scans.
        voxel_xy: (M, 2) float32 centre of each voxel, in the augmented LiDAR frame of its own scan, metres.
        b2a: (B, 3, 3) float64, from b to a, seen from above: homogeneous x, y, 1, metres.
        num_voxels_a: voxels of all scans a; those of scans b follow.
        num_points_a: points of all scans a.
    """

    voxels: VoxelBatch
    voxel_xy: Tensor
    b2a: Tensor
    num_voxels_a: int
    num_points_a: int

    def halves(self) -> tuple[VoxelBatch, VoxelBatch]:
        """The B scans a, and the B scans b."""
        whole, first, points = self.voxels, self.num_voxels_a, self.num_points_a
        size = self.batch_size
        coords_b = whole.voxel_coords[first:].clone()
        coords_b[:, 0] -= size
        per_point = whole.point_features
        a = VoxelBatch(
            whole.features[:first],
            whole.voxel_coords[:first],
            whole.spatial_shape,
            whole.point2voxel[:points],
            whole.point_mask[:points],
            size,
            None if per_point is None else per_point[:points],
        )
        b = VoxelBatch(
            whole.features[first:],
            coords_b,
            whole.spatial_shape,
            whole.point2voxel[points:] - first,
            whole.point_mask[points:],
            size,
            None if per_point is None else per_point[points:],
        )
        return a, b


@dataclass(frozen=True)
class ScanPairs(Recipe[ScanPairSample]):
    """Pairs of scans as BEVContrast's pretraining reads them.

    Attributes:
        config: distance of the scans, and how they are moved.
        scan_input: turns points into voxels; cartesian.

    Source: BEVContrast (Sautier et al., 3DV 2024), section 3, and the published configuration for nuScenes.
    """

    config: BEVContrastConfig
    scan_input: ScanInput

    def rows(self, source: Source, rows: np.ndarray) -> np.ndarray:
        """Rows of scans a: those with a scan b in their scene; raises ValueError if there are none."""
        more = 0 if self.config.pairs == "all" else 1
        return rows_with_partner(source, rows, self.config.stride + more)

    def sample(self, source: Source, row: int, generator: np.random.Generator) -> ScanPairSample:
        a, b = (self._scan(source.frame(r), generator) for r in (row, row + self.config.stride))
        b2a = planar_motion(invert_rigid(a.scan2global) @ b.scan2global)
        return ScanPairSample(source.sample_token(row), a, b, b2a)

    def _scan(self, frame: Frame, generator: np.random.Generator) -> PlacedScan:
        old2new = draw_motion(self.config, generator)
        points = frame.points.copy()
        xy = frame.points[:, :2].astype(np.float64)
        points[:, :2] = xy @ old2new[:2, :2].T + old2new[:2, 3]  # z stays as measured
        new2ego = frame.lidar2ego @ invert_rigid(old2new)
        voxels = self.scan_input.read(points, lidar2ego=new2ego)
        xy_of_voxels = voxel_centres_xy(points, voxels, self.scan_input.voxels)
        return PlacedScan(points, voxels, xy_of_voxels, frame.ego2global @ new2ego)

    def collate(self, samples: Sequence[ScanPairSample]) -> ScanPairBatch:
        """Concatenate pairs: first all scans a, then all scans b; raises ValueError for no samples."""
        sources = sources_of(samples)
        scans = [s.a for s in samples] + [s.b for s in samples]
        return ScanPairBatch(
            **sources,
            voxels=collate_voxels([scan.voxels for scan in scans]),
            voxel_xy=concatenate([scan.voxel_xy for scan in scans], "voxel_xy"),
            b2a=torch.from_numpy(np.stack([s.b2a for s in samples])),
            num_voxels_a=sum(len(s.a.voxel_xy) for s in samples),
            num_points_a=sum(len(s.a.points) for s in samples),
        )


def draw_motion(config: BEVContrastConfig, generator: np.random.Generator) -> np.ndarray:
    """(4, 4) float64 `new = motion @ old`: a shift along x and y, then a turn around z."""
    motion = np.eye(4)
    shift = generator.normal(0.0, config.shift_std_m, size=2)
    motion[:2, 3] = shift.clip(-config.shift_max_m, config.shift_max_m)
    if config.rotate:
        angle_rad = generator.uniform(0.0, 2.0 * np.pi)
        c, s = np.cos(angle_rad), np.sin(angle_rad)
        turn = np.eye(4)
        turn[:2, :2] = ((c, -s), (s, c))
        motion = turn @ motion
    return motion


def voxel_centres_xy(points: np.ndarray, voxels: VoxelInput, config: VoxelConfig) -> np.ndarray:
    """Centres of the voxels of a scan, seen from above.

    Args:
        points: (N, >=3) float32 points of the scan, metres; the same points as in `voxels`.
        voxels: of `ScanInput.read`.
        config: cartesian voxels, of the same `ScanInput`.

    Returns:
        (M, 2) float32 x, y of the centre of each voxel, metres, in the frame of the points.
    """
    inside = np.flatnonzero(voxels.point_mask)
    any_point = np.zeros(len(voxels.voxel_coords), dtype=np.int64)
    any_point[voxels.point2voxel[inside]] = inside
    size = np.asarray(config.voxel_size[:2], dtype=np.float64)
    lower = np.zeros(2) if config.point_cloud_range is None else np.array(config.point_cloud_range[:2])
    position = (points[any_point, :2].astype(np.float64) - lower) / size
    cell = np.floor(position) + 0.5 if config.rounding == "floor" else np.rint(position)
    return (lower + cell * size).astype(np.float32)
