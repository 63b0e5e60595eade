"""Cameras to a bird's-eye-view map: image network, view transform, 2D backbone and neck."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lidardistill.backbones.camera_bev.config import PRESETS, CameraBevConfig, CameraBevLayers
from lidardistill.backbones.camera_bev.image_encoder import ImageEncoder
from lidardistill.backbones.camera_bev.image_stages import build_image_stages
from lidardistill.backbones.lidar_bev.bev_neck import BevBackbone, BevNeck
from lidardistill.ops.bev_grid import BevGrid
from lidardistill.ops.frustum import cells_in_view, frustum_cells
from lidardistill.ops.lift_splat import lift_splat
from lidardistill.spans import spanned

_SEEN_HEIGHTS = 4
"""Heights of a cell at which the view of each camera is tested."""


class CameraBev(nn.Module):
    """Images to a bird's-eye-view map.

    Args:
        config: preset, weights of the image network, ranges.
        layers: other layers than the preset's.

    Attributes:
        out_channels: channels of the map.
        grid: its cells, LiDAR frame.

    Raises:
        ValueError: keys that do not fit each other.
        FileNotFoundError, ImportError: of the image network.

    Source: Lift, Splat, Shoot (Philion and Fidler, ECCV 2020), sections 3.1 to 3.3.
    Differs from the paper in: depths are sampled in the middle of their bins, not at the near end; the
        positions of the image network's cells follow its padding; SECOND's backbone follows the splat.
    """

    depth_m: Tensor

    def __init__(self, config: CameraBevConfig, layers: CameraBevLayers | None = None) -> None:
        super().__init__()
        layers = PRESETS[config.preset] if layers is None else layers
        self.depth_range: tuple[float, float] = config.value("depth_range")
        self.z_range: tuple[float, float] = config.value("z_range")
        depth_step, cell_size, bev_range = (config.value(k) for k in ("depth_step", "cell_size", "bev_range"))
        context_channels: int = config.value("context_channels")
        near, far = self.depth_range
        bins = (far - near) / depth_step
        if not 0 < near < far or abs(bins - round(bins)) > 1e-4:
            raise ValueError(
                f"depth_range: expected a whole number of {depth_step} m bins between rising depths above 0, "
                f"got {self.depth_range}"
            )
        depth_m = near + depth_step * (torch.arange(round(bins), dtype=torch.float64) + 0.5)
        self.register_buffer("depth_m", depth_m, persistent=False)
        stages = build_image_stages(layers.image_network, config.weights)
        self.encoder = ImageEncoder(stages, layers.image_channels)
        self.depth_net = nn.Conv2d(layers.image_channels, len(depth_m) + context_channels, 1)
        self.splat_grid = BevGrid.of_range(bev_range, cell_size)
        self.backbone = BevBackbone(context_channels, layers.widths, layers.layers, layers.strides)
        self.neck = BevNeck(layers.widths, layers.neck_widths, layers.up_strides)
        self.out_channels = self.neck.out_channels
        self.grid = BevGrid.of_range(bev_range, cell_size * layers.strides[0] / layers.up_strides[0])

    @spanned("backbone")
    def forward(
        self,
        images: Tensor,
        lidar2img: Tensor,
        view_sample: Tensor,
        batch_size: int,
        view_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The cameras of a batch to maps.

        Args:
            images: (V, 3, H, W) floating RGB in 0..1, cameras of all samples.
            lidar2img: (V, 4, 4) float64, LiDAR frame to homogeneous pixels of these images (`ops.frustum`).
            view_sample: (V,) int64 sample of each view, 0..B-1.
            batch_size: B.
            view_mask: (V,) bool, False for views that are missing or broken: neither their pixels nor their
                matrices reach the map.

        Returns:
            bev: (B, out_channels, H = y, W = x) of `grid`.
            seen: (B, H, W) bool, cells that a camera looks into.

        Raises:
            ValueError: no images, or shapes that do not fit.
        """
        if view_mask is not None:
            # torch.where, not a product: masked values may be NaN.
            images = torch.where(view_mask[:, None, None, None], images, 0.0)
        splat = self.splat(images, lidar2img, view_sample, batch_size, view_mask)
        low, high = self.z_range
        step = (high - low) / _SEEN_HEIGHTS
        heights_m = low + step * (torch.arange(_SEEN_HEIGHTS, dtype=torch.float64) + 0.5)
        seen = cells_in_view(
            lidar2img,
            view_sample,
            (images.shape[2], images.shape[3]),
            self.depth_range,
            self.grid,
            heights_m,
            batch_size,
            view_mask=view_mask,
        )
        return self.neck(self.backbone(splat)), seen

    def splat(
        self,
        images: Tensor,
        lidar2img: Tensor,
        view_sample: Tensor,
        batch_size: int,
        view_mask: Tensor | None = None,
    ) -> Tensor:
        """The view transform alone: (B, context_channels, H', W') of `splat_grid`, float32; arguments as
        `forward`.
        """
        features = self.encoder(images)
        num_depths = len(self.depth_m)
        rows = self.depth_net(features).permute(0, 2, 3, 1).flatten(0, 2)  # pixels by view, row, column
        depth, context = rows[:, :num_depths].float().softmax(1), rows[:, num_depths:]
        rows_px, columns_px = self.encoder.cell_px(images.shape[2:], features.shape[2:])
        places = frustum_cells(
            lidar2img,
            view_sample,
            rows_px.to(lidar2img.device),
            columns_px.to(lidar2img.device),
            self.depth_m,
            self.splat_grid,
            self.z_range,
            view_mask=view_mask,
        )
        grid = self.splat_grid
        bev = lift_splat(depth, context, places, batch_size * grid.num_cells)
        return bev.view(batch_size, grid.height, grid.width, -1).permute(0, 3, 1, 2)
