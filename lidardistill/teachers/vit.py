"""DINOv2 and DINOv3 vision transformers from a local folder, through the optional package transformers."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lidardistill.packages import missing_package
from lidardistill.teachers.resnet import IMAGENET_MEAN, IMAGENET_STD

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
    """Loads a transformer from a folder as `save_pretrained` writes it; nothing is downloaded.

    Args:
        kind: "dinov2" or "dinov3".
        folder: holds config.json and model.safetensors.

    Raises:
        FileNotFoundError: the folder or one of the files is missing.
        ImportError: transformers is not installed.
        ValueError: the folder holds another kind of model, or weights that do not fill it.
    """
    folder = Path(folder)
    config = folder / "config.json"
    if not config.is_file() or not any(folder.glob("*.safetensors")):
        raise FileNotFoundError(
            f"{kind}: expected a folder with config.json and model.safetensors at {folder}; get it once with "
            "`hf download` on a machine with network and name the local folder as weights"
        )
    try:
        found = json.loads(config.read_text()).get("model_type")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{config} is no JSON object: {error}") from error
    if found not in CLASSES[kind]:
        raise ValueError(
            f"{config}: model_type is {found!r}, {kind} expects one of {', '.join(CLASSES[kind])}"
        )
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise missing_package("transformers", f"the teacher {kind}", error) from error
    loader = getattr(transformers, CLASSES[kind][found])
    try:
        model, info = loader.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{folder} cannot be loaded as {kind}: {error}") from error
    missing = list(info["missing_keys"]) + [str(key) for key in info["mismatched_keys"]]
    if missing:
        # transformers would draw these at random and only warn.
        raise ValueError(f"{folder}: {len(missing)} weights are missing or misshapen, such as {missing[0]}")
    return VisionTransformer(model.float())
