"""A first layer for other columns gives what the first layer gave."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidardistill.data.collate import collate_voxels
from lidardistill.exchange.inputs import with_columns
from lidardistill.export.mmdet3d_parts import COLUMNS, SEGMENTOR_COLUMNS
from tests.support.backbones import lidar_bev, map_voxels, minkunet
from tests.support.inputs import scan_input


def batch(cloud, features, scale, preset=None):
    options = {}
    if preset is not None:
        chosen = map_voxels(preset)
        options = {
            "voxel_size": chosen.voxel_size,
            "point_cloud_range": chosen.point_cloud_range,
            "align": 1,
            "per_point": True,
        }
    settings = scan_input(
        kind="cartesian", **options, point_features=features, intensity_scale=scale, reduce="mean"
    )
    return collate_voxels([settings.read(cloud)])


def cloud(rng, num=2000):
    columns = [
        *rng.uniform(-20, 20, (2, num)),
        rng.uniform(-2, 2, num),
        *rng.uniform(0, 200, (1, num)),
        rng.random(num),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


@pytest.mark.parametrize("preset", ["voxelnet_mini", "pillars_mini"])
@pytest.mark.parametrize(
    "features", [("x", "y", "z", "intensity"), ("x", "y", "z", "time_lag", "intensity"), ("x", "y", "z")]
)
def test_maps_are_the_same(rng, preset, features):
    torch.manual_seed(0)
    points = cloud(rng)
    net, other = lidar_bev(preset, len(features)), lidar_bev(preset, 5)
    other.load_state_dict(with_columns(net.state_dict(), features, COLUMNS, 1 / 255))
    with torch.no_grad():
        expected = net(batch(points, features, 1 / 255, preset)).bev
        found = other(batch(points, COLUMNS, 1.0, preset)).bev
    assert expected.abs().max() > 1  # in train mode, BatchNorms keep the map from fading
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_features_of_a_minkunet_are_the_same(rng):
    torch.manual_seed(0)
    points = cloud(rng)
    net, other = minkunet("mini", 1).eval(), minkunet("mini", 4).eval()
    other.load_state_dict(with_columns(net.state_dict(), ["intensity"], SEGMENTOR_COLUMNS))
    with torch.no_grad():
        one, four = batch(points, ("intensity",), 1.0), batch(points, SEGMENTOR_COLUMNS, 1.0)
        expected = net(one).rows
        found = other(four).rows
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_had_is_named():
    state = minkunet("mini", 2).state_dict()
    with pytest.raises(
        ValueError, match=r"voxels\.point_features: range cannot be had from points of x, y, z, intensity"
    ):
        with_columns(state, ["intensity", "range"], SEGMENTOR_COLUMNS)
    with pytest.raises(ValueError, match=r"stem\.conv\.weight has shape .* does not fit 1 features \(x\)"):
        with_columns(state, ["x"], COLUMNS)
    with pytest.raises(ValueError, match="no first layer"):
        with_columns({"conv1.weight": torch.zeros(1)}, ["x"], COLUMNS)
