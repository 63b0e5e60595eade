"""Config of lidar_bev."""

from __future__ import annotations

from typing import ClassVar, Literal

from lidardistill.config.base import Strict


class LidarBevConfig(Strict):
    """A backbone whose output is a bird's-eye-view map. `voxels` says what its cells are, and must suit the preset."""

    makes: ClassVar[Literal["points", "map"]] = "map"

    kind: Literal["lidar_bev"]
    preset: Literal["voxelnet01", "voxelnet0075", "second01", "pillars02", "voxelnet_mini", "pillars_mini"]

    @property
    def is_pillars(self) -> bool:
        return self.preset.startswith("pillars")
