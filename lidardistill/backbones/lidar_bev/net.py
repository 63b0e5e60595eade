"""LiDAR backbones that give a bird's-eye-view map: encoder, 2D backbone and neck by the name of a preset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

from lidardistill.backbones.base import Backbone, MapFeatures
from lidardistill.backbones.lidar_bev.bev_neck import BevBackbone, BevNeck
from lidardistill.backbones.lidar_bev.pillars import PillarNet
from lidardistill.backbones.lidar_bev.voxelnet import VoxelNet
from lidardistill.data.batch import VoxelBatch
from lidardistill.ops.bev_grid import BevGrid


@dataclass(frozen=True)
class LidarBevSettings:
    """What a LiDAR BEV backbone is made of.

    Attributes:
        encoder: "voxelnet" or "pillars".
        voxel_size: (3,) x, y, z metres; voxels are counted from the range's minimum, align 1.
        point_cloud_range: (6,) x_min y_min z_min x_max y_max z_max, metres.
        encoder_options: arguments of `VoxelNet` but for `grid`, or of `PillarNet`.
        widths: channels of the 2D backbone's stages.
        layers: convolutions of each behind the first.
        strides: of each.
        neck_widths: channels that the neck makes of each.
        up_strides: factor of the neck for each.
    """

    encoder: Literal["voxelnet", "pillars"]
    voxel_size: tuple[float, float, float]
    point_cloud_range: tuple[float, float, float, float, float, float]
    encoder_options: dict[str, Any]
    widths: tuple[int, ...]
    layers: tuple[int, ...]
    strides: tuple[int, ...]
    neck_widths: tuple[int, ...]
    up_strides: tuple[float, ...]


_RANGE = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)
_VOXELNET01 = LidarBevSettings(
    "voxelnet", (0.1, 0.1, 0.2), _RANGE, {}, (128, 256), (5, 5), (1, 2), (256, 256), (1, 2)
)
_PILLARS02 = LidarBevSettings(
    "pillars",
    (0.2, 0.2, 8.0),
    _RANGE,
    {},
    (64, 128, 256),
    (3, 5, 5),
    (2, 2, 2),
    (128, 128, 128),
    (0.5, 1, 2),
)

PRESETS: dict[str, LidarBevSettings] = {
    "voxelnet01": _VOXELNET01,
    "voxelnet0075": replace(
        _VOXELNET01, voxel_size=(0.075, 0.075, 0.2), point_cloud_range=(-54.0, -54.0, -5.0, 54.0, 54.0, 3.0)
    ),
    "second01": replace(_VOXELNET01, encoder_options={"widths": (16, 32, 64, 64), "block": "plain"}),
    "voxelnet_mini": LidarBevSettings(
        "voxelnet",
        (0.2, 0.2, 0.2),
        _RANGE,
        {"widths": (8, 16, 32, 32), "out_channels": 32},
        (32, 64),
        (2, 2),
        (1, 2),
        (32, 32),
        (1, 2),
    ),
    "pillars02": _PILLARS02,
    "pillars_mini": LidarBevSettings(
        "pillars",
        (0.4, 0.4, 8.0),
        _RANGE,
        {"out_channels": 16},
        (16, 32, 64),
        (1, 2, 2),
        (2, 2, 2),
        (32, 32, 32),
        (0.5, 1, 2),
    ),
}
"""Settings by name. "voxelnet01", "voxelnet0075" and "pillars02" are CenterPoint's on nuScenes in mmdet3d 1.4;
"second01" has VoxelBackBone8x for its encoder; the two "mini" are those of the CPU demo, with maps of 64 x 64 cells."""


class LidarBev(Backbone):
    """Points to a bird's-eye-view map: encoder, then 2D backbone, then neck.

    Args:
        in_channels: F features of a voxel (VoxelNet), or of a point with x, y, z first (pillars).
        settings: what it is made of.

    Attributes:
        out_channels: channels of the map.
        in_channels: F.
        bev_shape: cells H = y and W = x of the map.
        grid: its cells, square; they fill the range.

    Raises:
        ValueError: settings that do not fit each other.
    """

    grid: BevGrid

    def __init__(self, in_channels: int, settings: LidarBevSettings) -> None:
        super().__init__()
        self.settings = settings
        low, high = settings.point_cloud_range[:3], settings.point_cloud_range[3:]
        self.encoder: VoxelNet | PillarNet
        if settings.encoder == "pillars":
            self.encoder = PillarNet(
                in_channels, settings.voxel_size, settings.point_cloud_range, **settings.encoder_options
            )
        elif settings.encoder == "voxelnet":
            cells = [(b - a) / s for a, b, s in zip(low, high, settings.voxel_size, strict=True)]
            if any(abs(n - round(n)) > 1e-4 or n < 0.5 for n in cells):
                raise ValueError(
                    f"point_cloud_range {settings.point_cloud_range} is no whole number of voxels of "
                    f"{settings.voxel_size} m"
                )
            x, y, z = (round(n) for n in cells)
            # One more in z than the range holds: SECOND's own habit, which every released weight has seen.
            self.encoder = VoxelNet(in_channels, (z + 1, y, x), **settings.encoder_options)
        else:
            raise ValueError(f"encoder: expected voxelnet or pillars, got {settings.encoder!r}")
        self.backbone = BevBackbone(
            self.encoder.out_channels, settings.widths, settings.layers, settings.strides
        )
        self.neck = BevNeck(settings.widths, settings.neck_widths, settings.up_strides)
        self.in_channels, self.out_channels = in_channels, self.neck.out_channels
        stride = settings.strides[0] / settings.up_strides[0]
        height, width = self.encoder.bev_shape
        self.bev_shape = (int(height / stride), int(width / stride))
        cell_size = (high[0] - low[0]) / self.bev_shape[1], (high[1] - low[1]) / self.bev_shape[0]
        if abs(cell_size[0] - cell_size[1]) > 1e-4:
            raise ValueError(
                f"cells of the map must be square, got {cell_size[0]:g} x {cell_size[1]:g} m: give voxel_size the same "
                "x and y"
            )
        self.grid = BevGrid(low[0], low[1], cell_size[0], *self.bev_shape)

    @property
    def reads_points(self) -> bool:
        """Whether the input is `point_features` (pillars) instead of the `features` of voxels (VoxelNet)."""
        return isinstance(self.encoder, PillarNet)

    def forward(self, scans: VoxelBatch) -> MapFeatures:
        """Features of a batch of scans.

        Raises:
            ValueError: pillars, and `scans.point_features` is None.
        """
        stride = self.encoder.stride
        voxels_yx = (self.encoder.bev_shape[0] * stride, self.encoder.bev_shape[1] * stride)
        return MapFeatures(self.neck(self.backbone(self._encode(scans))), self.grid, scans, voxels_yx)

    def _encode(self, scans: VoxelBatch) -> Tensor:
        """(B, C, H, W) map of the encoder, at its own stride."""
        if isinstance(self.encoder, VoxelNet):
            return self.encoder(scans.features, scans.voxel_coords, scans.batch_size)
        if scans.point_features is None:
            raise ValueError(
                "point_features: pillars read the features of points, and this batch carries none; read the scans with "
                "the `scan_input` of the student's config"
            )
        return self.encoder(
            scans.point_features, scans.point2voxel, scans.point_mask, scans.voxel_coords, scans.batch_size
        )


def build_lidar_bev(preset: str, in_channels: int, **overrides: Any) -> LidarBev:
    """A `LidarBev` by the name of its preset.

    Args:
        preset: key of `PRESETS`.
        in_channels: F features of a voxel or point.
        overrides: fields of `LidarBevSettings` that replace the preset's.

    Raises:
        ValueError: unknown preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}: expected one of {', '.join(PRESETS)}")
    return LidarBev(in_channels, replace(PRESETS[preset], **overrides))
