"""SLidR with a term seen from above, from config to run folder; and BEVContrast on a backbone that makes
maps.
"""

from __future__ import annotations

import json

import pytest
import torch

from lidardistill.data.keyframes import Keyframes
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.engine.logging import read_metrics
from lidardistill.methods.of_run import method_of, recipe_of
from lidardistill.showcase.trained import load_method
from lidardistill.tasks.pretrain.dry_run import dry_run_report
from lidardistill.tasks.pretrain.run import pretrain
from lidardistill.tasks.rows import recipe_rows
from lidardistill.tasks.runs import read_run
from lidardistill.weights import load_checkpoint_tensors
from tests.support.resumed import assert_goes_on

VERSION = "v1.0-mini"
TERM = "bev_term={weight: 0.5, stride: 1, cell_size: 1.0, bev_range: [-51, -51, 51, 51]}"
MAPS = (
    "student={kind: lidar_bev, preset: %s}",
    "voxels.point_cloud_range=[-51.2, -51.2, -5.0, 51.2, 51.2, 3.0]",
    "voxels.point_features=[x, y, z, intensity]",
    "voxels.reduce=mean",
)


@pytest.fixture(scope="module")
def run(tiny_world, configs, tmp_path_factory):
    """A finished run of SLidR with the term and cached teacher features. To be read only."""
    folder = tmp_path_factory.mktemp("bev_term")
    config = configs["pretrain"](tiny_world, folder / "teacher", TERM)
    assert pretrain(config, folder / "run", progress=False).exit_code == 0
    return folder / "run"


def test_a_run_logs_both_losses_and_its_card_names_the_term(run):
    lines = read_metrics(run / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert {"match_top1", "bev_match_top1", "count/pairs", "count/bev_cells"} <= lines[-1].keys()
    for line in lines:
        assert line["loss"] == pytest.approx(
            line["loss/contrast"] + 0.5 * line["loss/bev_contrast"], rel=1e-5
        )
    card = json.loads((run / "backbone.json").read_text())
    assert (card["method"]["kind"], card["bev_term"]["weight"]) == ("slidr", 0.5)
    assert all(
        not name.startswith("method.") for name in load_checkpoint_tensors(run / "backbone.safetensors")
    )


def test_the_method_of_a_run_can_be_shown(run):
    from lidardistill.tasks.pretrain.config import PretrainConfig

    method = load_method(read_run(run, PretrainConfig), run)
    weights = load_checkpoint_tensors(run / "backbone.safetensors")
    own = method.student.state_dict()
    assert all(torch.equal(own[name], weights[name]) for name in weights)


def test_stopped_at_a_step_the_same_command_gives_the_same_run(
    run, tiny_world, configs, tmp_path, monkeypatch
):
    config = configs["pretrain"](tiny_world, run.parent / "teacher", TERM)
    assert_goes_on(config, run, tmp_path / "run", monkeypatch)


def test_the_term_changes_nothing_of_how_the_method_begins(tiny_world, configs):
    """The same first weights and the same samples; rows are those with a partner."""
    with_term, alone = configs["pretrain"](tiny_world, None, TERM), configs["pretrain"](tiny_world)
    both, method = method_of(with_term), method_of(alone)
    mine = both.method.state_dict()
    assert all(torch.equal(mine[name], value) for name, value in method.state_dict().items())
    index = NuScenesIndex.open(tiny_world, VERSION)
    two, one = recipe_of(with_term), recipe_of(alone)
    rows = recipe_rows(with_term.data, index, two)
    assert len(rows) == 2 < len(recipe_rows(alone.data, index, one))
    joint, images = (Keyframes(index, rows, recipe, seed=0) for recipe in (two, one))
    batch = two.collate([joint[0, 0, 1]])
    assert batch.first.points.equal(torch.from_numpy(images[0, 0, 1].points))


def test_dry_run_names_both(tiny_world, configs):
    report = dry_run_report(configs["pretrain"](tiny_world, None, TERM))
    assert "images      (6, 3, 45, 80)" in report
    assert "of 2 scans" in report
    assert "teacher" in report


@pytest.mark.parametrize("preset", ["voxelnet_mini", "pillars_mini"])
def test_bevcontrast_trains_a_backbone_that_makes_maps(tiny_world, configs, tmp_path, preset):
    config = configs["bevcontrast"](
        tiny_world,
        *(change % preset if "%s" in change else change for change in MAPS),
        f"voxels.voxel_size={[0.4, 0.4, 8.0] if preset == 'pillars_mini' else [0.2, 0.2, 0.2]}",
        "method={kind: bevcontrast, stride: 1}",
        "trainer.max_steps=2",
    )
    method = method_of(config)
    assert method.grid is method.student.grid
    assert pretrain(config, tmp_path / "run", progress=False).steps == 2
    last = read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]
    assert last["count/cells"] > 20
    assert last["loss"] > 0
    assert json.loads((tmp_path / "run" / "backbone.json").read_text())["student"]["preset"] == preset
