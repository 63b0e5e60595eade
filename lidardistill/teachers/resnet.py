"""ResNet-50 as an image encoder, in SLidR's dilated form or plain, and the loader of its checkpoints.

The names of parameters are torchvision's, which every published checkpoint uses; torchvision itself is not
needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lidardistill.weights import LoadReport, load_checkpoint_tensors, load_matching

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

CHECKPOINT_PREFIXES: tuple[tuple[str, str], ...] = (
    ("MoCo v1 and v2", "state_dict.module.encoder_q."),
    ("DINO, full checkpoint", "teacher.backbone."),
    ("DINO, full checkpoint of several GPUs", "teacher.module.backbone."),
    ("SwAV and DeepCluster v2, inside state_dict", "state_dict.module."),
    ("SwAV and DeepCluster v2", "module."),
    ("OBoW of several GPUs", "network.module."),
    ("OBoW", "network."),
    ("a state dict inside state_dict", "state_dict."),
    ("torchvision or DINO, backbone alone", ""),
)
"""Prefixes of the backbone in published checkpoints; the first row with prefix + `conv1.weight` is used."""

NOT_BACKBONE = ("fc.", "projection_head.", "prototypes", "head.")
"""Beginnings of the names of heads under the backbone's prefix; they are left out."""


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with a shortcut; the 3x3 carries stride and dilation."""

    def __init__(self, inplanes: int, planes: int, stride: int, dilation: int) -> None:
        super().__init__()
        width = 4 * planes
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inplanes != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inplanes, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class ResNet50(nn.Module):
    """ResNet-50 without pooling and classifier; images are normalised with ImageNet's mean and deviation
    inside.

    Args:
        dilated: keep stride 4 after the first stage and dilate instead (2, 4, 8); otherwise stride 32.

    Attributes:
        out_channels: 2048.
        stride: 4 or 32.

    Source: SLidR (Sautier et al., CVPR 2022) section 3.3, "dilation" decoder; plain as in PPKT.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dilated: bool = True) -> None:
        super().__init__()
        self.out_channels, self.stride = 2048, 4 if dilated else 32
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inplanes, dilation = 64, 1
        for i, (planes, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=1):
            stride, first_dilation = 1 if i == 1 else 2, dilation
            if dilated and i > 1:
                # The first block of a stage has the dilation of the stage before it.
                stride, dilation = 1, 2 * dilation
            layers = []
            for b in range(blocks):
                first = b == 0
                layers.append(
                    Bottleneck(
                        inplanes, planes, stride if first else 1, first_dilation if first else dilation
                    )
                )
                inplanes = 4 * planes
            setattr(self, f"layer{i}", nn.Sequential(*layers))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """
        Args:
            images: (V, 3, H, W) RGB in 0..1.

        Returns:
            (V, 2048, ceil(H / stride), ceil(W / stride)).
        """
        return self.stages(images)[-1]

    def stages(self, images: Tensor) -> list[Tensor]:
        """(V, 3, H, W) RGB in 0..1 to the maps behind each of the four stages: 256, 512, 1024 and 2048
        channels.
        """
        x = (images - self.mean) / self.std
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.max_pool2d(x, 3, 2, 1)
        maps = []
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
            maps.append(x)
        return maps


def backbone_prefix(state: Mapping[str, Tensor], name: str = "the checkpoint") -> str:
    """The row of `CHECKPOINT_PREFIXES` that a checkpoint follows.

    Raises:
        ValueError: the checkpoint follows no row.
    """
    for _, prefix in CHECKPOINT_PREFIXES:
        if f"{prefix}conv1.weight" in state:
            return prefix
    known = "; ".join(f"{kind}: {prefix}conv1.weight" for kind, prefix in CHECKPOINT_PREFIXES)
    raise ValueError(
        f"{name} holds no ResNet-50 known here: got names like {', '.join(list(state)[:3])}; expected one "
        f"of {known}"
    )


def load_resnet(network: ResNet50, path: str | Path) -> LoadReport:
    """Fill a ResNet-50 from a published MoCo, SwAV, DINO, OBoW or torchvision checkpoint.

    Args:
        network: receives the weights; every one of its tensors must be found.
        path: checkpoint file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: unreadable, of another kind, or of another architecture; the message names the file.
    """
    state = load_checkpoint_tensors(path)
    prefix = backbone_prefix(state, str(path))

    def rename(key: str) -> str | None:
        if not key.startswith(prefix):
            return None
        key = key[len(prefix) :]
        return None if key.startswith(NOT_BACKBONE) else key

    found = looks_like({name: value for key, value in state.items() if (name := rename(key)) is not None})
    if found is not None:
        raise ValueError(
            f"{path} looks like {found}; expected ResNet-50 (3, 4, 6, 3 bottleneck blocks of width 64)"
        )
    return load_matching(network, state, rename, allow_extras=True, name=str(path))


_DEPTHS: dict[tuple[int, ...], str] = {
    (2, 2, 2, 2): "ResNet-18",
    (3, 4, 6, 3): "ResNet-34",
    (3, 4, 23, 3): "ResNet-101",
    (3, 8, 36, 3): "ResNet-152",
}


def looks_like(state: Mapping[str, Tensor]) -> str | None:
    """Name of another network of the family that the state dict belongs to, None for a ResNet-50.

    Args:
        state: tensors under torchvision's names.
    """
    counts = tuple(
        len({key.split(".")[1] for key in state if key.startswith(f"layer{stage}.")}) for stage in range(1, 5)
    )
    conv = state.get("layer1.0.conv2.weight")
    if conv is None or conv.ndim != 4:
        return None  # the message of `load_matching` names what is missing
    bottleneck = "layer1.0.conv3.weight" in state
    width, groups = conv.shape[0], conv.shape[0] // max(1, conv.shape[1])
    shown = f"{', '.join(map(str, counts))} {'bottleneck' if bottleneck else 'basic'} blocks of width {width}"
    if not bottleneck:
        return f"{_DEPTHS.get(counts, 'another ResNet')} ({shown})"
    if groups > 1:
        return f"a ResNeXt ({shown} in {groups} groups)"
    if width != 64:
        return f"a wide ResNet ({shown})"
    return None if counts == (3, 4, 6, 3) else f"{_DEPTHS.get(counts, 'another ResNet')} ({shown})"
