"""BEVContrast from config to run folder, on a world of seconds: no camera, no teacher, the same engine."""

from __future__ import annotations

import json
import shutil

import pytest

from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.engine.logging import read_metrics
from lidardistill.methods.of_run import recipe_of
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.pretrain.dry_run import dry_run_report
from lidardistill.tasks.pretrain.run import Pretrain, pretrain
from lidardistill.tasks.rows import recipe_rows
from lidardistill.tasks.runs import read_run
from lidardistill.tasks.segment.run import probe
from tests.support.resumed import assert_goes_on

VERSION = "v1.0-mini"


@pytest.fixture(scope="module")
def run(tiny_world, configs, tmp_path_factory):
    """A finished run of few cells. To be read only."""
    folder = tmp_path_factory.mktemp("bevcontrast") / "run"
    config = configs["bevcontrast"](tiny_world, "method.max_cells=60")
    assert pretrain(config, folder, progress=False).exit_code == 0
    return folder


def test_a_run_logs_what_slidr_logs_and_leaves_a_backbone(run, tiny_world, configs, tmp_path):
    lines = read_metrics(run / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    wanted = {
        "loss",
        "log_candidates",
        "match_top1",
        "alignment",
        "uniformity",
        "effective_rank",
        "count/cells",
    }
    assert wanted <= lines[-1].keys()
    assert [line["count/cells"] for line in lines] == [60] * 4
    assert lines[0]["count/matched_cells"] > 60
    card = json.loads((run / "backbone.json").read_text())
    assert (card["steps"], card["method"]["kind"], card["teacher"]) == (4, "bevcontrast", None)
    assert read_run(run, PretrainConfig).data.dataroot == str(tiny_world)
    assert 0 <= probe(configs["probe"](tiny_world), str(run), tmp_path / "probe")["miou"] <= 1


def test_stopped_at_a_step_the_same_command_gives_the_same_run(
    run, tiny_world, configs, tmp_path, monkeypatch
):
    config = configs["bevcontrast"](tiny_world, "method.max_cells=60")
    assert_goes_on(config, run, tmp_path / "run", monkeypatch)


def test_dry_run_says_what_there_is_and_no_more(tiny_world, configs):
    report = dry_run_report(configs["bevcontrast"](tiny_world))
    assert "2 keyframes of mini_train, 4 steps of 1" in report
    for word in ("points", "of 2 scans", "pairs", "student", "time", "memory", "disk", "nothing was written"):
        assert word in report
    assert "teacher" not in report
    assert "superpixel" not in report


def test_a_pair_that_cannot_be_read_is_replaced_and_listed(tiny_world, configs, tmp_path):
    world = shutil.copytree(tiny_world, tmp_path / "world", ignore=shutil.ignore_patterns(".lidardistill"))
    index = NuScenesIndex.open(world, VERSION)
    config = configs["bevcontrast"](world)
    row = int(recipe_rows(config.data, index, recipe_of(config))[0])
    index.lidar_path(row + 1).write_bytes(b"")
    assert pretrain(config, tmp_path / "run", progress=False).steps == 4
    (entry,) = json.loads((tmp_path / "run" / "quarantine.json").read_text())
    assert entry["token"] == index.sample_token(row)
    assert str(index.lidar_path(row + 1)) in entry["reason"]


def rows_of(config, index):
    return recipe_rows(config.data, index, recipe_of(config))


def test_rows_have_partners_and_are_spread(tiny_world, configs):
    index = NuScenesIndex.open(tiny_world, VERSION)
    assert len(rows_of(configs["bevcontrast"](tiny_world), index)) == 2
    assert len(rows_of(configs["bevcontrast"](tiny_world, "data.keyframes=1"), index)) == 1
    with pytest.raises(ValueError, match=r"two keyframes 2 apart"):
        rows_of(configs["bevcontrast"](tiny_world, "method.stride=2"), index)


def test_advice_about_waiting_names_only_keys_that_the_method_reads(tiny_world, configs):
    """A run whose loader is slow must not be told to set a key that its config refuses."""
    advice = Pretrain(configs["bevcontrast"](tiny_world)).advice()
    assert "superpixels" not in advice
    assert "data.images" not in advice
    of_slidr = Pretrain(configs["pretrain"](tiny_world)).advice()
    assert "data.superpixels.cache" in of_slidr
    assert "data.images.cache" in of_slidr
