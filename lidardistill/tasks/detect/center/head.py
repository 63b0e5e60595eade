"""CenterPoint's head: a heatmap of centres and a box at every cell, for each group of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

TASKS: tuple[tuple[str, ...], ...] = (
    ("car",),
    ("truck", "construction_vehicle"),
    ("bus", "trailer"),
    ("barrier",),
    ("motorcycle", "bicycle"),
    ("pedestrian", "traffic_cone"),
)
"""Groups of nuScenes' ten classes; CenterPoint's configuration has one head per group."""

BRANCHES: dict[str, int] = {"offset": 2, "height": 1, "size": 3, "rotation": 2, "velocity": 2}
"""Channels of a box, in the order of `CenterMaps.values`."""

NUM_VALUES = sum(BRANCHES.values())
HEATMAP_BIAS = -2.19
"""Initial bias, the logit of 0.1: an untrained head rarely predicts objects (Focal Loss, Lin et al.,
section 3.3).
"""


class CenterMaps(NamedTuple):
    """Output of the head for one group of classes.

    Attributes:
        heatmap: (B, K, H = y, W = x) logits of a centre of each of the K classes.
        values: (B, 10, H, W) the box centred in the cell: offset x, y of the centre from the cell's lower
            corner, cells; z of its centre, metres; log of length, width, height, metres; sine and cosine of
            the yaw; velocity x, y, metres a second. LiDAR frame.
    """

    heatmap: Tensor
    values: Tensor


class CenterHead(nn.Module):
    """Shared 3x3 convolution, then for each task six branches of two 3x3 convolutions.

    Args:
        in_channels: channels of the map.
        num_classes: number of classes of each task.
        width: channels of the shared convolution and of the branches' hidden layer.

    Raises:
        ValueError: a number below one.

    Source: CenterPoint (Yin et al., CVPR 2021) section 4.1; widths and initial bias of its nuScenes
        configuration.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: Sequence[int] = tuple(map(len, TASKS)),
        width: int = 64,
    ) -> None:
        super().__init__()
        if not num_classes or min(*num_classes, in_channels, width) < 1:
            raise ValueError(
                f"CenterHead: expected positive in_channels, num_classes and width, got {in_channels}, "
                f"{tuple(num_classes)}, {width}"
            )
        self.shared = nn.Sequential(*_conv_norm_relu(in_channels, width))
        self.tasks = nn.ModuleList()
        for count in num_classes:
            task = nn.ModuleDict()
            for name, channels in {**BRANCHES, "heatmap": count}.items():
                last = nn.Conv2d(width, channels, 3, padding=1)
                task[name] = nn.Sequential(*_conv_norm_relu(width, width), last)
                if name == "heatmap":
                    nn.init.constant_(last.bias, HEATMAP_BIAS)  # type: ignore[arg-type]
            self.tasks.append(task)

    def forward(self, bev: Tensor) -> list[CenterMaps]:
        """(B, in_channels, H, W) to the maps of each task."""
        bev = self.shared(bev)
        maps = []
        for task in self.tasks:
            assert isinstance(task, nn.ModuleDict)
            values = torch.cat([task[name](bev) for name in BRANCHES], dim=1)
            maps.append(CenterMaps(task["heatmap"](bev), values))
        return maps


def _conv_norm_relu(in_channels: int, out_channels: int) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return [conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
