"""CALICO's first stage from config to run folder, on a world of seconds: no camera, no teacher, the same
engine.
"""

from __future__ import annotations

import json
import shutil

import pytest

from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.engine.logging import read_metrics
from lidardistill.export.run import export_backbone
from lidardistill.methods.of_run import recipe_of
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.pretrain.dry_run import dry_run_report
from lidardistill.tasks.pretrain.run import pretrain
from lidardistill.tasks.rows import recipe_rows
from lidardistill.tasks.runs import read_run
from lidardistill.weights import load_checkpoint_tensors, load_matching
from tests.support.backbones import lidar_bev
from tests.support.resumed import assert_goes_on

VERSION = "v1.0-mini"


@pytest.fixture(scope="module")
def run(tiny_world, configs, tmp_path_factory):
    """A finished run. To be read only."""
    folder = tmp_path_factory.mktemp("calico") / "run"
    assert pretrain(configs["calico"](tiny_world), folder, progress=False).exit_code == 0
    return folder


def test_a_run_logs_its_losses_and_leaves_a_backbone_with_a_card(run, tiny_world, tmp_path):
    lines = read_metrics(run / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    wanted = {"loss", "plrc", "rapc", "log_candidates", "match_top1", "alignment", "effective_rank"}
    wanted |= {"count/points", "count/rich_points", "count/regions"}
    assert wanted <= {name.removeprefix("loss/") for name in lines[-1]} | lines[-1].keys()
    assert all(line["count/regions"] > 0 and line["loss"] > 0 for line in lines)
    card_path = export_backbone(run, tmp_path / "out.safetensors")
    card = json.loads(card_path.read_text())
    assert (card["steps"], card["method"]["kind"], card["teacher"]) == (4, "calico_prc", None)
    assert card["student"] == {"kind": "lidar_bev", "preset": "voxelnet_mini"}
    load_matching(lidar_bev("voxelnet_mini", 4), load_checkpoint_tensors(tmp_path / "out.safetensors"))
    assert read_run(run, PretrainConfig).data.dataroot == str(tiny_world)


def test_stopped_at_a_step_the_same_command_gives_the_same_run(
    run, tiny_world, configs, tmp_path, monkeypatch
):
    config = configs["calico"](tiny_world)
    assert_goes_on(config, run, tmp_path / "run", monkeypatch)


def test_pillars_train_with_the_same_method(tiny_world, configs, tmp_path):
    config = configs["calico"](
        tiny_world, "student.preset=pillars_mini", "voxels.voxel_size=[0.4, 0.4, 8.0]", "trainer.max_steps=2"
    )
    assert pretrain(config, tmp_path / "run", progress=False).steps == 2
    assert all(line["loss"] > 0 for line in read_metrics(tmp_path / "run" / "metrics.jsonl"))


def test_dry_run_says_what_there_is_and_no_more(tiny_world, configs):
    report = dry_run_report(configs["calico"](tiny_world))
    assert "4 keyframes of mini_train, 4 steps of 1" in report
    for word in (
        "of 2 scans",
        "1 sweeps in two, compared at",
        "regions",
        "voxelnet_mini",
        "nothing was written",
    ):
        assert word in report
    assert "teacher" not in report
    assert "superpixel" not in report


def test_a_sweep_that_cannot_be_read_is_replaced_and_listed(tiny_world, configs, tmp_path):
    world = shutil.copytree(tiny_world, tmp_path / "world", ignore=shutil.ignore_patterns(".lidardistill"))
    index = NuScenesIndex.open(world, VERSION)
    config = configs["calico"](world)
    row = int(recipe_rows(config.data, index, recipe_of(config))[0])
    index.lidar_path(row).write_bytes(b"")
    assert pretrain(config, tmp_path / "run", progress=False).steps == 4
    (entry,) = json.loads((tmp_path / "run" / "quarantine.json").read_text())
    assert entry["token"] == index.sample_token(row)
