"""`lidardistill evaluate`: which options belong together, and the table of corrupted scans."""

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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--run", "r", "--baseline", "b"], "--baseline: expected --corruption too"),
        (["--run", "r", "--task", "map", "--corruption", "fog"], "--task lidarseg or detection"),
        (
            ["--task", "detection", "--submission", "s", "--dataroot", "d", "--corruption", "fog"],
            "expected --run RUN",
        ),
        (["--task", "map"], "--task map: expected --run RUN"),
        (["--run", "r", "--task", "maps"], "expected lidarseg, detection or map"),
        (["--run", "r", "--corruption", "hail"], "got hail"),
    ],
)
def test_options_that_do_not_fit(words, message, tmp_path):
    result = CliRunner().invoke(app, ["evaluate", "--split", "val", "--out", str(tmp_path / "o"), *words])
    assert isinstance(result.exception, ValueError)
    assert message in str(result.exception)
    assert not (tmp_path / "o").exists()
