"""Cameras to a bird's-eye-view map: image network, view transform, 2D backbone and neck by the name of a preset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lidardistill.backbones.camera_bev.image_encoder import ImageEncoder
from lidardistill.backbones.camera_bev.image_stages import build_image_stages
from lidardistill.backbones.lidar_bev.bev_neck import BevBackbone, BevNeck
from lidardistill.ops.bev_grid import BevGrid
from lidardistill.ops.frustum import cells_in_view, frustum_cells
from lidardistill.ops.lift_splat import lift_splat
from lidardistill.spans import spanned

_SEEN_HEIGHTS = 4
"""Heights at which it is asked whether a camera looks into a cell."""


@dataclass(frozen=True)
class CameraBevSettings:
    """What a camera BEV network is made of.

    Attributes:
        image_network: kind of `build_image_stages`.
        image_channels: what the image neck makes of it.
        context_channels: C, features of a pixel that come to lie on the ground.
        depth_range: nearest and farthest depth, metres, camera z.
        depth_step: metres of a bin; samples lie in the middle of it.
        bev_range: (4,) x_min y_min x_max y_max of the map, metres, LiDAR frame.
        z_range: samples below or above are left out, metres, LiDAR frame.
        cell_size: of the map that features are splatted on, metres.
        widths: channels of the 2D backbone's stages.
        layers: convolutions of each behind the first.
        strides: of each.
        neck_widths: channels that the neck makes of each.
        up_strides: factor of the neck for each.
    """

    image_network: str
    image_channels: int
    context_channels: int
    depth_range: tuple[float, float]
    depth_step: float
    bev_range: tuple[float, float, float, float]
    z_range: tuple[float, float]
    cell_size: float
    widths: tuple[int, ...]
    layers: tuple[int, ...]
    strides: tuple[int, ...]
    neck_widths: tuple[int, ...]
    up_strides: tuple[float, ...]


_RANGE = (-51.2, -51.2, 51.2, 51.2)
_SWIN_T = CameraBevSettings(
    "swin_t",
    256,
    80,
    (1.0, 60.0),
    0.5,
    _RANGE,
    (-5.0, 3.0),
    0.4,
    (128, 256),
    (3, 5),
    (2, 2),
    (128, 128),
    (1, 2),
)

PRESETS: dict[str, CameraBevSettings] = {
    "swin_t": _SWIN_T,
    "resnet50": replace(_SWIN_T, image_network="resnet50"),
    "mini": CameraBevSettings(
        "efficientnet_lite0",
        64,
        32,
        (1.0, 60.0),
        1.0,
        _RANGE,
        (-5.0, 3.0),
        1.6,
        (32, 64),
        (2, 2),
        (1, 2),
        (32, 32),
        (1, 2),
    ),
}
"""Settings by name. Depths and the 80 channels of "swin_t" are those of BEVFusion (Liu et al., ICRA 2023) on nuScenes; its
map has 128 x 128 cells of 0.8 m, as "voxelnet01" and "pillars02" of `lidar_bev` have. "mini" is that of the CPU demo, with
64 x 64 cells of 1.6 m, as the two "mini" there."""


class CameraBev(nn.Module):
    """Images to a bird's-eye-view map.

    Args:
        settings: what it is made of.
        weights: of the image network, see `build_image_stages`.

    Attributes:
        out_channels: channels of the map.
        grid: its cells, LiDAR frame.

    Raises:
        ValueError: settings that do not fit each other.
        FileNotFoundError, ImportError: of the image network.

    Source: Lift, Splat, Shoot (Philion and Fidler, ECCV 2020), sections 3.1 to 3.3.
    Differs from the paper in: depths are sampled in the middle of their bins, not at the near end; a cell of the image
        network's map is taken to be where that network's padding puts it; behind the splat stands SECOND's backbone.
    """

    depth_m: Tensor

    def __init__(self, settings: CameraBevSettings, weights: str = "random") -> None:
        super().__init__()
        self.settings = settings
        near, far = settings.depth_range
        bins = (far - near) / settings.depth_step
        if not 0 < near < far or abs(bins - round(bins)) > 1e-4:
            raise ValueError(
                f"depth_range: expected a whole number of {settings.depth_step} m bins between rising depths above 0, "
                f"got {settings.depth_range}"
            )
        depth_m = near + settings.depth_step * (torch.arange(round(bins), dtype=torch.float64) + 0.5)
        self.register_buffer("depth_m", depth_m, persistent=False)
        stages = build_image_stages(settings.image_network, weights)
        self.encoder = ImageEncoder(stages, settings.image_channels)
        self.depth_net = nn.Conv2d(settings.image_channels, len(depth_m) + settings.context_channels, 1)
        self.splat_grid = BevGrid.of_range(settings.bev_range, settings.cell_size)
        self.backbone = BevBackbone(
            settings.context_channels, settings.widths, settings.layers, settings.strides
        )
        self.neck = BevNeck(settings.widths, settings.neck_widths, settings.up_strides)
        self.out_channels = self.neck.out_channels
        self.grid = BevGrid.of_range(
            settings.bev_range, settings.cell_size * settings.strides[0] / settings.up_strides[0]
        )

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
            view_mask: (V,) bool, False for views that are missing or broken: neither their pixels nor their matrices
                reach the map.

        Returns:
            bev: (B, out_channels, H = y, W = x) of `grid`.
            seen: (B, H, W) bool, cells that a camera looks into.

        Raises:
            ValueError: no images, or shapes that do not fit.
        """
        if view_mask is not None:
            # where, not a product: what is masked may be NaN.
            images = torch.where(view_mask[:, None, None, None], images, 0.0)
        splat = self.splat(images, lidar2img, view_sample, batch_size, view_mask)
        low, high = self.settings.z_range
        step = (high - low) / _SEEN_HEIGHTS
        heights_m = low + step * (torch.arange(_SEEN_HEIGHTS, dtype=torch.float64) + 0.5)
        seen = cells_in_view(
            lidar2img,
            view_sample,
            (images.shape[2], images.shape[3]),
            self.settings.depth_range,
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
        """The view transform alone: (B, context_channels, H', W') of `splat_grid`, float32; arguments as `forward`."""
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
            self.settings.z_range,
            view_mask=view_mask,
        )
        grid = self.splat_grid
        bev = lift_splat(depth, context, places, batch_size * grid.num_cells)
        return bev.view(batch_size, grid.height, grid.width, -1).permute(0, 3, 1, 2)


def build_camera_bev(preset: str, weights: str = "random", **overrides: Any) -> CameraBev:
    """A `CameraBev` by the name of its preset.

    Args:
        preset: key of `PRESETS`.
        weights: of the image network.
        overrides: fields of `CameraBevSettings` that replace the preset's.

    Raises:
        ValueError: unknown preset, or weights that do not fit it.
        FileNotFoundError, ImportError: of the image network.
    """
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}: expected one of {', '.join(PRESETS)}")
    return CameraBev(replace(PRESETS[preset], **overrides), weights)
