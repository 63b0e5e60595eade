"""`lidardistill export` in the formats of other projects, from a run to a file and back."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save as dump
from safetensors.torch import save_file

from lidardistill.backbones.lidar_bev.config import LidarBevConfig
from lidardistill.backbones.minkunet.config import MinkUNetConfig
from lidardistill.cli.main import main
from lidardistill.data.config import VoxelConfig
from lidardistill.exchange.of_run import load_student, save_student
from lidardistill.export.head_mmdet3d import head_from_mmdet3d
from lidardistill.export.run import ENDINGS, export_backbone
from lidardistill.tasks.detect.center.head import TASKS, CenterHead
from lidardistill.tasks.detect.detector import Detector
from lidardistill.tasks.runs import save_model
from lidardistill.weights import load_checkpoint_tensors, save_backbone

RANGE = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)
BEV_VOXELS = {"kind": "cartesian", "point_cloud_range": RANGE, "reduce": "mean"}
COLUMNS = ("x", "y", "z", "intensity", "time_lag")
RUNS = {
    "voxelnet": (
        LidarBevConfig(kind="lidar_bev", preset="voxelnet_mini"),
        VoxelConfig(**BEV_VOXELS, voxel_size=(0.2, 0.2, 0.2), point_features=COLUMNS),
    ),
    "pillars": (
        LidarBevConfig(kind="lidar_bev", preset="pillars_mini"),
        VoxelConfig(**BEV_VOXELS, voxel_size=(0.4, 0.4, 8.0), point_features=COLUMNS),
    ),
    "four columns": (
        LidarBevConfig(kind="lidar_bev", preset="voxelnet_mini"),
        VoxelConfig(
            **BEV_VOXELS, voxel_size=(0.2, 0.2, 0.2), point_features=COLUMNS[:4], intensity_scale=1 / 255
        ),
    ),
    "range": (
        LidarBevConfig(kind="lidar_bev", preset="voxelnet_mini"),
        VoxelConfig(**BEV_VOXELS, voxel_size=(0.2, 0.2, 0.2), point_features=("x", "y", "z", "range")),
    ),
    "minkunet": (MinkUNetConfig(preset="mini"), VoxelConfig()),
    "minkunet of four": (
        MinkUNetConfig(preset="mini"),
        VoxelConfig(kind="cartesian", point_features=COLUMNS[:4]),
    ),
}


@pytest.fixture
def finished(tmp_path):
    """A run folder as pretraining leaves it, without the pretraining."""

    def make(name):
        student, voxels = RUNS[name]
        torch.manual_seed(0)
        net = student.build(voxels)
        run = tmp_path / "run"
        run.mkdir()
        (run / "config.yaml").write_text(yaml.safe_dump({"verb": "pretrain"}))
        config = {
            "name": "a run",
            "optimizer": {"kind": "sgd"},
            "student": student.model_dump(mode="json"),
            "voxels": voxels.model_dump(mode="json"),
            "teacher": None,
            "method": {"kind": "none"},
            "bev_term": None,
            "data": {"version": "v1.0-mini", "split": "mini_train"},
            "seed": 0,
        }
        save_student(net, config, run / "backbone.safetensors", steps=7)
        return run, net

    return make


BACK = [
    ("voxelnet", "mmdet3d"),
    ("voxelnet", "mmdet3d-bevfusion"),
    ("voxelnet", "openpcdet"),
    ("pillars", "mmdet3d"),
    ("pillars", "openpcdet"),
    ("minkunet of four", "mmdet3d"),
    ("minkunet", "safetensors"),
]


@pytest.mark.parametrize(("name", "kind"), BACK)
def test_a_file_of_another_project_loads_into_our_student(finished, tmp_path, name, kind):
    run, net = finished(name)
    path = tmp_path / f"weights{ENDINGS[kind]}"
    card = json.loads(export_backbone(run, path, kind).read_text())
    assert card["steps"] == 7
    student, voxels = RUNS[name]
    fresh = student.build(voxels)
    load_student(fresh, str(path))
    expected = net.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in fresh.state_dict().items())
    assert not [file.name for file in tmp_path.iterdir() if "tmp" in file.name]


def test_what_a_file_for_mmdet3d_holds(finished, tmp_path):
    """Tensors and plain values alone, in the layout of mmcv; what lacks is filled up."""
    run, net = finished("four columns")
    path = tmp_path / "weights.pth"
    card = json.loads(export_backbone(run, path, "mmdet3d").read_text())
    content = torch.load(path, weights_only=True)
    assert set(content) == {"state_dict", "meta"}
    assert type(content["state_dict"]) is dict
    assert json.loads(json.dumps(content["meta"])) == card
    weight = content["state_dict"]["pts_middle_encoder.conv_input.0.weight"]
    own = net.state_dict()["encoder.stem.conv.weight"].permute(1, 2, 3, 4, 0)
    assert tuple(weight.shape) == (3, 3, 3, 5, 8)
    assert torch.equal(weight[..., :3, :], own[..., :3, :])
    torch.testing.assert_close(weight[..., 3, :], own[..., 3, :] / 255)
    assert not weight[..., 4, :].any()
    assert card["columns"] == list(COLUMNS)
    assert any("zeros: time_lag" in note for note in card["notes"])
    assert any("factor 0.00392" in note for note in card["notes"])
    parts = card["model"]
    assert parts["pts_middle_encoder"]["sparse_shape"] == [41, 512, 512]
    assert parts["pts_middle_encoder"]["encoder_channels"][-1] == [32, 32]
    assert parts["pts_bbox_head"]["in_channels"] == 64
    assert parts["train_cfg"]["pts"]["out_size_factor"] == 8


@pytest.fixture
def detection_run(tmp_path):
    """As `lidardistill detect` leaves it, without the training."""
    student, voxels = RUNS["voxelnet"]
    torch.manual_seed(0)
    net = student.build(voxels)
    detector = Detector(net, CenterHead(net.out_channels, tuple(map(len, TASKS)), width=8))
    run = tmp_path / "detector"
    run.mkdir()
    config = {
        "verb": "detect",
        "student": student.model_dump(mode="json"),
        "voxels": voxels.model_dump(mode="json"),
        "weights": "runs/prc",
        "data": {"version": "v1.0-mini", "train_split": "mini_train", "label_percent": 10},
        "seed": 0,
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    save_model(detector, run)
    return run, detector


def test_a_detector_takes_its_head_along(detection_run, tmp_path):
    run, detector = detection_run
    path = tmp_path / "weights.pth"
    card = json.loads(export_backbone(run, path, "mmdet3d").read_text())
    assert card["data"]["label_percent"] == 10
    assert card["model"]["pts_bbox_head"]["share_conv_channel"] == 8
    tensors = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.equal(v, detector.head.state_dict()[k]) for k, v in head_from_mmdet3d(tensors).items())
    assert len(head_from_mmdet3d(tensors)) == len(detector.head.state_dict())
    student, voxels = RUNS["voxelnet"]
    fresh = student.build(voxels)
    for kind, words in (
        ("mmdet3d", None),
        ("openpcdet", "without the head"),
        ("mmdet3d-bevfusion", "without the head"),
    ):
        card = json.loads(export_backbone(run, tmp_path / f"{kind}.pth", kind).read_text())
        load_student(fresh, str(tmp_path / f"{kind}.pth"))
        assert all(torch.equal(v, detector.backbone.state_dict()[k]) for k, v in fresh.state_dict().items())
        assert any("without the head" in note for note in card["notes"]) == (words is not None)
    export_backbone(run, tmp_path / "backbone.safetensors")
    load_student(fresh, str(tmp_path / "backbone.safetensors"))


def test_a_detector_with_cameras_is_refused(detection_run, tmp_path):
    run, detector = detection_run
    state = dict(detector.state_dict()) | {"camera.x": torch.zeros(1)}
    (run / "model.safetensors").write_bytes(dump({k: v.contiguous() for k, v in state.items()}))
    with pytest.raises(ValueError, match="is a detector with cameras"):
        export_backbone(run, tmp_path / "x.pth", "mmdet3d")


def test_a_camera_network_is_refused(finished, tmp_path):
    run, net = finished("voxelnet")
    card = json.loads((run / "backbone.json").read_text()) | {"student": {"kind": "lift_splat"}}
    save_backbone(run / "backbone.safetensors", net.state_dict(), card)
    with pytest.raises(ValueError, match="weights of a lift_splat network; expected a LiDAR backbone"):
        export_backbone(run, tmp_path / "x.pth", "mmdet3d")


def test_each_file_has_its_own_card(finished, tmp_path):
    """Formats of one stem lie side by side, and each card says which run, method and recipe made the
    weights.
    """
    run, _ = finished("minkunet")
    cards = {
        kind: export_backbone(run, tmp_path / f"weights{ENDINGS[kind]}", kind)
        for kind in ("safetensors", "mmdet3d", "slidr")
    }
    assert len(set(cards.values())) == 3
    for kind, path in cards.items():
        card = json.loads(path.read_text())
        assert card["format"].startswith("lidardistill" if kind == "safetensors" else kind)
        assert card["method"] == {"kind": "none"}
        assert card["name"] == "a run"
        assert card["recipe"] == {"optimizer": {"kind": "sgd"}}


def test_slidrs_layout_comes_back(finished, tmp_path):
    run, net = finished("minkunet")
    card = json.loads(export_backbone(run, tmp_path / "w.pt", "slidr").read_text())
    content = torch.load(tmp_path / "w.pt", weights_only=True)
    assert content["config"] == {"voxel_size": 0.1, "cylindrical_coordinates": True}
    assert content["model_points"]["conv0p1s1.kernel"].shape == (27, 1, 16)
    assert [note for note in card["notes"] if "minkunet34" in note]
    student, voxels = RUNS["minkunet"]
    fresh = student.build(voxels)
    load_student(fresh, str(tmp_path / "w.pt"), voxels)
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in fresh.state_dict().items())


def test_weights_of_other_voxels_are_refused(finished, tmp_path):
    run, _ = finished("minkunet")
    student, voxels = RUNS["minkunet"]
    other = voxels.model_copy(update={"intensity_scale": 1 / 255})
    with pytest.raises(
        ValueError, match=r"trained with voxels\.intensity_scale 1\.0, .*set voxels\.intensity_scale=1\.0"
    ):
        load_student(student.build(other), str(run), other)


def test_what_differs_is_said(finished, tmp_path):
    run, _ = finished("minkunet")
    card = json.loads(export_backbone(run, tmp_path / "weights.pth", "mmdet3d").read_text())
    assert any("cylindrical" in note for note in card["notes"])
    assert card["model"]["backbone"]["in_channels"] == 4
    assert card["model"]["backbone"]["encoder_channels"] == [16, 32, 64, 64]
    again = tmp_path / "again.pth"
    exported = tmp_path / "copy.safetensors"
    export_backbone(run, exported)
    export_backbone(exported, again, "mmdet3d")
    first, second = (load_checkpoint_tensors(path) for path in (tmp_path / "weights.pth", again))
    assert all(torch.equal(first[key], second[key]) for key in first)


MISTAKES = {
    "format": (
        "voxelnet",
        "onnx",
        "x.pth",
        "--format onnx: expected safetensors, mmdet3d, mmdet3d-bevfusion, openpcdet",
    ),
    "ending": (
        "voxelnet",
        "mmdet3d",
        "x.safetensors",
        "x.safetensors: expected a file name that ends in .pth",
    ),
    "range": ("range", "mmdet3d", "x.pth", "voxels.point_features: range cannot be had"),
    "no SLidR": ("voxelnet", "slidr", "x.pt", "--format slidr: SLidR's checkpoints hold a MinkUNet"),
    "no minkunet": ("minkunet", "openpcdet", "x.pth", "--format openpcdet: OpenPCDet has no MinkUNet"),
    "no pillars": ("pillars", "mmdet3d-bevfusion", "x.pth", "BEVFusion has no pillars"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_error_and_no_file(finished, tmp_path, monkeypatch, capsys, mistake):
    name, kind, file, message = MISTAKES[mistake]
    run, _ = finished(name)
    words = ["export", "--weights", run, "--out", tmp_path / file, "--format", kind]
    monkeypatch.setattr(sys, "argv", ["lidardistill", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / file).exists()


def test_the_card_travels_inside_the_file(finished, tmp_path):
    run, net = finished("minkunet")
    export_backbone(run, tmp_path / "x.safetensors")
    (tmp_path / "x.json").unlink()
    export_backbone(tmp_path / "x.safetensors", tmp_path / "y.pth", "mmdet3d")
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, tmp_path / "z.safetensors")
    with pytest.raises(ValueError, match=r"expected a file of `lidardistill export`, which holds a card"):
        export_backbone(tmp_path / "z.safetensors", tmp_path / "z.pth", "mmdet3d")


def test_the_command_says_what_differs(finished, tmp_path, monkeypatch, capsys):
    run, _ = finished("pillars")
    words = ["export", "--weights", run, "--out", tmp_path / "x.pth", "--format", "mmdet3d"]
    monkeypatch.setattr(sys, "argv", ["lidardistill", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    said = capsys.readouterr().out
    assert f"{tmp_path / 'x.pth'} (0." in said
    assert "note: a pillar there holds its first 20 points" in said
    assert np.isfinite(sum(float(v.sum()) for v in load_checkpoint_tensors(tmp_path / "x.pth").values()))
