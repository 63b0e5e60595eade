"""The network that sees the cameras."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from lidardistill.config.base import Strict


class CameraBevConfig(Strict):
    """A network whose output is a bird's-eye-view map of what the cameras see. What is null is the preset's.

    preset: mini (EfficientNet-lite0, 64 x 64 cells of 1.6 m), resnet50 or swin_t (128 x 128 cells of 0.8 m, depths of
        half a metre); see `models.camera_bev`. swin_t needs the extra [teachers].
    weights: of the image network: random; imagenet for mini, the supervised weights that the demo's teacher has, too;
        a checkpoint or a folder of transformers for resnet50, such a folder for swin_t. Nothing is downloaded.
    bev_range: x_min y_min x_max y_max of the map, metres; it must cover that of the LiDAR network.
    cell_size: of the map that features are splatted on, metres.
    depth_range, depth_step: depths that a pixel may have, metres.
    z_range: heights, LiDAR frame, metres.
    context_channels: features of a pixel that come to lie on the ground.
    """

    kind: Literal["camera_bev"] = "camera_bev"
    preset: Literal["mini", "resnet50", "swin_t"] = "swin_t"
    weights: str = "random"
    bev_range: tuple[float, float, float, float] | None = None
    cell_size: PositiveFloat | None = None
    depth_range: tuple[PositiveFloat, PositiveFloat] | None = None
    depth_step: PositiveFloat | None = None
    z_range: tuple[float, float] | None = None
    context_channels: PositiveInt | None = None
