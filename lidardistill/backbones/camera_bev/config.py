"""Config of the camera network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveFloat, PositiveInt

from lidardistill.config.base import Strict
from lidardistill.config.lazy import class_at

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class CameraBevLayers:
    """Layers of a network.

    Attributes:
        image_network: kind of `build_image_stages`.
        image_channels: channels behind the image neck.
        widths: channels of the 2D backbone's stages.
        layers: convolutions of each stage behind the first.
        strides: of each stage's first convolution.
        neck_widths: output channels of the neck for each stage.
        up_strides: factor of the neck for each stage.
    """

    image_network: str
    image_channels: int
    widths: tuple[int, ...]
    layers: tuple[int, ...]
    strides: tuple[int, ...]
    neck_widths: tuple[int, ...]
    up_strides: tuple[float, ...]


_SWIN_T = CameraBevLayers("swin_t", 256, (128, 256), (3, 5), (2, 2), (128, 128), (1, 2))

PRESETS = {
    "swin_t": _SWIN_T,
    "resnet50": replace(_SWIN_T, image_network="resnet50"),
    "mini": CameraBevLayers("efficientnet_lite0", 64, (32, 64), (2, 2), (1, 2), (32, 32), (1, 2)),
}
"""Layers by preset. "mini" is the network of the CPU demo."""

_KEYS: dict[str, dict[str, Any]] = {
    "swin_t": {"depth_step": 0.5, "cell_size": 0.4, "context_channels": 80},
    "resnet50": {"depth_step": 0.5, "cell_size": 0.4, "context_channels": 80},
    "mini": {"depth_step": 1.0, "cell_size": 1.6, "context_channels": 32},
}
_SHARED: dict[str, Any] = {
    "bev_range": (-51.2, -51.2, 51.2, 51.2),
    "depth_range": (1.0, 60.0),
    "z_range": (-5.0, 3.0),
}
"""Preset values, used for keys that are null. Depths and the 80 channels of swin_t are those of BEVFusion
(Liu et al., ICRA 2023) on nuScenes; its map has the 128 x 128 cells of 0.8 m of voxelnet01 and pillars02,
that of mini the 64 x 64 cells of 1.6 m of voxelnet_mini and pillars_mini."""


class CameraBevConfig(Strict):
    """A network from camera images to a bird's-eye-view map. Null keys take the preset's values.

    Attributes:
        preset: mini (EfficientNet-lite0, 64 x 64 cells of 1.6 m), resnet50 or swin_t (128 x 128 cells of 0.8
            m, depths of half a metre). swin_t needs the package transformers.
        weights: of the image network: random; imagenet for mini, the supervised weights of the demo's
            teacher; a checkpoint or a folder of transformers for resnet50, such a folder for swin_t. Nothing
            is downloaded.
        bev_range: x_min y_min x_max y_max of the map, metres, LiDAR frame; it must cover that of the LiDAR
            network.
        cell_size: of the map that features are splatted on, metres.
        depth_range: nearest and farthest depth of a pixel, metres, camera z.
        depth_step: metres of a bin of depths; samples lie in its middle.
        z_range: lowest and highest sample, metres, LiDAR frame.
        context_channels: features of a pixel that are splatted.
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

    def value(self, key: str) -> Any:
        """The value of a key, or the preset's if it is null."""
        given = getattr(self, key)
        return {**_SHARED, **_KEYS[self.preset]}[key] if given is None else given

    def build(self) -> Any:
        """The network with random weights; the image network has those of the key `weights`.

        Raises:
            ValueError: keys that do not fit each other, or weights that do not fit the preset.
            FileNotFoundError, ImportError: of the image network.
        """
        return class_at("lidardistill.backbones.camera_bev.net:CameraBev")(self)
