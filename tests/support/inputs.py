"""Short ways to the inputs that many tests build."""

from __future__ import annotations

from typing import Any

from lidardistill.data.config import AugmentConfig, VoxelConfig
from lidardistill.data.voxel_input import ScanInput


def scan_input(*, align: int = 16, per_point: bool = False, **voxels: Any) -> ScanInput:
    """A `ScanInput` from keys of `VoxelConfig`."""
    return ScanInput(VoxelConfig(**voxels), align, per_point)


def changed(given: ScanInput, *, per_point: bool | None = None, **voxels: Any) -> ScanInput:
    """The same `ScanInput` with other values for some keys of its `VoxelConfig`."""
    config = VoxelConfig(**{**given.voxels.model_dump(), **voxels})
    return ScanInput(config, given.align, given.per_point if per_point is None else per_point)


def augment(**changes: Any) -> AugmentConfig:
    """SLidR's augmentation with thresholds for small worlds."""
    return AugmentConfig(**{"image_size": (28, 50), "cuboid_min_pairs": 50, "crop_min_pairs": 200, **changes})
