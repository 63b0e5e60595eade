"""Two scans of one scene, a second apart, for pretraining without cameras. No label or image is ever opened.

A sample is a pure function of (seed, epoch, position in that epoch), as that of `lidardistill.methods.slidr.sample`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lidardistill.data.augment import ScanAugment, draw_motion
from lidardistill.data.batch import Batch, VoxelBatch
from lidardistill.data.collate import check_some, collate_voxels, concatenate
from lidardistill.data.config import VoxelConfig
from lidardistill.data.frame import Frame
from lidardistill.data.keyframes import SampleKey
from lidardistill.data.substitute import read_or_substitute
from lidardistill.data.voxel_input import ScanInput, VoxelInput
from lidardistill.datasets.base import SceneIndex
from lidardistill.geometry.bev import planar_motion
from lidardistill.geometry.rigid import invert_rigid


@dataclass
class PlacedScan:
    """One scan as augmented voxels that know where they are, in numpy.

    Attributes:
        points: (N, 4) float32, augmented LiDAR frame, metres; intensity as stored.
        scan2global: (4, 4) float64, from the augmented LiDAR frame.
        voxel_xy: (M, 2) float32 centre of each voxel, augmented LiDAR frame, metres.
        voxel_coords: (M, 3) int32 z, y, x.
        voxel_features: (M, F) float32.
        spatial_shape: (3,) cells z, y, x that hold every voxel.
        point2voxel: (N,) int64 row in `voxel_coords`; meaningless where `point_mask` is False.
        point_mask: (N,) bool, False for points outside the voxel grid.
        point_features: (N, F) float32 of each point, or None where the student does not read them.
    """

    points: np.ndarray
    scan2global: np.ndarray
    voxel_xy: np.ndarray
    voxel_coords: np.ndarray
    voxel_features: np.ndarray
    spatial_shape: tuple[int, int, int]
    point2voxel: np.ndarray
    point_mask: np.ndarray
    point_features: np.ndarray | None = None


@dataclass
class ScanPairSample:
    """Two scans of one scene, each augmented for itself, ready to be collated.

    Attributes:
        sample_token: the keyframe of scan a, which was asked for.
        a: the earlier scan.
        b: the later scan.
        b2a: (3, 3) float64, where a point of b lies in a, seen from above: homogeneous x, y, 1, metres.
        substitutes: sample tokens of pairs that could not be read and that this one stands in for, with reasons.
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
        sample_tokens: B tokens, of the scans a.
        voxels: 2 B scans.
        voxel_xy: (M, 2) float32 centre of each voxel, in the augmented LiDAR frame of its own scan, metres.
        b2a: (B, 3, 3) float64, where a point of b lies in a, seen from above: homogeneous x, y, 1, metres.
        substitutes: what could not be read, as (sample token, reason).
    """

    voxels: VoxelBatch
    voxel_xy: Tensor
    b2a: Tensor


class ScanPairDataset(Dataset[ScanPairSample]):
    """Pairs of scans as BEVContrast's pretraining sees them.

    Args:
        index: reads frames by index row.
        rows: (n,) index rows of the scans a, `rows_with_partner`; a key's last entry is a place in it.
        stride: keyframes from scan a to scan b.
        voxels: see `ScanInput`; cartesian.
        augment: see `ScanAugment`.
        seed: of all randomness here.
        max_substitutes: give up after so many pairs in a row that cannot be read.

    Raises:
        ValueError: `rows` is empty, or the voxels are not cartesian.

    Source: BEVContrast (Sautier et al., 3DV 2024), section 3, and the published configuration for nuScenes.
    """

    def __init__(
        self,
        index: SceneIndex,
        rows: Sequence[int] | np.ndarray,
        *,
        stride: int,
        voxels: ScanInput,
        augment: ScanAugment,
        seed: int,
        max_substitutes: int = 8,
    ) -> None:
        self.rows = np.asarray(rows, dtype=np.int64)
        if len(self.rows) == 0:
            raise ValueError("rows: expected at least one pair of scans, got none")
        if voxels.voxels.kind != "cartesian":
            raise ValueError(
                f"voxels.kind: a map seen from above needs cartesian voxels, got {voxels.voxels.kind!r}"
            )
        self.index = index
        self.stride = stride
        self.voxels = voxels
        self.augment = augment
        self.seed = seed
        self.max_substitutes = max_substitutes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: SampleKey) -> ScanPairSample:
        """Read and augment one pair.

        Args:
            key: epoch, position in the epoch's order (they seed the randomness), place in `rows`.

        Returns:
            The sample, or that of a deterministic substitute with the reason in `substitutes`.

        Raises:
            CorruptSample: the pair, and `max_substitutes` others, cannot be read.
        """
        return read_or_substitute(self.index, self.rows, key, self.seed, self.max_substitutes, self._sample)

    def _sample(self, row: int, generator: np.random.Generator) -> ScanPairSample:
        a, b = (self._scan(self.index.frame(r), generator) for r in (row, row + self.stride))
        b2a = planar_motion(invert_rigid(a.scan2global) @ b.scan2global)
        return ScanPairSample(self.index.sample_token(row), a, b, b2a)

    def _scan(self, frame: Frame, generator: np.random.Generator) -> PlacedScan:
        """One scan, moved, with the pose that undoes the move."""
        old2new = draw_motion(self.augment, generator)
        points = frame.points.copy()
        xy = frame.points[:, :2].astype(np.float64)
        points[:, :2] = xy @ old2new[:2, :2].T + old2new[:2, 3]  # z stays what the sensor measured
        new2ego = frame.lidar2ego @ invert_rigid(old2new)
        voxels = self.voxels.read(points, lidar2ego=new2ego)
        return PlacedScan(
            points=points,
            scan2global=frame.ego2global @ new2ego,
            voxel_xy=voxel_centres_xy(points, voxels, self.voxels.voxels),
            **voxels._asdict(),
        )


def voxel_centres_xy(points: np.ndarray, voxels: VoxelInput, settings: VoxelConfig) -> np.ndarray:
    """Where the voxels of a scan are, seen from above.

    Args:
        points: (N, >=3) float32, metres, that the voxels were made of.
        voxels: of `ScanInput.read`.
        settings: cartesian; with these.

    Returns:
        (M, 2) float32 x, y of the centre of each voxel, metres, in the frame of the points.
    """
    inside = np.flatnonzero(voxels.point_mask)
    any_point = np.zeros(len(voxels.voxel_coords), dtype=np.int64)
    any_point[voxels.point2voxel[inside]] = inside
    size = np.asarray(settings.voxel_size[:2], dtype=np.float64)
    lower = np.zeros(2) if settings.point_cloud_range is None else np.array(settings.point_cloud_range[:2])
    position = (points[any_point, :2].astype(np.float64) - lower) / size
    cell = np.floor(position) + 0.5 if settings.rounding == "floor" else np.rint(position)
    return (lower + cell * size).astype(np.float32)


def collate_scan_pairs(samples: Sequence[ScanPairSample]) -> ScanPairBatch:
    """Concatenate pairs of scans: first all scans a, then all scans b.

    Args:
        samples: at least one; scans without points are allowed.

    Returns:
        The batch.

    Raises:
        ValueError: no samples, or scans with different numbers of features.
    """
    check_some(samples)
    scans = [s.a for s in samples] + [s.b for s in samples]
    return ScanPairBatch(
        sample_tokens=tuple(s.sample_token for s in samples),
        voxels=collate_voxels(scans),
        voxel_xy=concatenate([scan.voxel_xy for scan in scans], "voxel_xy"),
        b2a=torch.from_numpy(np.stack([s.b2a for s in samples])),
        substitutes=tuple(entry for s in samples for entry in s.substitutes),
    )
