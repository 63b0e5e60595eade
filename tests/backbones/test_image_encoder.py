"""Stages of an image network become one map; coarse ones are read where the cells of the finest are."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lidardistill.backbones.camera_bev.image_encoder import ImageEncoder, interpolation


class Ramps(nn.Module):
    """Two stages that say on which row and column of the image each of their cells is centred."""

    out_channels = (2, 2)
    strides = (4, 8)

    def __init__(self, first: tuple[float, float]) -> None:
        super().__init__()
        self.first = first

    def first_px(self, height: int, width: int) -> list[tuple[float, float]]:
        return [(px, px + 1.0) for px in self.first]

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        for stride, (row, column) in zip(self.strides, self.first_px(*images.shape[2:]), strict=True):
            rows = row + stride * torch.arange(images.shape[2] // stride)
            columns = column + stride * torch.arange(images.shape[3] // stride)
            maps.append(torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None].float())
        return maps


@pytest.mark.parametrize("first", [(0.0, 0.0), (1.5, 3.5), (3.0, 7.0)])  # ResNet's, a patch's, EfficientNet's
def test_coarse_maps_are_read_where_the_fine_cells_are(first: tuple[float, float]) -> None:
    encoder = ImageEncoder(Ramps(first), 4)
    encoder.neck = nn.Identity()
    found = encoder(torch.zeros(1, 3, 32, 48))
    inner = found[:, :, 2:-2, 2:-2]  # at the border there is nothing to interpolate with
    torch.testing.assert_close(inner[:, :2], inner[:, 2:])
    rows, columns = encoder.cell_px((32, 48), found.shape[2:])
    assert torch.equal(found[0, 0, :, 0], rows.float())
    assert torch.equal(found[0, 1, 0], columns.float())


def test_with_patches_it_is_torchs_bilinear_upsampling() -> None:
    coarse = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    rows = interpolation(1.5 + 4 * torch.arange(10, dtype=torch.float64), 5, 8, 3.5)
    columns = interpolation(1.5 + 4 * torch.arange(14, dtype=torch.float64), 7, 8, 3.5)
    expected = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(rows @ coarse @ columns.T, expected)


def test_a_single_coarse_cell_is_everywhere() -> None:
    assert torch.equal(
        interpolation(torch.arange(5, dtype=torch.float64), 1, 8, 3.5), torch.ones(5, 1).double()
    )


@pytest.mark.parametrize(
    "images", [torch.zeros(0, 3, 32, 32), torch.zeros(1, 1, 32, 32), torch.zeros(1, 3, 8)]
)
def test_what_is_no_image_is_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected \(V, 3, H, W\)"):
        ImageEncoder(Ramps((0.0, 0.0)), 4)(images)
