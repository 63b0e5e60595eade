"""`lidardistill evaluate`: valid combinations of options, and the table of corrupted scans."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from lidardistill.cli.main import app
from lidardistill.cli.scores import print_robustness

RESULT = {
    "metric": "mIoU",
    "clean": 0.405,
    "accuracy": {"fog": [0.285, 0.139, 0.084], "spoofing": [0.4, 0.4, 0.4]},
    "rr": {"fog": 0.418},
    "mrr": 0.418,
    "attack_success": {"spoofing": [0.812, 1.0, 1.0]},
    "evaluator": "nuscenes-devkit",
}


def test_the_table(capsys):
    print_robustness(RESULT, Path("out"))
    plain = capsys.readouterr().out.splitlines()
    assert plain[1].split() == ["fog", "28.5", "13.9", "8.4", "-", "41.8"]
    assert plain[2].split() == ["spoofing", "40.0", "40.0", "40.0", "-", "-"]
    assert plain[3].split()[:5] == ["spoofing", "success", "81.2", "100.0", "100.0"]
    assert "clean 40.5, mRR 41.8" in plain[4]
    assert "mCE" not in plain[4]
    print_robustness({**RESULT, "ce": {"fog": 0.882}, "mce": 0.882}, Path("out"))
    compared = capsys.readouterr().out.splitlines()
    assert compared[1].split() == ["fog", "28.5", "13.9", "8.4", "88.2", "41.8"]
    assert "mCE 88.2, mRR 41.8" in compared[4]


@pytest.fixture
def runs(tmp_path):
    """Run folders with nothing but a config.yaml."""
    for verb in ("pretrain", "probe", "detect", "mapseg"):
        (tmp_path / verb).mkdir()
        (tmp_path / verb / "config.yaml").write_text(f"verb: {verb}\n")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--run", "{probe}", "--baseline", "b"], "--baseline works only with --corruption"),
        (
            ["--run", "{mapseg}", "--corruption", "fog"],
            "--corruption works with --task lidarseg or detection",
        ),
        (["--submission", "s", "--dataroot", "d", "--corruption", "fog"], "needs --run"),
        (["--submission", "s", "--dataroot", "d", "--task", "map"], "is a file of detections"),
        (["--submission", "s"], "--submission needs --dataroot"),
        (["--task", "map"], "give either --run RUN or --submission FILE"),
        (["--run", "{probe}", "--submission", "s"], "give either --run RUN or --submission FILE"),
        (
            ["--run", "{probe}", "--corruption", "fog", "--dataroot", "d"],
            "--corruption reads the data of the run",
        ),
        (["--run", "{probe}", "--task", "maps"], "expected lidarseg, detection or map"),
        (["--run", "{probe}", "--task", "map"], "is a probe run, so its task is lidarseg"),
        (["--run", "{pretrain}"], "is a pretrain run and predicts nothing"),
        (["--run", "{probe}", "--corruption", "hail"], "got hail"),
    ],
)
def test_options_that_do_not_fit(words, message, runs, tmp_path):
    words = [word.format(**{path.name: path for path in runs.iterdir()}) for word in words]
    result = CliRunner().invoke(app, ["evaluate", "--split", "val", "--out", str(tmp_path / "o"), *words])
    assert isinstance(result.exception, ValueError)
    assert message in str(result.exception)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("verb", "function"),
    [
        ("probe", "lidardistill.tasks.segment.run.evaluate"),
        ("detect", "lidardistill.tasks.detect.run.evaluate_detector"),
        ("mapseg", "lidardistill.tasks.mapseg.run.evaluate_maps"),
    ],
)
def test_the_run_names_the_task(verb, function, runs, tmp_path, monkeypatch):
    called = []

    def fake(*arguments, **options):
        called.append(arguments)
        raise ValueError("far enough")

    monkeypatch.setattr(function, fake)
    words = ["evaluate", "--run", str(runs / verb), "--split", "val", "--out", str(tmp_path / "o")]
    assert "far enough" in str(CliRunner().invoke(app, words).exception)
    assert called == [(runs / verb, "val", tmp_path / "o")]
