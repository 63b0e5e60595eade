"""The detector: backbone, fusion and head fit together, whatever the scene holds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lidardistill.data.batch import VoxelBatch
from lidardistill.ops.bev_grid import BevGrid
from lidardistill.tasks.detect.bev_fusion import ConvFuser
from lidardistill.tasks.detect.center.head import TASKS, CenterHead
from lidardistill.tasks.detect.detector import Detector
from tests.support.backbones import lidar_bev

RANGE = (-12.8, -12.8, -5.0, 12.8, 12.8, 3.0)


class Cameras(nn.Module):
    """A map that is given, on cells of 3.2 m."""

    def __init__(self) -> None:
        super().__init__()
        self.out_channels, self.grid = 3, BevGrid(-12.8, -12.8, 3.2, 8, 8)
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, bev, mask):
        return self.gain * bev, mask


def backbone():
    return lidar_bev("voxelnet_mini", 4, point_cloud_range=RANGE)


def voxels(num, batch_size=2):
    """A batch with `num` voxels in the first scan and none in the others."""
    generator = torch.Generator().manual_seed(0)
    coords = torch.stack(
        [torch.zeros(num), *(torch.randint(0, n, (num,), generator=generator) for n in (40, 128, 128))], 1
    )
    coords = coords.unique(dim=0).int()
    features = torch.randn(len(coords), 4, generator=generator)
    point2voxel = torch.arange(len(coords))
    mask = torch.ones(len(coords), dtype=torch.bool)
    return VoxelBatch(features, coords, (40, 128, 128), point2voxel, mask, batch_size)


def fused():
    net = backbone()
    return Detector(net, CenterHead(5, width=4), Cameras(), ConvFuser(net.out_channels, 3, 5))


@pytest.mark.parametrize("num", [300, 0])
def test_shapes_with_and_without_points(num):
    net = backbone()
    maps = Detector(net, CenterHead(net.out_channels, width=4))(voxels(num))
    assert [tuple(one.heatmap.shape) for one in maps] == [(2, len(task), 16, 16) for task in TASKS]
    assert all(one.values.isfinite().all() and one.heatmap.isfinite().all() for one in maps)


def test_what_no_camera_sees_does_not_matter():
    detector = fused().eval()
    bev, mask = torch.randn(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.bool)
    lidar = voxels(300)
    with torch.no_grad():
        blind = detector(lidar, {"bev": bev, "mask": mask})
        other = detector(lidar, {"bev": torch.full_like(bev, float("nan")), "mask": mask})
        seeing = detector(lidar, {"bev": bev, "mask": ~mask})
    assert all(torch.equal(a.heatmap, b.heatmap) for a, b in zip(blind, other, strict=True))
    assert not any(torch.equal(a.heatmap, b.heatmap) for a, b in zip(blind, seeing, strict=True))


def test_every_part_learns():
    detector = fused()
    cameras = {"bev": torch.randn(2, 3, 8, 8), "mask": torch.ones(2, 8, 8, dtype=torch.bool)}
    sum(m.heatmap.square().sum() + m.values.square().sum() for m in detector(voxels(300), cameras)).backward()
    still = [name for name, p in detector.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert not still


def test_parts_that_do_not_fit():
    net = backbone()
    with pytest.raises(ValueError, match="camera and fuser together"):
        Detector(net, CenterHead(5, width=4), Cameras())
    with pytest.raises(ValueError, match="maps of 64 and 3 channels, and a fuser of 64 and 2"):
        Detector(net, CenterHead(5, width=4), Cameras(), ConvFuser(64, 2, 5))
    with pytest.raises(ValueError, match="the network has cameras, and the batch has none"):
        fused()(voxels(10))
    with pytest.raises(ValueError, match="the network has no cameras, and the batch has some"):
        Detector(net, CenterHead(64, width=4))(voxels(10), {"bev": torch.zeros(1), "mask": None})
