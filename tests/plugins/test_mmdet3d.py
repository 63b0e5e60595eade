"""The plug-in for mmdet3d: what it computes is what our networks compute, and it reads weights in every format.

Where mmdet3d is not installed, which is the rule, stand-ins take the place of the three classes that it needs.
tests/plugins/test_mmdet3d_parity.py runs it inside mmdet3d itself.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from lidardistill.backbones.lidar_bev.pillars import PillarNet
from lidardistill.backbones.lidar_bev.voxelnet import VoxelNet
from lidardistill.exchange.mmdet3d import to_mmdet3d
from lidardistill.exchange.mmdet3d_minkunet import minkunet_to_mmdet3d
from lidardistill.export.mmdet3d_parts import MINKUNET_BASE, PILLARS_BASE, VOXELNET_BASE
from lidardistill.weights import save_backbone
from tests.support.backbones import minkunet
from tests.support.inputs import scan_input

SHAPE = {"sparse_shape": (41, 32, 24), "widths": (4, 4, 8, 8), "out_channels": 8}


class _Registry:
    @staticmethod
    def register_module():
        return lambda cls: cls


class _Module(nn.Module):
    def init_weights(self):
        pass


class _Preprocessor(nn.Module):
    def __init__(self, voxel, **others):
        super().__init__()
        self.voxel, self.others = voxel, others


@pytest.fixture(scope="module")
def plugin():
    name = "lidardistill.plugins.mmdet3d"
    if importlib.util.find_spec("mmdet3d") is not None:
        yield importlib.import_module(name)
        return
    stand_ins = {
        "mmdet3d": {},
        "mmdet3d.models": {},
        "mmdet3d.models.data_preprocessors": {"Det3DDataPreprocessor": _Preprocessor},
        "mmdet3d.registry": {"MODELS": _Registry},
        "mmengine": {},
        "mmengine.model": {"BaseModule": _Module},
    }
    for module, content in stand_ins.items():
        sys.modules[module] = ModuleType(module)
        vars(sys.modules[module]).update(content)
    yield importlib.import_module(name)
    for module in (*stand_ins, name):
        del sys.modules[module]


def bev_state(encoder):
    """As if a 2D backbone stood behind it."""
    other = {
        "backbone.blocks.0.0.weight": torch.ones(2, 2, 3, 3),
        "neck.deblocks.0.0.weight": torch.ones(2, 2, 1, 1),
    }
    return {f"encoder.{key}": value for key, value in encoder.state_dict().items()} | other


def write(kind, path, state):
    """A weights file of one of the formats, and where it is."""
    if kind == "run":
        save_backbone(path / "backbone.safetensors", state, {})
        return path
    to = minkunet_to_mmdet3d if "stem.conv.weight" in state else to_mmdet3d
    torch.save({"state_dict": to(state), "meta": {}}, path / "weights.pth")
    return path / "weights.pth"


@pytest.mark.parametrize("kind", ["run", "mmdet3d"])
def test_voxelnet(plugin, tmp_path, kind):
    torch.manual_seed(0)
    net = VoxelNet(5, SHAPE["sparse_shape"], SHAPE["widths"], SHAPE["out_channels"])
    middle = plugin.LidardistillVoxelNet(5, **SHAPE, weights=str(write(kind, tmp_path, bev_state(net))))
    middle.init_weights()
    cells = np.random.default_rng(0).choice(2 * 41 * 32 * 24, 300, replace=False)
    coords = np.stack(np.unravel_index(np.sort(cells), (2, *SHAPE["sparse_shape"])), 1)
    coords, features = torch.from_numpy(coords), torch.randn(300, 5)
    expected = net(features, coords.int(), 2)
    assert torch.equal(middle(features, coords, torch.tensor(2)), expected)


@pytest.mark.parametrize("fill", [True, False])
def test_pillars(plugin, tmp_path, fill):
    torch.manual_seed(0)
    place = {
        "voxel_size": (0.5, 0.5, 8.0),
        "point_cloud_range": (-4.0, -4.0, -5.0, 4.0, 4.0, 3.0),
        "out_channels": 6,
    }
    net = PillarNet(5, **place, max_points=7 if fill else None).eval()
    nn.init.normal_(net.norm.bias)
    weights = write("mmdet3d", tmp_path, bev_state(net))
    encoder = plugin.LidardistillPillars(5, **place, fill=fill, weights=str(weights)).eval()
    encoder.init_weights()
    num_points = torch.tensor([7, 1, 3])
    coords = torch.tensor([[0, 0, 2, 3], [0, 0, 15, 0], [1, 0, 8, 8]])
    slots = torch.randn(3, 7, 5) * (torch.arange(7)[:, None] < num_points[:, None, None])
    found = encoder(slots, num_points, coords, None, None)
    pillar = torch.arange(3).repeat_interleave(num_points)
    points = torch.cat([slots[i, : num_points[i]] for i in range(3)])
    bev = net(points, pillar, torch.ones(len(points), dtype=torch.bool), coords.int(), 2)
    expected = bev[coords[:, 0], :, coords[:, 2], coords[:, 3]]
    torch.testing.assert_close(found, expected)


def scan(rng, num):
    points = rng.uniform(-15, 15, (num, 4))
    points[:, 2] /= 10
    return points.astype(np.float32)


@pytest.mark.parametrize("kind", ["run", "mmdet3d"])
def test_minkunet_behind_its_own_voxels(plugin, tmp_path, rng, kind):
    torch.manual_seed(0)
    settings = {
        "kind": "cylindrical",
        "voxel_size": (0.5, 4.0, 0.5),
        "point_features": ("intensity", "range"),
    }
    net = minkunet("mini", 2).eval()
    weights = write(kind, tmp_path, net.state_dict())
    backbone = plugin.LidardistillMinkUNet(2, "mini", weights=str(weights)).eval()
    backbone.init_weights()
    clouds = [scan(rng, 400), scan(rng, 150)]
    samples = [
        SimpleNamespace(gt_pts_seg=SimpleNamespace(pts_semantic_mask=torch.arange(len(cloud))))
        for cloud in clouds
    ]
    found = plugin.LidardistillVoxels(settings, batch_first=True).voxelize(
        [torch.from_numpy(cloud) for cloud in clouds], samples
    )
    with torch.no_grad():
        features = backbone(found["voxels"], found["coors"])
    for number, (cloud, sample) in enumerate(zip(clouds, samples, strict=True)):
        voxels = scan_input(**settings).read(cloud)
        coords = torch.from_numpy(np.pad(voxels.voxel_coords, ((0, 0), (1, 0))))
        with torch.no_grad():
            expected = net.convolve(torch.from_numpy(voxels.voxel_features), coords, voxels.spatial_shape, 1)
        mine = found["coors"][:, 0] == number
        torch.testing.assert_close(features[mine], expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(sample.point2voxel_map, torch.from_numpy(voxels.point2voxel))
        assert sample.batch_idx.tolist() == [number] * len(expected)
        # The label of a voxel is that of its first point, whose features it has.
        first = sample.gt_pts_seg.voxel_semantic_mask
        np.testing.assert_array_equal(voxels.voxel_features[:, 0], cloud[first, 3])
        assert torch.equal(sample.point2voxel_map[first], torch.arange(len(first)))


def test_without_labels(plugin, rng):
    sample = SimpleNamespace(gt_pts_seg=SimpleNamespace())
    found = plugin.LidardistillVoxels({}).voxelize([torch.from_numpy(scan(rng, 50))], [sample])
    assert found["voxels"].shape[1] == 1
    assert not hasattr(sample.gt_pts_seg, "voxel_semantic_mask")


@pytest.mark.parametrize("layout", ["mmcv", "spconv2"])
def test_load_from_takes_the_names_of_mmdet3d(plugin, layout):
    """Inside a detector, strictly; its own names as well, and a detector's other parts are left alone."""
    torch.manual_seed(0)
    net, other = (
        VoxelNet(5, SHAPE["sparse_shape"], SHAPE["widths"], SHAPE["out_channels"]) for _ in range(2)
    )
    detector = nn.Module()
    detector.pts_middle_encoder = plugin.LidardistillVoxelNet(5, **SHAPE)
    detector.pts_neck = nn.Conv2d(2, 2, 1, bias=False)
    theirs = to_mmdet3d(bev_state(net), layout)
    encoder = {key: value for key, value in theirs.items() if key.startswith("pts_middle_encoder.")}
    detector.load_state_dict({**encoder, "pts_neck.weight": torch.ones(2, 2, 1, 1)}, strict=True)
    found = detector.pts_middle_encoder.net.state_dict()
    assert all(torch.equal(found[key], value) for key, value in net.state_dict().items())
    assert detector.pts_neck.weight.eq(1).all()
    own = {f"pts_middle_encoder.net.{key}": value for key, value in other.state_dict().items()}
    detector.load_state_dict({**own, "pts_neck.weight": torch.zeros(2, 2, 1, 1)}, strict=True)
    found = detector.pts_middle_encoder.net.state_dict()
    assert all(torch.equal(found[key], value) for key, value in other.state_dict().items())


