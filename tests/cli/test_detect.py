"""The verbs of detection: scores, errors for wrong options, and advice after an interruption."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from lidardistill.cli.main import app, main
from lidardistill.config.io import dump_yaml
from lidardistill.engine.signals import EXIT_INTERRUPTED, Interrupted
from lidardistill.tasks.detect import run as engine
from tests.support.tiny_configs import tiny_detect

pytest.importorskip("nuscenes", reason="scores come from nuscenes-devkit")


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def run(detection_world, tmp_path_factory):
    """A finished run, and what the command printed."""
    home = tmp_path_factory.mktemp("cli")
    (home / "tiny.yaml").write_text(dump_yaml(tiny_detect(detection_world)))
    result = invoke(
        "detect", home / "tiny.yaml", "--weights", "random", "--out", home / "run", "trainer.max_steps=1"
    )
    assert result.exit_code == 0, result.output
    return home / "run", result.output


def test_detect_prints_every_class_and_the_scores(run):
    folder, output = run
    lines = [line.split() for line in output.splitlines()]
    assert len([line for line in lines if line[-1:] == ["boxes"]]) == 10
    assert any(line[:1] == ["mAP"] for line in lines)
    assert any(line[:1] == ["NDS"] and "nuscenes-devkit" in line for line in lines)
    assert "errors" in output
    assert f"metrics: {folder / 'metrics.json'}" in output


def test_evaluate_a_run_and_a_file(run, detection_world, tmp_path):
    folder, output = run
    wanted = [line for line in output.splitlines() if line.startswith("  NDS")]
    common = ("evaluate", "--split", "mini_val", "--out")
    again = invoke(*common, tmp_path / "again", "--run", folder)
    assert again.exit_code == 0, again.output
    data = ("--dataroot", detection_world, "--version", "v1.0-mini")
    alone = invoke(
        *common, tmp_path / "alone", "--submission", folder / "detections" / "mini_val.json", *data
    )
    assert alone.exit_code == 0, alone.output
    for result in (again, alone):
        assert [line for line in result.output.splitlines() if line.startswith("  NDS")] == wanted


def test_a_stopped_run_says_how_to_go_on(run, monkeypatch, tmp_path, capsys):
    def stop(*arguments, **options):
        raise Interrupted("stopped at step 1; the same command continues it")

    monkeypatch.setattr(engine, "detect", stop)
    words = ["detect", run[0].parent / "tiny.yaml", "--weights", "random", "--out", tmp_path / "run"]
    monkeypatch.setattr("sys.argv", ["lidardistill", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == EXIT_INTERRUPTED
    assert "the same command continues it" in capsys.readouterr().err
