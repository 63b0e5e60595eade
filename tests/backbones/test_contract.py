"""What every backbone of `backbones/kinds.py` keeps: shapes, masks, empty scans, gradients, the features
of a point.
"""

from __future__ import annotations

import pickle
from typing import get_args

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from lidardistill.backbones.base import Backbone
from lidardistill.backbones.config import BackboneConfig
from lidardistill.backbones.kinds import StudentConfig
from lidardistill.data.batch import VoxelBatch
from lidardistill.data.collate import collate_voxels
from lidardistill.data.config import VoxelConfig

RANGE = (-12.8, -12.8, -5.0, 12.8, 12.8, 3.0)
CASES = {
    "minkunet": ({"kind": "minkunet", "preset": "mini"}, {"voxel_size": (0.4, 0.4, 0.2)}),
    "minkunet, cylinders": (
        {"kind": "minkunet", "preset": "mini"},
        {"kind": "cylindrical", "voxel_size": (0.4, 2.0, 0.2), "point_cloud_range": None},
    ),
    "voxelnet": ({"kind": "lidar_bev", "preset": "voxelnet_mini"}, {"voxel_size": (0.2, 0.2, 0.2)}),
    "pillars": ({"kind": "lidar_bev", "preset": "pillars_mini"}, {"voxel_size": (0.4, 0.4, 8.0)}),
}
"""Name of a case: the student, and the keys of its voxels."""


def parts(name: str) -> tuple[BackboneConfig, VoxelConfig]:
    student, voxels = CASES[name]
    common = {
        "kind": "cartesian",
        "point_cloud_range": RANGE,
        "point_features": ("x", "y", "z", "intensity"),
        "reduce": "mean",
    }
    return TypeAdapter(StudentConfig).validate_python(student), VoxelConfig(**{**common, **voxels})


def build(name: str) -> Backbone:
    config, voxels = parts(name)
    torch.manual_seed(0)
    return config.build(voxels)


def cloud(rng: np.random.Generator, num: int = 500) -> np.ndarray:
    """(N, 4) float32; some points lie outside of the range."""
    columns = [*rng.uniform(-16, 16, (2, num)), rng.uniform(-4, 2, num), rng.uniform(0, 1, num)]
    return np.stack(columns, axis=1).astype(np.float32)


def batch_of(name: str, clouds: list[np.ndarray]) -> VoxelBatch:
    config, voxels = parts(name)
    scan_input = pickle.loads(pickle.dumps(config.scan_input(voxels)))  # worker processes get a copy
    return collate_voxels([scan_input.read(points) for points in clouds])


every_case = pytest.mark.parametrize("name", CASES)


def test_every_kind_has_a_case() -> None:
    kinds = {config.model_fields["kind"].annotation for config in get_args(get_args(StudentConfig)[0])}
    known = {kind for annotation in kinds for kind in get_args(annotation)}
    assert {student["kind"] for student, _ in CASES.values()} == known


@every_case
def test_the_config_tells_what_the_network_makes(name: str) -> None:
    config, voxels = parts(name)
    config.check(voxels)
    net = build(name)
    assert net.in_channels == 4
    assert (net.grid is not None) == (config.makes == "map")


@every_case
def test_shapes_and_masks(name: str, rng: np.random.Generator) -> None:
    net, scans = build(name), batch_of(name, [cloud(rng), cloud(rng, 200)])
    features = net(scans)
    assert features.rows.shape[1] == net.out_channels
    assert features.rows.isfinite().all()
    assert features.point2row.shape == features.point_mask.shape == (700,)
    assert features.point2row.dtype == torch.int64
    assert features.point_mask.dtype == torch.bool
    known = features.point2row[features.point_mask]
    assert 0 <= known.min() <= known.max() < len(features.rows)
    assert features.point_mask.float().mean() > 0.5
    if net.grid is None:
        assert features.bev is None
    else:
        assert features.grid == net.grid
        assert features.bev is not None
        assert features.bev.shape == (2, net.out_channels, net.grid.height, net.grid.width)
        assert features.rows.shape == (2 * net.grid.num_cells, net.out_channels)


@every_case
def test_the_features_of_a_point(name: str, rng: np.random.Generator) -> None:
    """`at` reads the row of each point; of a map that is the cell whose square holds the point."""
    points = cloud(rng)
    net, scans = build(name).eval(), batch_of(name, [cloud(rng, 40), points])
    features = net(scans)
    asked = 40 + torch.arange(0, 500, 7)
    asked = asked[features.point_mask[asked]]
    found = features.at(asked)
    assert torch.equal(found, features.rows[features.point2row[asked]])
    if features.bev is None or net.grid is None:
        return
    xy = torch.from_numpy(points[:, :2].astype(np.float64))[asked - 40]
    cell, inside = net.grid.cells(xy)
    assert inside.all()
    expected = features.bev[1].flatten(1).T[cell]
    # A point on the very border of a cell may fall to either side in float32.
    assert (found == expected).all(dim=1).float().mean() > 0.98


@every_case
@pytest.mark.parametrize("training", [True, False])
def test_scans_without_points(name: str, training: bool, rng: np.random.Generator) -> None:
    net, empty = build(name).train(training), np.zeros((0, 4), np.float32)
    outside = np.full((3, 4), 1e4, np.float32) if parts(name)[1].point_cloud_range else empty
    for clouds in ([empty], [empty, empty], [outside]):
        features = net(batch_of(name, clouds))
        assert features.rows.isfinite().all()
        assert not features.point_mask.any()
        assert features.point2row.shape == features.point_mask.shape
        assert features.at(torch.zeros(0, dtype=torch.int64)).shape == (0, net.out_channels)
        features.rows.sum().backward()


@every_case
def test_an_empty_scan_beside_others_changes_nothing(name: str, rng: np.random.Generator) -> None:
    net, points = build(name).eval(), cloud(rng)
    with torch.no_grad():
        alone = net(batch_of(name, [points]))
        beside = net(batch_of(name, [np.zeros((0, 4), np.float32), points]))
    asked = alone.point_mask.nonzero()[:, 0]
    assert torch.equal(alone.point_mask, beside.point_mask)
    torch.testing.assert_close(beside.at(asked), alone.at(asked), rtol=1e-4, atol=1e-5)


@every_case
def test_every_parameter_learns_through_the_rows(name: str, rng: np.random.Generator) -> None:
    net = build(name)
    features = net(batch_of(name, [cloud(rng), cloud(rng)]))
    features.rows.square().mean().backward()
    still = [
        key for key, value in net.named_parameters() if value.grad is None or not value.grad.abs().max() > 0
    ]
    assert not still


@every_case
def test_it_moves_to_other_types(name: str, rng: np.random.Generator) -> None:
    net, scans = build(name), batch_of(name, [cloud(rng)])
    with torch.autocast("cpu", torch.bfloat16):
        assert net(scans).rows.isfinite().all()
