"""How every verb runs, on a task of milliseconds; and what fine-tuning had wrong while it had a run of its
own.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import time

import pytest
import torch
import yaml

from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.engine import loop
from lidardistill.engine.signals import Interrupted
from lidardistill.tasks.segment import run as segment
from lidardistill.tasks.segment.run import finetune, probe
from lidardistill.tasks.verb import execute
from lidardistill.weights import load_checkpoint_tensors
from tests.support.loops import FakeConfig, FakeData, FakeTask


def outcomes(run):
    return [part["outcome"] for part in json.loads((run / "manifest.json").read_text())["sessions"]]


def trainer(**changes):
    config = FakeConfig()
    return config.model_copy(update={"trainer": config.trainer.model_copy(update=changes)})


def test_a_run_says_what_runs_and_how_it_ended_and_is_not_repeated(tmp_path, caplog):
    logging.getLogger("lidardistill").propagate = True
    run, task = tmp_path / "run", FakeTask()
    with caplog.at_level(logging.INFO):
        done = execute(task, run, progress=False)
    assert (done.metrics, done.loop.steps, task.calls) == ({"miou": 0.5}, 4, ["build", "finish"])
    assert outcomes(run) == ["finished"]
    assert json.loads((run / "manifest.json").read_text())["sessions"][0]["miou"] == 0.5
    for words in (
        "cpu",
        "8 numbers",
        "4 steps of 4",
        "M parameters",
        str(run),
        "fake finished: 4 steps in 0:0",
    ):
        assert words in caplog.text
    assert execute(task, run, progress=False).metrics == {"miou": 0.5}
    assert task.calls == ["build", "finish"]
    listed = json.loads((run / "quarantine.json").read_text())
    assert [(entry["token"], entry["reason"]) for entry in listed] == [("token-3", "truncated")]


def test_the_moving_average_is_what_is_saved(tmp_path):
    plain, averaged = FakeTask(), FakeTask(trainer(ema_decay=0.999))
    execute(plain, tmp_path / "plain", progress=False)
    result = execute(averaged, tmp_path / "averaged", progress=False).loop
    assert not torch.equal(plain.saved["layer.weight"], averaged.saved["layer.weight"])
    assert torch.equal(averaged.saved["layer.weight"], result.ema.average["layer.weight"])


def test_what_a_config_has_wrong_comes_out_before_anything_is_recorded(tmp_path):
    config = FakeConfig(data=FakeData(batch_size=3), trainer=trainer(accumulate=2).trainer)
    with pytest.raises(ValueError, match=r"data\.batch_size: 3 keyframes a step cannot be shared out"):
        execute(FakeTask(config), tmp_path / "run", progress=False)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.yaml"]


def test_an_error_and_a_signal_are_recorded_wherever_they_come(tmp_path):
    """The manifest never says "running" for ever, and a signal outside of the loop needs no step to be
    noticed.
    """

    def fail(run):
        raise OSError("disk full")

    def hang(run):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    def stop(loss, step):
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss

    run = tmp_path / "run"
    with pytest.raises(Interrupted, match="stopped at step 2; the same command continues it"):
        execute(FakeTask(change=stop), run, progress=False)
    with pytest.raises(OSError, match="disk full"):
        execute(FakeTask(finish=fail), run, progress=False)
    with pytest.raises(Interrupted):
        execute(FakeTask(finish=hang), run, progress=False)
    last = FakeTask()
    execute(last, run, progress=False)
    assert outcomes(run) == ["interrupted", "failed", "interrupted", "finished"]
    whole = FakeTask()
    execute(whole, tmp_path / "whole", progress=False)
    assert all(torch.equal(last.saved[name], value) for name, value in whole.saved.items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda loss, step: loss * 0, "none of its 4 steps moved the weights"),
        (lambda loss, step: loss * torch.nan, "4 were skipped because they were not finite"),
    ],
)
def test_a_run_that_learnt_nothing_fails_and_writes_no_weights(tmp_path, change, words):
    task = FakeTask(change=change)
    for _ in range(2):  # the counter is in the checkpoint, so the same command again does not hide it
        with pytest.raises(RuntimeError, match=words):
            execute(task, tmp_path / "run", progress=False)
    assert "finish" not in task.calls
    assert outcomes(tmp_path / "run") == ["failed", "failed"]


def test_weights_that_are_not_finite_at_the_end_are_not_written(tmp_path, monkeypatch):
    real = loop.Stepper.step

    def overflow(self, *arguments):
        record = real(self, *arguments)
        with torch.no_grad():
            self.params[0][0, 0] = torch.inf
        return record

    monkeypatch.setattr(loop.Stepper, "step", overflow)
    task = FakeTask(trainer(max_steps=1))
    with pytest.raises(RuntimeError, match=r"weights layer\.weight are not finite after 1 steps"):
        execute(task, tmp_path / "run", progress=False)
    assert "finish" not in task.calls


def test_a_run_goes_on_where_the_data_lie_elsewhere(tmp_path):
    def stop(loss, step):
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss

    with pytest.raises(Interrupted):
        execute(FakeTask(change=stop), tmp_path / "run", progress=False)
    moved = FakeConfig(data=FakeData(dataroot="there"))
    assert execute(FakeTask(moved), tmp_path / "run", progress=False).loop.steps == 4
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["data"]["dataroot"] == "there"


def test_a_key_that_an_older_version_did_not_have_keeps_its_default(tmp_path):
    """As `data.max_corrupt` of a probe: config.yaml and checkpoints of before are of the same run."""

    def stop(loss, step):
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss

    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        execute(FakeTask(change=stop), run, progress=False)
    values = yaml.safe_load((run / "config.yaml").read_text())
    del values["seed"]
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    assert execute(FakeTask(), run, progress=False).loop.steps == 4


# What fine-tuning and probing had wrong.


@pytest.fixture
def own_world(tiny_world, tmp_path):
    return shutil.copytree(tiny_world, tmp_path / "world", ignore=shutil.ignore_patterns(".lidardistill"))


@pytest.mark.parametrize("verb", ["finetune", "online"])
def test_an_unreadable_scan_is_listed_and_counted(verb, own_world, configs, tmp_path, caplog):
    index = NuScenesIndex.open(own_world, "v1.0-mini")
    (row,) = segment.labelled_rows(configs["probe"](own_world).data, index)[:1].tolist()
    scan = index.lidar_path(row)
    scan.write_bytes(scan.read_bytes()[:-7])
    logging.getLogger("lidardistill").propagate = True

    def train(out, *overrides):
        if verb == "finetune":
            finetune(configs["finetune"](own_world, *overrides), "random", out, progress=False)
        else:
            config = configs["probe"](own_world, "probe={kind: online, epochs: 1}", *overrides)
            probe(config, "random", out, progress=False)

    with caplog.at_level(logging.WARNING):
        train(tmp_path / "run")
    assert str(scan) in caplog.text
    (entry,) = json.loads((tmp_path / "run" / "quarantine.json").read_text())
    assert entry["token"] == index.sample_token(row)
    with pytest.raises(RuntimeError, match="1 unusable samples, and the budget is 0"):
        train(tmp_path / "strict", "data.max_corrupt=0")


def test_the_moving_average_of_a_finetuning(tiny_world, configs, tmp_path):
    weights = []
    for name, more in (("plain", ()), ("averaged", ("trainer.ema_decay=0.999",))):
        finetune(configs["finetune"](tiny_world, *more), "random", tmp_path / name, progress=False)
        weights.append(load_checkpoint_tensors(tmp_path / name / "model.safetensors")["head.weight"])
    assert not torch.equal(*weights)


@pytest.mark.parametrize("verb", ["probe", "finetune", "detect", "mapseg"])
@pytest.mark.parametrize(("split", "words"), [("test", "none of its"), ("mini_vall", "unknown split")])
def test_a_split_without_scenes_is_refused_before_training(verb, split, words, tiny_world, configs, tmp_path):
    task = configs["task"](
        verb, tiny_world, f"data.{'eval' if verb in ('detect', 'mapseg') else 'val'}_split={split}"
    )
    with pytest.raises(ValueError, match=rf"data\.\w+_split: .*{words}"):
        execute(task, tmp_path / "run", progress=False)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.yaml"]


@pytest.mark.parametrize("verb", ["probe", "finetune", "detect"])
def test_a_missing_devkit_is_noticed_before_training(verb, tiny_world, configs, tmp_path, monkeypatch):
    def missing(name):
        raise ImportError("No module named 'nuscenes'")

    monkeypatch.setattr("lidardistill.datasets.nuscenes.labels.devkit.importlib.import_module", missing)
    with pytest.raises(ImportError, match="official evaluator needs nuscenes-devkit"):
        execute(configs["task"](verb, tiny_world), tmp_path / "run", progress=False)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.yaml"]


def test_missing_labels_are_noticed_before_training(own_world, configs, tmp_path):
    shutil.rmtree(own_world / "lidarseg")
    with pytest.raises(FileNotFoundError, match=r"data\.train_split: label file .* is missing"):
        execute(configs["task"]("finetune", own_world), tmp_path / "run", progress=False)
