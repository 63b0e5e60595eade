"""DINOv2 and DINOv3 vision transformers from a local folder, through the optional package transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lidardistill.teachers.resnet import IMAGENET_MEAN, IMAGENET_STD
from lidardistill.teachers.transformers_folder import load_folder

CLASSES = {
    "dinov2": {"dinov2": "Dinov2Model", "dinov2_with_registers": "Dinov2WithRegistersModel"},
    "dinov3": {"dinov3_vit": "DINOv3ViTModel"},
}
"""transformers' class by teacher kind and by `model_type` in the folder's config.json."""


class VisionTransformer(nn.Module):
    """Patch tokens of a transformer as a map; CLS and register tokens are dropped.

    An image is resized (bilinear, corners aligned) to the nearest multiple of the patch, never padded, so that the
    map spans the whole image.

    Args:
        model: called with `pixel_values=`; its output has `last_hidden_state` (V, prefix + h * w, C) with the patches
            last, and its `config` has `patch_size` and `hidden_size`.

    Attributes:
        out_channels: C.
        stride: the patch.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        config: Any = model.config
        self.out_channels, self.stride = int(config.hidden_size), int(config.patch_size)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(V, 3, H, W) RGB in 0..1 to (V, C, round(H / patch), round(W / patch))."""
        h, w = (max(1, round(side / self.stride)) for side in images.shape[-2:])
        x = (images - self.mean) / self.std
        if (h * self.stride, w * self.stride) != tuple(x.shape[-2:]):
            x = F.interpolate(x, (h * self.stride, w * self.stride), mode="bilinear", align_corners=True)
        tokens = self.model(pixel_values=x).last_hidden_state[:, -h * w :]
        return tokens.transpose(1, 2).reshape(len(images), self.out_channels, h, w)


def load_vit(kind: str, folder: str | Path) -> VisionTransformer:
    """Load a transformer from a folder as `save_pretrained` writes it; nothing is downloaded.

    Args:
        kind: "dinov2" or "dinov3".
        folder: holds config.json and model.safetensors.

    Raises:
        FileNotFoundError: the folder or one of the files is missing.
        ImportError: transformers is not installed.
        ValueError: the folder holds another kind of model, or weights that do not fit it.
    """
    return VisionTransformer(load_folder(kind, folder, CLASSES[kind]))
