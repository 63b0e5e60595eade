"""LiDAR backbones that make a bird's-eye-view map: encoder, 2D backbone and neck."""

from __future__ import annotations

from torch import Tensor

from lidardistill.backbones.base import Backbone, MapFeatures
from lidardistill.backbones.lidar_bev.bev_neck import BevBackbone, BevNeck
from lidardistill.backbones.lidar_bev.config import PRESETS, LidarBevConfig, LidarBevLayers
from lidardistill.backbones.lidar_bev.pillars import PillarNet
from lidardistill.backbones.lidar_bev.voxelnet import VoxelNet
from lidardistill.data.batch import VoxelBatch
from lidardistill.data.config import VoxelConfig
from lidardistill.ops.bev_grid import BevGrid


class LidarBev(Backbone):
    """Points to a bird's-eye-view map: encoder, then 2D backbone, then neck.

    Args:
        config: preset.
        voxels: size of a voxel or pillar, range, and features of a voxel (VoxelNet) or of a point (pillars).
        layers: other layers than the preset's.

    Attributes:
        out_channels: channels of the map.
        in_channels: F, features of a voxel or point.
        bev_shape: cells H = y and W = x of the map.
        grid: its cells, square; they fill the range.

    Raises:
        ValueError: voxels without a range or that do not fill it, or layers that do not fit each other.
    """

    grid: BevGrid

    def __init__(
        self, config: LidarBevConfig, voxels: VoxelConfig, layers: LidarBevLayers | None = None
    ) -> None:
        super().__init__()
        config.check(voxels)
        assert voxels.point_cloud_range is not None
        layers = PRESETS[config.preset] if layers is None else layers
        self.voxels, self.layers = voxels, layers
        self.in_channels = len(voxels.point_features)
        low, high = voxels.point_cloud_range[:3], voxels.point_cloud_range[3:]
        self.encoder: VoxelNet | PillarNet
        if layers.encoder == "pillars":
            self.encoder = PillarNet(
                self.in_channels, voxels.voxel_size, voxels.point_cloud_range, **layers.encoder_options
            )
        else:
            cells = [(b - a) / s for a, b, s in zip(low, high, voxels.voxel_size, strict=True)]
            x, y, z = (round(n) for n in cells)
            # One more cell in z than the range holds, as in SECOND; all released weights were trained so.
            self.encoder = VoxelNet(self.in_channels, (z + 1, y, x), **layers.encoder_options)
        self.backbone = BevBackbone(self.encoder.out_channels, layers.widths, layers.layers, layers.strides)
        self.neck = BevNeck(layers.widths, layers.neck_widths, layers.up_strides)
        self.out_channels = self.neck.out_channels
        stride = layers.strides[0] / layers.up_strides[0]
        height, width = self.encoder.bev_shape
        self.bev_shape = (int(height / stride), int(width / stride))
        cell_size = (high[0] - low[0]) / self.bev_shape[1], (high[1] - low[1]) / self.bev_shape[0]
        if abs(cell_size[0] - cell_size[1]) > 1e-4:
            raise ValueError(
                f"cells of the map must be square, got {cell_size[0]:g} x {cell_size[1]:g} m: give "
                f"voxel_size the same x and y"
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
                "point_features: pillars read the features of points, and this batch carries none; read the "
                "scans with the `scan_input` of the student's config"
            )
        return self.encoder(
            scans.point_features, scans.point2voxel, scans.point_mask, scans.voxel_coords, scans.batch_size
        )
