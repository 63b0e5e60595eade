"""The command line for users: help fits a screen, a mistake gives one line."""

from __future__ import annotations

import os
import pickle
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lidardistill.cli import main as command
from lidardistill.cli.main import app

VERBS = (
    "demo", "synth", "doctor", "pairs", "superpixels", "pretrain", "probe", "finetune", "detect", "mapseg",
    "evaluate", "report", "bench", "profile", "export",
)  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "configs" / "pretrain" / "demo.yaml"
PROBE = ROOT / "configs" / "probe" / "demo.yaml"


def call(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    """Run `lidardistill WORDS` in this process; return its result."""
    monkeypatch.setattr(sys, "argv", ["lidardistill", *map(str, words)])
    monkeypatch.delenv("LIDARDISTILL_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as ended:
        command.main()
    code = ended.value.code
    return code if isinstance(code, int) else int(code is not None)


def test_help_loads_nothing_heavy():
    code = (
        "import sys, lidardistill.cli.main\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules} & "
        "{'torch', 'numba', 'numpy', 'scipy', 'lightning_fabric', 'pydantic', 'matplotlib'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_fits_a_screen(verb):
    result = CliRunner().invoke(
        app, [*verb.split(), "--help"], env={"COLUMNS": "100", "TERMINAL_WIDTH": "100"}
    )
    assert result.exit_code == 0
    lines = result.output.rstrip().splitlines()
    assert len(lines) <= 24, result.output
    assert max(map(len, lines)) <= 100
    assert "Usage:" in result.output


def test_every_verb_is_there():
    result = CliRunner().invoke(app, ["--help"])
    for verb in VERBS:
        assert f"  {verb} " in result.output


def damaged_run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("verb: pretrain\nname: another\n")
    (run / "metrics.jsonl").write_text("")
    return run


MISTAKES = {
    "unknown key": (["pretrain", DEMO, "optimiser.lr=1", "--out", "{tmp}/run"], "did you mean 'optimizer'?"),
    "misspelt key in a section": (
        ["pretrain", DEMO, "data.bath_size=1", "--out", "{tmp}/run"],
        "'batch_size'?",
    ),
    "no such config": (
        ["pretrain", "{tmp}/none.yaml", "--out", "{tmp}/run"],
        "no config file {tmp}/none.yaml",
    ),
    "image size": (["synth", "--out", "{tmp}/w", "--image-size", "450"], "expected HEIGHTxWIDTH"),
    "unknown bench": (["bench", "speed", "--out", "{tmp}/b.json"], "expected one of projection"),
    "too few rounds": (["bench", "voxelize", "--rounds", "3", "--out", "{tmp}/b.json"], "at least 5"),
    "no weights": (
        ["probe", PROBE, "data.dataroot={world}", "--weights", "{tmp}/no", "--out", "{tmp}/p"],
        "{tmp}/no: expected a run folder",
    ),
    "another run": (
        ["pretrain", DEMO, "--out", "{run}"],
        "holds another run; it differs in name: another -> demo",
    ),
    "no tables": (["pretrain", DEMO, "data.dataroot={tmp}", "--out", "{tmp}/q"], "{tmp} holds no tables"),
    "unknown version": (
        ["superpixels", "--dataroot", "{world}", "--version", "v1.0-trainval", "--out", "{tmp}/s"],
        "unknown version 'v1.0-trainval'",
    ),
    "unknown sample": (
        [
            "pairs",
            "--dataroot",
            "{world}",
            "--version",
            "v1.0-mini",
            "--sample",
            "xyz",
            "--out",
            "{tmp}/p.npz",
        ],
        "sample token 'xyz' is not in {world}",
    ),
    "unknown visibility": (
        ["pairs", "--dataroot", "{world}", "--sample", "x", "--out", "{tmp}/p.npz", "--visibility", "maybe"],
        "expected none or zbuffer",
    ),
    "not a run": (["evaluate", "--run", "{tmp}", "--split", "val", "--out", "{tmp}/o"], "is no run folder"),
    "nothing to export": (
        ["export", "--weights", "{tmp}", "--out", "{tmp}/x.safetensors"],
        "is no run folder",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_error_without_a_traceback(mistake, tiny_world, tmp_path, monkeypatch, capsys):
    places = {"tmp": tmp_path, "world": tiny_world, "run": damaged_run(tmp_path)}
    words, message = MISTAKES[mistake]
    code = call(monkeypatch, *(str(word).format(**places) if "{" in str(word) else word for word in words))
    said = capsys.readouterr().err
    assert code == 1, said
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message.format(**places) in errors[0]
    assert "Traceback" not in said
    assert said.count(message.format(**places)) == 1


def test_a_wrong_override_stops_before_anything_is_made(tmp_path, monkeypatch):
    assert call(monkeypatch, "pretrain", DEMO, "seed=minus", "--out", tmp_path / "run") == 1
    assert not (tmp_path / "run").exists()


UNEXPECTED = [
    TypeError("bad"),
    KeyError("name"),
    AttributeError("no x"),
    AssertionError(),
    RecursionError("deep"),
    EOFError("no data left"),
    pickle.UnpicklingError("bad\nfile"),
    NotImplementedError("later"),
    struct.error("short"),
    IndexError("7"),
]


@pytest.mark.parametrize("error", UNEXPECTED, ids=lambda error: type(error).__name__)
def test_an_error_of_our_own_says_that_it_is_a_bug(error, monkeypatch, capsys, tmp_path):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("lidardistill.synthetic.write.dataset.write_world", fail)
    assert call(monkeypatch, "synth", "--out", tmp_path / "world") == 1
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith(f"error: this is a bug of lidardistill: {type(error).__name__}")
    assert "synth.py:" in told
    assert told.endswith("Run the same command with LIDARDISTILL_TRACEBACK=1 and report the traceback")
    assert "Aborted" not in told


def test_memory_that_runs_out_is_no_bug(monkeypatch, capsys, tmp_path):
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 3 TiB")

    monkeypatch.setattr("lidardistill.synthetic.write.dataset.write_world", fail)
    assert call(monkeypatch, "synth", "--out", tmp_path / "world") == 1
    assert (
        "error: memory ran out (Unable to allocate 3 TiB): lower data.batch_size" in capsys.readouterr().err
    )


def test_a_traceback_is_shown_to_whom_asks_for_it(monkeypatch, tmp_path):
    def fail(*_: object, **__: object) -> None:
        raise TypeError("bad")

    monkeypatch.setattr("lidardistill.synthetic.write.dataset.write_world", fail)
    monkeypatch.setattr(sys, "argv", ["lidardistill", "synth", "--out", str(tmp_path / "world")])
    monkeypatch.setenv("LIDARDISTILL_TRACEBACK", "1")
    with pytest.raises(TypeError, match="bad"):
        command.main()


def test_sigterm_lets_a_command_clean_up(monkeypatch, tmp_path):
    def wait(*_: object, **__: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            (tmp_path / "cleaned").touch()

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("lidardistill.synthetic.write.dataset.write_world", wait)
    assert call(monkeypatch, "synth", "--out", tmp_path / "world") == 128 + signal.SIGTERM
    assert (tmp_path / "cleaned").exists()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("verb", ["pretrain", "profile", "probe", "finetune", "detect", "mapseg"])
def test_the_help_names_a_recipe_of_the_verb(verb: str) -> None:
    text = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "100", "TERMINAL_WIDTH": "100"}).output
    (named,) = re.findall(r"configs/\w+/\w+\.yaml", text)
    assert named == f"configs/{'pretrain' if verb == 'profile' else verb}/demo.yaml"
    assert (ROOT / named).is_file()