def test_weights_of_another_network(plugin, tmp_path):
    net = VoxelNet(4, SHAPE["sparse_shape"], SHAPE["widths"], SHAPE["out_channels"])
    weights = write("run", tmp_path, bev_state(net))
    with pytest.raises(ValueError, match=r"does not fit VoxelNet: .*stem\.conv\.weight"):
        plugin.LidardistillVoxelNet(5, **SHAPE, weights=str(weights)).init_weights()
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        plugin.LidardistillVoxelNet(5, **SHAPE, weights=str(tmp_path / "none.pth")).init_weights()
    plugin.LidardistillVoxelNet(5, **SHAPE).init_weights()


@pytest.mark.parametrize(
    "voxels", [{"point_cloud_range": (-1, -1, -1, 1, 1, 1)}, {"point_features": ("height",)}]
)
def test_voxels_that_a_head_cannot_use(plugin, voxels):
    with pytest.raises(ValueError, match="without point_cloud_range and without the feature height"):
        plugin.LidardistillVoxels(voxels)


def test_shipped_configurations():
    """Python, named in their README, on files of mmdet3d; tests/plugins/test_mmdet3d_parity.py builds them."""
    folder = Path(__file__).resolve().parents[2] / "configs" / "mmdet3d"
    files = sorted(folder.glob("*.py"))
    assert len(files) == 5
    table = (folder / "README.md").read_text()
    for file in files:
        values = {}
        exec(compile(file.read_text(), str(file), "exec"), values)
        base = values["_base_"] if isinstance(values["_base_"], str) else values["_base_"][0]
        assert base.startswith(("mmdet3d::", "{{$MMDETECTION3D:"))
        assert f"| `{file.name}`" in table
        assert "{{$WEIGHTS:" in file.read_text()
    assert {name.split("::")[1] for name in (VOXELNET_BASE, PILLARS_BASE, MINKUNET_BASE)} == {
        values.split("::")[1].split('"')[0]
        for values in (file.read_text() for file in files)
        if "::" in values
    }
