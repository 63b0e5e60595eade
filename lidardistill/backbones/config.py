"""Base config of the LiDAR backbones."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from lidardistill.config.base import Strict
from lidardistill.data.config import VoxelConfig

if TYPE_CHECKING:
    from lidardistill.backbones.base import Backbone
    from lidardistill.data.voxel_input import ScanInput


class BackboneConfig(Strict):
    """Base of the config of a LiDAR backbone.

    Attributes:
        kind: name of the room in `backbones/`, declared by each subclass as a literal.
        makes: "points" for features of voxels or points, "map" for a bird's-eye-view map.
    """

    makes: ClassVar[Literal["points", "map"]]

    def check(self, voxels: VoxelConfig) -> None:
        """Refuse, with a ValueError that begins with the key, voxels that this backbone cannot read."""

    def scan_input(self, voxels: VoxelConfig) -> ScanInput:
        """How a worker process turns the points of a scan into the backbone's input; picklable."""
        raise NotImplementedError

    def build(self, voxels: VoxelConfig) -> Backbone:
        """A backbone with freshly drawn weights, out of torch's global generator.

        Raises:
            ValueError: `voxels` do not suit it.
        """
        raise NotImplementedError
