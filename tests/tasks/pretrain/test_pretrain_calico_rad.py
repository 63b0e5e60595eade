"""CALICO's second stage from config to run folder, on a world of seconds, behind a first stage of two
steps.
"""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.engine.checkpoint import latest_checkpoint, load_checkpoint
from lidardistill.engine.logging import read_metrics
from lidardistill.engine.run_folder import CHECKPOINTS
from lidardistill.exchange.of_run import load_student
from lidardistill.export.run import export_backbone
from lidardistill.methods.of_run import method_of, recipe_of
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.pretrain.dry_run import dry_run_report
from lidardistill.tasks.pretrain.run import pretrain
from lidardistill.tasks.rows import recipe_rows
from lidardistill.tasks.runs import read_run
from lidardistill.tasks.segment.run import probe
from lidardistill.weights import load_checkpoint_tensors
from tests.support.resumed import assert_goes_on

VERSION = "v1.0-mini"


@pytest.fixture(scope="module")
def lidar(tiny_world, configs, tmp_path_factory):
    """A finished first stage. To be read only."""
    folder = tmp_path_factory.mktemp("prc") / "run"
    config = configs["calico"](tiny_world, "trainer.max_steps=2")
    assert pretrain(config, folder, progress=False).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def run(tiny_world, lidar, configs, tmp_path_factory):
    """A finished second stage. To be read only."""
    folder = tmp_path_factory.mktemp("rad") / "run"
    assert pretrain(configs["calico_rad"](tiny_world, lidar), folder, progress=False).exit_code == 0
    return folder


def test_a_run_logs_its_loss_and_leaves_the_camera_network_with_a_card(run, lidar, tiny_world, tmp_path):
    lines = read_metrics(run / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    wanted = {
        "loss",
        "loss/rad",
        "log_candidates",
        "match_top1",
        "effective_rank",
        "count/regions",
        "count/views",
    }
    assert wanted <= lines[-1].keys()
    assert all(line["count/regions"] > 0 and line["loss"] > 0 for line in lines)
    card = json.loads(export_backbone(run, tmp_path / "camera.safetensors").read_text())
    assert card["student"]["kind"] == "camera_bev"
    assert card["student"]["preset"] == "mini"
    assert card["method"]["lidar_weights"] == str(lidar)
    config = read_run(run, PretrainConfig)
    camera = config.method.camera.build()
    load_student(camera, str(run))
    exported = load_checkpoint_tensors(tmp_path / "camera.safetensors")
    assert all(torch.equal(value, exported[name]) for name, value in camera.state_dict().items())


def test_the_lidar_network_is_that_of_the_first_stage_and_is_not_stored(run, lidar, tiny_world, configs):
    method = method_of(configs["calico_rad"](tiny_world, lidar))
    given = load_checkpoint_tensors(lidar / "backbone.safetensors")
    ours = method.teacher.network.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in given.items())
    stored = load_checkpoint(latest_checkpoint(run / CHECKPOINTS))["state"]["model"]
    assert {name.split(".")[0] for name in stored} == {"student", "student_head", "teacher_head"}


def test_stopped_at_a_step_the_same_command_gives_the_same_run(
    run, lidar, tiny_world, configs, tmp_path, monkeypatch
):
    config = configs["calico_rad"](tiny_world, lidar)
    assert_goes_on(config, run, tmp_path / "run", monkeypatch)


def test_pillars_teach_too_and_two_keyframes_a_step_are_one_batch(tiny_world, configs, tmp_path):
    config = configs["calico_rad"](
        tiny_world,
        "random",
        "student.preset=pillars_mini",
        "voxels.voxel_size=[0.4, 0.4, 8.0]",
        "data.batch_size=2",
        "method.weighting=gaussian",
        "method.negatives=batch",
        "trainer.max_steps=2",
    )
    assert pretrain(config, tmp_path / "run", progress=False).steps == 2
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert all(line["loss"] > 0 and line["count/views"] == 12 for line in lines)


def test_dry_run_says_what_there_is(tiny_world, configs):
    report = dry_run_report(configs["calico_rad"](tiny_world, "random"))
    for word in (
        "4 keyframes of mini_train, 4 steps of 1",
        "of 1 scans",
        "(6, 3, 45, 80), compared at",
        "regions",
    ):
        assert word in report
    assert "M parameters, mini\n" in report
    assert "M parameters, voxelnet_mini, frozen" in report
    assert "superpixel" not in report


def test_a_keyframe_that_cannot_be_read_is_replaced_and_listed(tiny_world, configs, tmp_path):
    world = shutil.copytree(tiny_world, tmp_path / "world", ignore=shutil.ignore_patterns(".lidardistill"))
    index = NuScenesIndex.open(world, VERSION)
    config = configs["calico_rad"](world, "random")
    row = int(recipe_rows(config.data, index, recipe_of(config))[0])
    index.frame(row).image_paths[2].write_bytes(b"")
    assert pretrain(config, tmp_path / "run", progress=False).steps == 4
    (entry,) = json.loads((tmp_path / "run" / "quarantine.json").read_text())
    assert entry["token"] == index.sample_token(row)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.lidar_weights=/nowhere", r"method\.lidar_weights: .*/nowhere"),
        (
            "method.camera.bev_range=[-25.6, -25.6, 25.6, 25.6]",
            r"method\.camera\.bev_range: the cameras' map .* must cover",
        ),
        ("method.camera.weights=/nowhere.pth", "no checkpoint at /nowhere.pth"),
    ],
)
def test_what_cannot_be_built_is_named(tiny_world, configs, override, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        method_of(configs["calico_rad"](tiny_world, "random", override))


def test_weights_of_another_lidar_network_are_refused(lidar, tiny_world, configs):
    with pytest.raises(ValueError, match=r"method\.lidar_weights: "):
        method_of(
            configs["calico_rad"](
                tiny_world, lidar, "student.preset=pillars_mini", "voxels.voxel_size=[0.4, 0.4, 8.0]"
            )
        )


def test_a_camera_network_is_no_backbone_to_probe(run, tiny_world, configs, tmp_path):
    with pytest.raises(ValueError, match="student"):
        probe(configs["probe"](tiny_world), str(run), tmp_path / "probe")
