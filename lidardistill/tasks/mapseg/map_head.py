"""BEVFusion's head for map segmentation: resampling to the mask grid, convolutions, one logit per class."""

from __future__ import annotations

from torch import Tensor, nn

from lidardistill.ops.bev_grid import BevGrid
from lidardistill.ops.bev_resample import bev_resample, resample_weights


class MapHead(nn.Module):
    """Resamples a bird's-eye-view map, then 3x3, 3x3 and 1x1 convolutions.

    Args:
        in_channels: channels of the map and of both hidden layers.
        num_classes: K.
        source: grid of the map.
        target: grid of the masks.

    Raises:
        ValueError: a number below one.

    Source: BEVFusion (Liu et al., ICRA 2023), section 3.4 and the released BEVSegmentationHead.
    """

    def __init__(self, in_channels: int, num_classes: int, source: BevGrid, target: BevGrid) -> None:
        super().__init__()
        if min(in_channels, num_classes) < 1:
            raise ValueError(
                f"MapHead: expected positive in_channels and num_classes, got {in_channels}, {num_classes}"
            )
        rows, columns = resample_weights(source, target)
        self.rows: Tensor
        self.columns: Tensor
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)
        layers: list[nn.Module] = []
        for _ in range(2):
            conv = nn.Conv2d(in_channels, in_channels, 3, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(in_channels), nn.ReLU(inplace=True)]
        self.classifier = nn.Sequential(*layers, nn.Conv2d(in_channels, num_classes, 1))

    def forward(self, bev: Tensor) -> Tensor:
        """(B, in_channels, H, W) of `source` to logits (B, num_classes, H', W') of `target`."""
        return self.classifier(bev_resample(bev, self.rows, self.columns))
