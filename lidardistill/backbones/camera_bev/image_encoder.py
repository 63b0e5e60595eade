"""Image encoder: resamples the maps of all stages to the cells of the finest, and fuses them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lidardistill.backbones.camera_bev.image_stages import ImageStages
from lidardistill.spans import spanned


class ImageEncoder(nn.Module):
    """An image network and a neck over its stages.

    Coarse maps are interpolated at the centres of the finest map's cells, by two small matrix products. Their
    gradient is summed in the same order on every device; torch's bilinear upsampling has no fixed order on a
    GPU.

    Args:
        stages: the network; a module.
        out_channels: C.

    Attributes:
        out_channels: C.
        stride: pixels a cell.

    Source: the "Up" block of Lift, Splat, Shoot (Philion and Fidler, ECCV 2020): concatenation, then two 3x3
        convolutions.
    Differs from the paper in: any number of stages; their cells may have different centres.
    """

    def __init__(self, stages: ImageStages, out_channels: int) -> None:
        super().__init__()
        self.stages = stages
        self.out_channels, self.stride = out_channels, stages.strides[0]
        width, parts = sum(stages.out_channels), []
        for _ in range(2):
            conv = nn.Conv2d(width, out_channels, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            parts += [conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
            width = out_channels
        self.neck = nn.Sequential(*parts)

    @spanned("image encoder")
    def forward(self, images: Tensor) -> Tensor:
        """
        Args:
            images: (V, 3, H, W) floating RGB in 0..1.

        Returns:
            (V, C, h, w).

        Raises:
            ValueError: not floating images with three channels, or none.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point() or len(images) == 0:
            raise ValueError(
                f"images: expected (V, 3, H, W) floating RGB in 0..1 of one view at least, got "
                f"{tuple(images.shape)} {images.dtype}"
            )
        maps = self.stages(images)
        first, fine = self.stages.first_px(*images.shape[2:]), maps[0]
        brought = [fine]
        for stage in range(1, len(maps)):
            coarse = maps[stage]
            rows, columns = (
                interpolation(
                    self.stage_px(fine.shape[2 + axis], 0, first[0][axis]),
                    coarse.shape[2 + axis],
                    self.stages.strides[stage],
                    first[stage][axis],
                ).to(coarse)
                for axis in (0, 1)
            )
            brought.append(rows @ coarse @ columns.T)
        return self.neck(torch.cat(brought, dim=1))

    def stage_px(self, cells: int, stage: int, first: float) -> Tensor:
        """(cells,) float64 pixels on which the cells of a stage are centred along one axis."""
        return first + self.stages.strides[stage] * torch.arange(cells, dtype=torch.float64)

    def cell_px(self, image_size: Sequence[int], cells: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Centres of the map's cells in the image.

        Args:
            image_size: H, W of the images.
            cells: h, w of the map.

        Returns:
            (h,) float64 image rows and (w,) float64 image columns; pixel (r, c) is centred at (r, c).
        """
        row, column = self.stages.first_px(*image_size)[0]
        return self.stage_px(cells[0], 0, row), self.stage_px(cells[1], 0, column)


def interpolation(place_px: Tensor, cells: int, stride: int, first_px: float) -> Tensor:
    """(n, cells) float64 weights of linear interpolation between cells; beyond the outer centres, the outer
    cell.

    Args:
        place_px: (n,) float64 where to read.
        cells: how many there are.
        stride: pixels from one to the next.
        first_px: pixel on which the first is centred.
    """
    position = ((place_px - first_px) / stride).clamp(0, cells - 1)
    return (1 - (position[:, None] - torch.arange(cells, dtype=place_px.dtype)).abs()).clamp(min=0)
