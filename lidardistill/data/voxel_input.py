"""Input of a LiDAR backbone: voxels of one scan, and the features of each voxel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lidardistill.data.config import VoxelConfig
from lidardistill.geometry.voxels import voxelize
from lidardistill.spans import spanned


class VoxelInput(NamedTuple):
    """The voxels of one scan.

    Attributes:
        voxel_coords: (M, 3) int32 z, y, x (z, phi, rho when cylindrical).
        voxel_features: (M, F) float32.
        spatial_shape: (3,) cells z, y, x.
        point2voxel: (N,) int64 row in `voxel_coords`; meaningless where `point_mask` is False.
        point_mask: (N,) bool, False for points outside the grid.
        point_features: (N, F) float32 of each point, or None.
    """

    voxel_coords: np.ndarray
    voxel_features: np.ndarray
    spatial_shape: tuple[int, int, int]
    point2voxel: np.ndarray
    point_mask: np.ndarray
    point_features: np.ndarray | None = None


@dataclass(frozen=True)
class ScanInput:
    """Converts the points of a scan to the input of a backbone. Picklable, for worker processes.

    Attributes:
        voxels: the config: grid, and features of a voxel.
        align: the grid is padded, and coordinates are shifted, by multiples of this number of cells.
        per_point: also return the features of each point, for backbones that learn voxel features (pillars).
    """

    voxels: VoxelConfig
    align: int = 16
    per_point: bool = False

    @spanned("voxelize")
    def read(self, points: np.ndarray, *, lidar2ego: np.ndarray | None = None) -> VoxelInput:
        """Voxelize the points of one scan and compute the features of each voxel.

        Args:
            points: (N, 4 or 5) float32, LiDAR frame (augmented or not), metres; intensity as stored; time
                lag, seconds.
            lidar2ego: (4, 4) float64, for the cloud in `points` (after augmentation); only the feature
                "height" needs it.

        Returns:
            The voxels; an empty scan has none.

        Raises:
            ValueError: the config has the feature "height" and `lidar2ego` is None.
        """
        config = self.voxels
        voxels = voxelize(
            points,
            config.voxel_size,
            kind=config.kind,
            rounding=config.rounding,
            point_cloud_range=config.point_cloud_range,
            align=self.align,
        )
        if config.reduce == "first":
            features = _point_features(points[voxels.voxel_points], config, lidar2ego)
        else:
            row = voxels.point2voxel[voxels.point_mask]
            values = _point_features(points[voxels.point_mask], config, lidar2ego)
            num_voxels = len(voxels.voxel_coords)
            sums = [np.bincount(row, weights=column, minlength=num_voxels) for column in values.T]
            count = np.bincount(row, minlength=num_voxels)
            features = (np.stack(sums, axis=1) / np.maximum(count, 1)[:, None]).astype(np.float32)
        z, y, x = (int(cells) for cells in voxels.spatial_shape)
        every_point = _point_features(points, config, lidar2ego) if self.per_point else None
        return VoxelInput(
            voxels.voxel_coords, features, (z, y, x), voxels.point2voxel, voxels.point_mask, every_point
        )


def _point_features(points: np.ndarray, config: VoxelConfig, lidar2ego: np.ndarray | None) -> np.ndarray:
    """Return (N, F) float32 features of points (N, 4 or 5)."""
    features = np.empty((len(points), len(config.point_features)), np.float32)
    for column, name in enumerate(config.point_features):
        if name == "intensity":
            features[:, column] = points[:, 3] * np.float32(config.intensity_scale)
        elif name == "time_lag":
            features[:, column] = points[:, 4] if points.shape[1] > 4 else 0.0
        elif name == "range":
            features[:, column] = np.sqrt((points[:, :3].astype(np.float64) ** 2).sum(axis=1))
        elif name == "height":
            if lidar2ego is None:
                raise ValueError(
                    "voxels.point_features: height needs the frame's lidar2ego, and there is none"
                )
            features[:, column] = points[:, :3] @ lidar2ego[2, :3] + lidar2ego[2, 3]
        else:
            features[:, column] = points[:, "xyz".index(name)]
    return features
