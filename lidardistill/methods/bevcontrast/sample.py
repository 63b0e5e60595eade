"""Two scans of one scene, a second apart, for pretraining without cameras. No label or image is ever opened.

A sample is a pure function of (seed, epoch, position in that epoch), as that of `lidardistill.methods.slidr.sample`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch.utils.data import Dataset

from lidardistill.data.batch import Frame, PlacedScan, ScanPairSample
from lidardistill.data.substitute import read_or_substitute
from lidardistill.data.voxel_input import VoxelInput, VoxelSettings, voxelize_scan
from lidardistill.geometry.bev import planar_motion
from lidardistill.geometry.rigid import invert_rigid
from lidardistill.methods.slidr.sample import SampleKey


class SceneIndex(Protocol):
    """Keyframes by scene, then by time: `NuScenesIndex`, or a few frames in memory."""

    def frame(self, row: int) -> Frame: ...

    def sample_token(self, row: int) -> str: ...

    def scene_name(self, row: int) -> str: ...


@dataclass(frozen=True)
class ScanAugment:
    """How a scan is moved before it meets the network; BEVContrast's values are the defaults.

    Attributes:
        shift_std_m: standard deviation of the shift along x, and of that along y, metres; 0 for none.
        shift_max_m: what a shift is clipped to, metres.
        rotate: then turn the cloud around the z axis by an angle drawn from 0..2 pi.
    """

    shift_std_m: float = 4.0
    shift_max_m: float = 15.0
    rotate: bool = True

    def __post_init__(self) -> None:
        if self.shift_std_m < 0 or self.shift_max_m < 0:
            raise ValueError(
                f"expected shift_std_m and shift_max_m of at least 0, got {self.shift_std_m}, {self.shift_max_m}"
            )


def rows_with_partner(index: SceneIndex, rows: Sequence[int] | np.ndarray, stride: int) -> np.ndarray:
    """The rows whose scene goes on for `stride` keyframes.

    Args:
        index: rows are keyframes by scene, then by time.
        rows: (n,) index rows, whole scenes.
        stride: keyframes from a scan to its partner, at least 1.

    Returns:
        (m,) int64, those rows r for which r + stride is among `rows` and of the same scene.

    Raises:
        ValueError: there is none.
    """
    rows = np.asarray(rows, dtype=np.int64)
    first = rows[np.isin(rows + stride, rows)]
    kept = [r for r in first.tolist() if index.scene_name(r) == index.scene_name(r + stride)]
    if not kept:
        raise ValueError(
            f"no scene of the split has two keyframes {stride} apart ({len(rows)} keyframes): lower method.stride, "
            "or take scenes with more keyframes"
        )
    return np.array(kept, dtype=np.int64)


class ScanPairDataset(Dataset[ScanPairSample]):
    """Pairs of scans as BEVContrast's pretraining sees them.

    Args:
        index: reads frames by index row.
        rows: (n,) index rows of the scans a, `rows_with_partner`; a key's last entry is a place in it.
        stride: keyframes from scan a to scan b.
        voxels: see `VoxelSettings`; cartesian.
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
        voxels: VoxelSettings,
        augment: ScanAugment,
        seed: int,
        max_substitutes: int = 8,
    ) -> None:
        self.rows = np.asarray(rows, dtype=np.int64)
        if len(self.rows) == 0:
            raise ValueError("rows: expected at least one pair of scans, got none")
        if voxels.kind != "cartesian":
            raise ValueError(
                f"voxels.kind: a map seen from above needs cartesian voxels, got {voxels.kind!r}"
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
        voxels = voxelize_scan(points, self.voxels, lidar2ego=new2ego)
        return PlacedScan(
            points=points,
            scan2global=frame.ego2global @ new2ego,
            voxel_xy=voxel_centres_xy(points, voxels, self.voxels),
            **voxels._asdict(),
        )


def draw_motion(settings: ScanAugment, generator: np.random.Generator) -> np.ndarray:
    """(4, 4) float64 `new = motion @ old`: a shift along x and y, then a turn around z."""
    motion = np.eye(4)
    shift = generator.normal(0.0, settings.shift_std_m, size=2)
    motion[:2, 3] = shift.clip(-settings.shift_max_m, settings.shift_max_m)
    if settings.rotate:
        angle_rad = generator.uniform(0.0, 2.0 * np.pi)
        c, s = np.cos(angle_rad), np.sin(angle_rad)
        turn = np.eye(4)
        turn[:2, :2] = ((c, -s), (s, c))
        motion = turn @ motion
    return motion


def voxel_centres_xy(points: np.ndarray, voxels: VoxelInput, settings: VoxelSettings) -> np.ndarray:
    """Where the voxels of a scan are, seen from above.

    Args:
        points: (N, >=3) float32, metres, that the voxels were made of.
        voxels: of `voxelize_scan`.
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
