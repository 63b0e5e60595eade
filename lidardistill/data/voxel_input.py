"""From points to what the student reads: voxels and the features of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from lidardistill.geometry.voxels import voxelize
from lidardistill.spans import spanned

PointFeature = Literal["intensity", "x", "y", "z", "range", "height", "time_lag"]
POINT_FEATURES: tuple[str, ...] = get_args(PointFeature)
"""What a voxel may carry: intensity as stored times `intensity_scale`; x, y, z of the augmented cloud, metres; `range`,
distance from the sensor, metres; `height`, z in the ego frame (about metres above the road); `time_lag`, seconds before
the keyframe, 0 where points have four columns."""


@dataclass(frozen=True)
class VoxelSettings:
    """How points become voxels and what each voxel carries; SLidR's values are the defaults.

    Attributes:
        kind: "cylindrical" (rho, phi, z) or "cartesian" (x, y, z).
        voxel_size: (3,) metres; rho metres, phi degrees, z metres when cylindrical.
        rounding: "floor" (SLidR) or "round" (SuperFlow, BEVContrast).
        point_cloud_range: (6,) x_min y_min z_min x_max y_max z_max, metres; None takes every point.
        point_features: names out of `POINT_FEATURES`, in the order of the network's input channels.
        intensity_scale: factor of the stored intensity; 1.0 hands on nuScenes' 0..255 as SLidR does.
        reduce: "first" takes the features of the first point of a voxel (SLidR keeps whichever its hash table met),
            "mean" averages them.
        align: coordinates are shifted, and the grid is padded, by multiples of this many cells.
        per_point: hand on the features of each point as well, for networks that learn what a voxel holds (pillars).
    """

    kind: Literal["cylindrical", "cartesian"] = "cylindrical"
    voxel_size: tuple[float, float, float] = (0.1, 1.0, 0.1)
    rounding: Literal["floor", "round"] = "floor"
    point_cloud_range: tuple[float, float, float, float, float, float] | None = None
    point_features: tuple[str, ...] = ("intensity",)
    intensity_scale: float = 1.0
    reduce: Literal["first", "mean"] = "first"
    align: int = 16
    per_point: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.point_features if name not in POINT_FEATURES]
        if unknown or not self.point_features:
            raise ValueError(
                f"voxels.point_features: expected at least one of {', '.join(POINT_FEATURES)}, got "
                f"{', '.join(unknown) or 'none'}"
            )
        if self.reduce not in ("first", "mean"):
            raise ValueError(f"voxels.reduce: expected first or mean, got {self.reduce!r}")

    def check_maps(self) -> None:
        """Refuse, with a ValueError, voxels that make no map of a fixed range."""
        if self.kind != "cartesian" or self.point_cloud_range is None:
            raise ValueError(
                "voxels: a map seen from above needs cartesian voxels and a point_cloud_range, got kind "
                f"{self.kind!r} and range {self.point_cloud_range}"
            )


class VoxelInput(NamedTuple):
    """The voxels of one scan.

    Attributes:
        voxel_coords: (M, 3) int32 z, y, x (z, phi, rho when cylindrical).
        voxel_features: (M, F) float32.
        spatial_shape: (3,) cells z, y, x.
        point2voxel: (N,) int64 row in `voxel_coords`; meaningless where `point_mask` is False.
        point_mask: (N,) bool, False for points outside the grid.
        point_features: (N, F) float32 of each point, None where they are not asked for.
    """

    voxel_coords: np.ndarray
    voxel_features: np.ndarray
    spatial_shape: tuple[int, int, int]
    point2voxel: np.ndarray
    point_mask: np.ndarray
    point_features: np.ndarray | None = None


@spanned("voxelize")
def voxelize_scan(
    points: np.ndarray, settings: VoxelSettings, *, lidar2ego: np.ndarray | None = None
) -> VoxelInput:
    """Put the points of one scan into voxels and give each voxel its features.

    Args:
        points: (N, 4 or 5) float32, LiDAR frame (augmented or not), metres; intensity as stored; time lag, seconds.
        settings: see `VoxelSettings`.
        lidar2ego: (4, 4) float64, of the cloud as it lies in `points`; needed for the feature "height" alone.

    Returns:
        The voxels; an empty scan gives none.

    Raises:
        ValueError: "height" is asked for and there is no `lidar2ego`.
    """
    voxels = voxelize(
        points,
        settings.voxel_size,
        kind=settings.kind,
        rounding=settings.rounding,
        point_cloud_range=settings.point_cloud_range,
        align=settings.align,
    )
    if settings.reduce == "first":
        features = _point_features(points[voxels.voxel_points], settings, lidar2ego)
    else:
        row = voxels.point2voxel[voxels.point_mask]
        values = _point_features(points[voxels.point_mask], settings, lidar2ego)
        num_voxels = len(voxels.voxel_coords)
        sums = [np.bincount(row, weights=column, minlength=num_voxels) for column in values.T]
        count = np.bincount(row, minlength=num_voxels)
        features = (np.stack(sums, axis=1) / np.maximum(count, 1)[:, None]).astype(np.float32)
    shape = tuple(int(cells) for cells in voxels.spatial_shape)
    assert len(shape) == 3
    every_point = _point_features(points, settings, lidar2ego) if settings.per_point else None
    return VoxelInput(
        voxels.voxel_coords, features, shape, voxels.point2voxel, voxels.point_mask, every_point
    )


def _point_features(points: np.ndarray, settings: VoxelSettings, lidar2ego: np.ndarray | None) -> np.ndarray:
    """(N, F) float32 features of points (N, 4 or 5)."""
    features = np.empty((len(points), len(settings.point_features)), np.float32)
    for column, name in enumerate(settings.point_features):
        if name == "intensity":
            features[:, column] = points[:, 3] * np.float32(settings.intensity_scale)
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
