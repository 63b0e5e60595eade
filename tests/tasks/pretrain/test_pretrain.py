"""Pretraining from config to run folder, on a world of seconds."""

from __future__ import annotations

import errno
import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lidardistill.datasets.nuscenes.labels.points import read_lidarseg
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.engine.logging import read_metrics
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.pretrain.dry_run import dry_run_report
from lidardistill.tasks.pretrain.run import pretrain
from lidardistill.tasks.runs import read_run
from lidardistill.weights import load_checkpoint_tensors

VERSION = "v1.0-mini"


def tree(root: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of everything below a folder."""
    return {
        str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in root.rglob("*")
    }


@pytest.fixture
def own_world(tiny_world, tmp_path):
    """A copy that may be spoilt, without an index."""
    return shutil.copytree(tiny_world, tmp_path / "world", ignore=shutil.ignore_patterns(".lidardistill"))


def test_a_run_leaves_weights_card_manifest_and_metrics(pretrained, tiny_world):
    weights = load_checkpoint_tensors(pretrained / "backbone.safetensors")
    assert sum(tensor.numel() for tensor in weights.values()) > 1e6
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    card = json.loads((pretrained / "backbone.json").read_text())
    assert card["steps"] == 4
    assert card["student"]["preset"] == "mini"
    assert card["teacher"]["kind"] == "color_histogram"
    session = json.loads((pretrained / "manifest.json").read_text())["sessions"][-1]
    assert session["outcome"] == "finished"
    lines = read_metrics(pretrained / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    wanted = {
        "loss",
        "log_candidates",
        "match_top1",
        "alignment",
        "uniformity",
        "effective_rank",
        "count/pairs",
    }
    assert wanted <= lines[-1].keys()
    assert lines[0]["count/pairs"] > 50
    assert read_run(pretrained, PretrainConfig).data.dataroot == str(tiny_world)


def test_the_same_command_again_does_nothing(pretrained, configs, tiny_world):
    before = tree(pretrained)
    again = pretrain(configs["pretrain"](tiny_world), pretrained, progress=False)
    assert (again.exit_code, again.steps) == (0, 4)
    assert again.metrics["loss"] == read_metrics(pretrained / "metrics.jsonl")[-1]["loss"]
    assert tree(pretrained) == before


def test_a_finished_run_needs_neither_data_nor_teacher(pretrained, configs, tmp_path):
    run = shutil.copytree(pretrained, tmp_path / "run")
    world = tmp_path / "moved"
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(
        text.replace(str(read_run(run, PretrainConfig).data.dataroot), str(world))
    )
    assert pretrain(configs["pretrain"](world), run, progress=False).steps == 4


def test_another_config_in_the_same_folder_names_the_key(pretrained, configs, tiny_world):
    before = tree(pretrained)
    with pytest.raises(ValueError, match=r"another run; it differs in optimizer\.lr: 0\.01 -> 0\.5"):
        pretrain(configs["pretrain"](tiny_world, None, "optimizer.lr=0.5"), pretrained, progress=False)
    with pytest.raises(ValueError, match=r"student\.preset: mini -> minkunet14"):
        pretrain(
            configs["pretrain"](tiny_world, None, "student.preset=minkunet14"), pretrained, progress=False
        )
    assert tree(pretrained) == before


def test_a_folder_that_holds_something_else_is_refused(configs, tiny_world, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"is no run of lidardistill .*name another --out"):
        pretrain(configs["pretrain"](tiny_world), tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_that_never_began_makes_room_for_a_corrected_config(configs, tiny_world, tmp_path):
    run = tmp_path / "run"
    long_warmup = ("trainer={epochs: 1, accelerator: cpu}", "schedule.warmup_steps=40")
    with pytest.raises(ValueError, match=r"schedule\.warmup_steps must lie in 0\.\.3, got 40"):
        pretrain(configs["pretrain"](tiny_world, None, *long_warmup), run, progress=False)
    with pytest.raises(ValueError, match=r"data\.batch_size: 1 keyframes a step cannot be shared out"):
        pretrain(configs["pretrain"](tiny_world, None, "trainer.accumulate=2"), run, progress=False)
    assert pretrain(configs["pretrain"](tiny_world), run, progress=False).steps == 4
    assert read_run(run, PretrainConfig).schedule.warmup_steps == 1


def test_dry_run_writes_nothing(own_world, configs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    caches = tmp_path / "teacher", f"data.superpixels.cache={tmp_path / 'superpixels'}"
    images = f"data.images={{scale: 2, cache: {tmp_path / 'images'}}}"
    config = configs["pretrain"](own_world, *caches, images)
    with pytest.raises(ValueError, match=r"schedule\.warmup_steps"):
        dry_run_report(
            configs["pretrain"](own_world, None, "trainer={epochs: 1}", "schedule.warmup_steps=40")
        )
    before = tree(tmp_path)
    report = dry_run_report(config)
    assert tree(tmp_path) == before
    assert "4 keyframes of mini_train, 4 steps of 1" in report
    for word in (
        "points",
        "student",
        "teacher",
        "pairs",
        "time",
        "memory",
        "disk",
        "image cache about 0.00 GB",
        "nothing was written",
    ):
        assert word in report


def test_an_image_cache_may_come_and_go(tiny_world, configs, tmp_path):
    """It changes no pixel, so an interrupted run may go on without it; the scale is another run."""
    cached = ("data.images.scale=2", f"data.images.cache={tmp_path / 'images'}")
    runs = {"with": cached, "again": cached, "without": cached[:1], "whole": ()}
    losses = {}
    for name, overrides in runs.items():
        pretrain(configs["pretrain"](tiny_world, None, *overrides), tmp_path / name, progress=False)
        losses[name] = [line["loss"] for line in read_metrics(tmp_path / name / "metrics.jsonl")]
    assert len(list((tmp_path / "images").rglob("*.ldim"))) > 0
    assert losses["with"] == losses["again"] == losses["without"]
    assert losses["with"] != losses["whole"]
    moved = (cached[0], f"data.images.cache={tmp_path / 'elsewhere'}")
    assert (
        pretrain(configs["pretrain"](tiny_world, None, *moved), tmp_path / "with", progress=False).steps == 4
    )
    with pytest.raises(ValueError, match=r"data\.images\.scale"):
        pretrain(configs["pretrain"](tiny_world), tmp_path / "with", progress=False)


def test_pretraining_opens_no_label_file(own_world, configs, tmp_path):
    opened: list[str] = []
    watching = True

    def hook(event, arguments):
        if watching and event == "open" and f"{own_world}/lidarseg/" in str(arguments[0]):
            opened.append(str(arguments[0]))

    sys.addaudithook(hook)  # for good; `watching` turns it off
    try:
        pretrain(configs["pretrain"](own_world, tmp_path / "teacher"), tmp_path / "run", progress=False)
        assert opened == []
        read_lidarseg(NuScenesIndex.open(own_world, VERSION), 0)
        assert len(opened) == 1, "the watch itself is blind"
    finally:
        watching = False
    shutil.rmtree(own_world / "lidarseg")
    (own_world / VERSION / "lidarseg.json").unlink()
    assert pretrain(configs["pretrain"](own_world), tmp_path / "unlabelled", progress=False).exit_code == 0


def spoil(world: Path) -> dict[str, Path]:
    """Truncates the scan of the first keyframe of mini_train and a picture of the last."""
    index = NuScenesIndex.open(world, VERSION)
    first, last = (int(index.rows_of_scenes(["scene-0061", "scene-0553"])[place]) for place in (0, -1))
    scan, picture = index.lidar_path(first), index.image_paths(last)[3]
    scan.write_bytes(scan.read_bytes()[:-7])
    picture.write_bytes(picture.read_bytes()[:-300])
    return {index.sample_token(first): scan, index.sample_token(last): picture}


@pytest.mark.parametrize("cached", [False, True])
def test_corrupt_files_are_replaced_logged_once_and_listed(own_world, configs, tmp_path, caplog, cached):
    bad = spoil(own_world)
    config = configs["pretrain"](own_world, tmp_path / "teacher" if cached else None, "trainer.max_steps=8")
    logging.getLogger("lidardistill").propagate = True
    with caplog.at_level(logging.WARNING):
        result = pretrain(config, tmp_path / "run", progress=False)
    assert (result.exit_code, result.steps) == (0, 8)
    listed = {
        entry["token"]: entry for entry in json.loads((tmp_path / "run" / "quarantine.json").read_text())
    }
    assert listed.keys() == bad.keys()
    for token, path in bad.items():
        assert str(path) in listed[token]["path"] + listed[token]["reason"]
        assert sum(str(path) in message for message in caplog.messages) == 1


@pytest.mark.parametrize("cached", [False, True])
def test_more_corrupt_files_than_allowed_stop_the_run(own_world, configs, tmp_path, cached):
    spoil(own_world)
    cache = tmp_path / "teacher" if cached else None
    config = configs["pretrain"](own_world, cache, "trainer.max_steps=8", "data.max_corrupt=1")
    with pytest.raises(RuntimeError, match=r"2 unusable samples, and the budget is 1"):
        pretrain(config, tmp_path / "run", progress=False)
    assert len(json.loads((tmp_path / "run" / "quarantine.json").read_text())) == 2
    session = json.loads((tmp_path / "run" / "manifest.json").read_text())["sessions"][-1]
    assert session["outcome"] == "failed"
    assert not (tmp_path / "run" / "backbone.safetensors").exists()


def test_a_full_disk_names_the_checkpoint_and_the_run_goes_on_later(
    tiny_world, pretrained, configs, tmp_path, monkeypatch
):
    real = torch.save

    def full(content, stream):
        if content["step"] == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(content, stream)

    config = configs["pretrain"](tiny_world)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(OSError, match=r"cannot write .*run/checkpoints/step-00000004\.pt: No space left"):
            pretrain(config, tmp_path / "run", progress=False)
    assert not list((tmp_path / "run").rglob("*.tmp"))
    assert pretrain(config, tmp_path / "run", progress=False).steps == 4
    ours = load_checkpoint_tensors(tmp_path / "run" / "backbone.safetensors")
    whole = load_checkpoint_tensors(pretrained / "backbone.safetensors")
    assert all(torch.equal(ours[name], whole[name]) for name in whole)


def test_killed_at_any_step_the_same_command_gives_the_same_run(tiny_world, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).parents[2] / "support" / "pretrain_children.py"),
            str(tiny_world),
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.split()[-3:] == ["0", "-9", "0"], done.stderr[-4000:]
    losses = {
        name: [(line["step"], line["loss"]) for line in read_metrics(tmp_path / name / "metrics.jsonl")]
        for name in ("whole", "killed3")
    }
    assert [step for step, _ in losses["whole"]] == [1, 2, 3, 4, 5]
    assert losses["killed3"] == losses["whole"]
    whole = load_checkpoint_tensors(tmp_path / "whole" / "backbone.safetensors")
    weights = load_checkpoint_tensors(tmp_path / "killed3" / "backbone.safetensors")
    assert all(torch.equal(weights[key], whole[key]) for key in whole)


@pytest.mark.parametrize("spoil", ["four columns", "float64"])
def test_scans_of_another_layout_are_refused_before_training(tiny_world, tmp_path, configs, spoil):
    world = tmp_path / "world"
    shutil.copytree(tiny_world, world, ignore=shutil.ignore_patterns(".lidardistill"))
    for path in (world / "samples" / "LIDAR_TOP").iterdir():
        points = np.fromfile(path, np.float32).reshape(-1, 5)
        spoiled = points[:, :4] if spoil == "four columns" else points.astype(np.float64)
        np.ascontiguousarray(spoiled).tofile(path)
    with pytest.raises(ValueError, match=r"LIDAR_TOP.*5 float32 a point"):
        pretrain(configs["pretrain"](world), tmp_path / "run", progress=False)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.yaml"]
