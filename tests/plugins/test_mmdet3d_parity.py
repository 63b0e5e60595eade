"""Our backbones inside mmdet3d 1.4 itself, in the environment of tools/build_mmdet3d.sh; skipped anywhere
else.

What is compared stands in tools/check_mmdet3d.py, which writes the figures of
datasets/results/mmdet3d_parity.json.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from lidardistill.exchange.mmdet3d import from_mmdet3d
from lidardistill.export.detector import detector_checkpoint
from lidardistill.tasks.detect.center.head import TASKS, CenterHead
from tests.support.backbones import lidar_bev

pytest.importorskip(
    "mmdet3d", reason="needs mmdet3d: tools/build_mmdet3d.sh makes an environment that has it"
)

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = REPOSITORY / "configs" / "mmdet3d"


@pytest.fixture(scope="module")
def check():
    sys.path.insert(0, str(REPOSITORY / "tools"))  # the tool imports its neighbours
    spec = importlib.util.spec_from_file_location("check_mmdet3d", REPOSITORY / "tools" / "check_mmdet3d.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_mmdet3d"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["check_mmdet3d"]
    sys.path.remove(str(REPOSITORY / "tools"))


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["voxelnet_mini", "pillars_mini", "voxelnet01", "second01", "pillars02"])
def test_centerpoint(check, preset):
    torch.manual_seed(0)
    figures = check.centerpoint(preset)
    assert figures["voxels_differ"] == figures["voxels_cut"] == 0
    assert figures["bev"]["max_abs_value"] > 1
    assert check.worst(figures) < check.TOLERANCE
    assert figures["bev_of_the_same_voxels_float64"]["max_abs_difference"] < 1e-6


def test_a_detector_with_its_head_loads_strictly(check, tmp_path):
    """What `lidardistill export` makes of a detection run: nothing of CenterPoint is left to chance."""
    from mmdet3d.registry import MODELS
    from mmengine.config import Config
    from mmengine.runner import load_checkpoint

    torch.manual_seed(0)
    net = lidar_bev("voxelnet_mini", 5)
    head = CenterHead(net.out_channels, tuple(map(len, TASKS)), width=8)
    state = {**net.state_dict(), **{f"head.{key}": value for key, value in head.state_dict().items()}}
    content, card = detector_checkpoint(state, check.bev_card("voxelnet_mini", net), "mmdet3d")
    torch.save(content, tmp_path / "weights.pth")
    cfg = Config.fromfile(str(check.configs() / card["base"].removeprefix("mmdet3d::")))
    cfg.merge_from_dict({"model": card["model"]})
    model = MODELS.build(cfg.model).eval()
    load_checkpoint(model, str(tmp_path / "weights.pth"), map_location="cpu", strict=True, logger="silent")
    bev = torch.rand(1, net.out_channels, 4, 4)
    with torch.no_grad():
        ours, theirs = check.heads_of(head.eval(), model, bev, [bev])
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("preset", ["mini", "minkunet34"])
def test_minkunet(check, preset):
    torch.manual_seed(0)
    figures = check.minkunet(preset)
    assert figures["features"]["max_abs_value"] > 1
    assert check.worst(figures) < check.TOLERANCE


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("centerpoint_voxel01", "voxelnet01"),
        ("centerpoint_pillar02", "pillars02"),
        ("centerpoint_voxel01_plugin", "voxelnet01"),
    ],
)
def test_a_shipped_config_loads_every_backbone_key(check, name, preset, monkeypatch):
    """As mmengine's Runner does: build, initialise, then `load_from`."""
    from mmdet3d.registry import MODELS
    from mmengine.config import Config
    from mmengine.runner import load_checkpoint

    check.register()
    torch.manual_seed(0)
    net = lidar_bev(preset, 5)
    path, _ = check.exported(net, check.bev_card(preset, net), "mmdet3d")
    monkeypatch.setenv("WEIGHTS", str(path))
    cfg = Config.fromfile(str(CONFIGS / f"{name}.py"))
    assert cfg.load_from == str(path)
    model = MODELS.build(cfg.model)
    model.init_weights()
    load_checkpoint(model, cfg.load_from, map_location="cpu", logger="silent")
    own = net.state_dict()
    plugin = "pts_middle_encoder.net."
    loaded = dict(model.state_dict())
    theirs = {key: value for key, value in loaded.items() if not key.startswith(("pts_bbox_head.", plugin))}
    ours = {f"encoder.{k.removeprefix(plugin)}": v for k, v in loaded.items() if k.startswith(plugin)}
    back = (
        from_mmdet3d(theirs)
        if not ours
        else ours | {key.removeprefix("pts_"): value for key, value in theirs.items()}
    )
    assert set(back) == set(own)
    assert all(torch.equal(back[key], value) for key, value in own.items())


def test_the_segmentor_with_our_backbone_runs_and_learns_on_a_cpu(check):
    from mmdet3d.registry import MODELS
    from mmdet3d.structures import Det3DDataSample, PointData
    from mmengine.config import Config

    check.register()
    cfg = Config.fromfile(str(CONFIGS / "minkunet34_plugin.py"))
    cfg.model.backbone.update(preset="mini", weights=None)
    cfg.model.decode_head.channels = 32
    model = MODELS.build(cfg.model)
    torch.manual_seed(0)
    points = [torch.rand(n, 4) * torch.tensor([40.0, 40.0, 3.0, 1.0]) - 5 for n in (700, 300)]
    samples = []
    for cloud in points:
        sample = Det3DDataSample()
        sample.gt_pts_seg = PointData(pts_semantic_mask=(cloud[:, 0] > 15).long())
        sample.set_metainfo({})
        samples.append(sample)
    data = model.data_preprocessor({"inputs": {"points": points}, "data_samples": samples}, training=True)
    losses = model(**data, mode="loss")
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())
    model.eval()
    with torch.no_grad():
        found = model(
            **model.data_preprocessor({"inputs": {"points": points}, "data_samples": samples}), mode="predict"
        )
    assert [len(sample.pred_pts_seg.pts_semantic_mask) for sample in found] == [700, 300]
