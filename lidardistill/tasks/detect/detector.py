"""CenterPoint detector: LiDAR backbone, optional camera network and fuser, and center head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from lidardistill.backbones.base import Backbone
from lidardistill.backbones.camera_bev.net import CameraBev
from lidardistill.data.batch import VoxelBatch
from lidardistill.ops.bev_grid import BevGrid
from lidardistill.tasks.detect.bev_fusion import ConvFuser, on_grid
from lidardistill.tasks.detect.center.head import CenterHead, CenterMaps


class CameraBackbone(Protocol):
    """Interface of a camera network: images to a bird's-eye-view map."""

    out_channels: int
    grid: BevGrid

    def __call__(self, **cameras: Any) -> tuple[Tensor, Tensor | None]:
        """(B, out_channels, H, W) and (B, H, W) bool, cells that a camera sees, or None for all."""
        ...


class Detector(nn.Module):
    """Maps points, and images if it has a camera network, to the maps of every group of classes.

    Args:
        backbone: LiDAR network.
        head: head whose `in_channels` match the backbone's map, or the fuser's map.
        camera: camera network, see `CameraBackbone`; None for LiDAR alone.
        fuser: fuses both maps; required with `camera`, else None.

    Attributes:
        grid: cells of the maps.

    Raises:
        ValueError: one of `camera` and `fuser` without the other, or channels that do not fit.

    Source: CenterPoint (Yin et al., CVPR 2021); with cameras, BEVFusion (Liu et al., ICRA 2023) section 3.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: CenterHead,
        camera: CameraBev | None = None,
        fuser: ConvFuser | None = None,
    ) -> None:
        super().__init__()
        if (camera is None) != (fuser is None):
            raise ValueError("Detector: expected camera and fuser together, or neither")
        if camera is not None and fuser is not None:
            given = (backbone.out_channels, camera.out_channels)
            if (fuser.lidar_channels, fuser.camera_channels) != given:
                raise ValueError(
                    f"Detector: maps of {given[0]} and {given[1]} channels, and a fuser of "
                    f"{fuser.lidar_channels} and {fuser.camera_channels}"
                )
        self.backbone, self.camera, self.fuser, self.head = backbone, camera, fuser, head
        assert backbone.grid is not None, "the config admits backbones with maps only"
        self.grid = backbone.grid

    def bev(self, scans: VoxelBatch, cameras: Mapping[str, Any] | None = None) -> Tensor:
        """Input map of the head: (B, C, H = y, W = x).

        Args:
            scans: input of the LiDAR backbone.
            cameras: arguments of the camera network.

        Raises:
            ValueError: only one of network and batch has cameras.
        """
        bev = self.backbone(scans).bev
        if (cameras is None) != (self.camera is None):
            raise ValueError(
                f"Detector: the network has {'no ' if self.camera is None else ''}cameras, and the batch has "
                f"{'none' if cameras is None else 'some'}"
            )
        if self.camera is None or self.fuser is None or cameras is None:
            return bev
        seen, mask = self.camera(**cameras)
        seen, mask = on_grid(seen, self.camera.grid, self.grid, mask)
        return self.fuser(bev, seen, mask)

    def forward(self, scans: VoxelBatch, cameras: Mapping[str, Any] | None = None) -> list[CenterMaps]:
        """The maps of each group of classes; arguments as `bev`."""
        return self.head(self.bev(scans, cameras))
