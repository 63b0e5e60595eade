import json
import subprocess

import pytest

from lidardistill.atomic import write_json_atomic
from lidardistill.engine.manifest import Manifest, git_state, machine, peak_memory, versions


def test_a_run_is_on_record_from_its_start_to_its_end(tmp_path):
    path = tmp_path / "manifest.json"
    manifest = Manifest(path, seed=3, extra={"name": "slidr"})
    running = json.loads(path.read_text())
    assert running["seed"] == 3
    assert running["name"] == "slidr"
    assert running["sessions"][0]["outcome"] == "running"
    manifest.finish(steps=20)
    session = json.loads(path.read_text())["sessions"][0]
    assert session["outcome"] == "finished"
    assert session["steps"] == 20
    assert session["end"] >= session["start"]
    assert session["peak_memory"]["process_mb"] > 50
    assert {"command", "git", "versions", "machine"} <= session.keys()


def test_a_continued_run_keeps_its_earlier_parts(tmp_path):
    path = tmp_path / "manifest.json"
    Manifest(path, seed=0)  # killed
    Manifest(path, seed=0).finish("interrupted")
    Manifest(path, seed=0).finish()
    assert [s["outcome"] for s in json.loads(path.read_text())["sessions"]] == [
        "running",
        "interrupted",
        "finished",
    ]


def test_a_foreign_file_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text("[1]")
    with pytest.raises(ValueError, match="not a manifest"):
        Manifest(tmp_path / "manifest.json", seed=0)


def test_git_state_of_a_checkout_and_outside_of_one(tmp_path):
    assert git_state(tmp_path) == {"commit": None, "dirty": None}

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "core.hooksPath=/dev/null"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "one")
    state = git_state(tmp_path)
    assert len(state["commit"]) == 40
    assert state["dirty"] is False
    (tmp_path / "file").write_text("2")
    assert git_state(tmp_path)["dirty"] is True


def test_versions_and_machine_are_plain_values(tmp_path):
    assert versions()["torch"] is not None
    assert machine()["cores"] >= 1
    write_json_atomic(tmp_path / "x.json", {"v": versions(), "m": machine(), "p": peak_memory()})


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "x.json"
    write_json_atomic(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json_atomic(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]
    with pytest.raises(OSError, match=r"x\.json/y\.json"):
        write_json_atomic(path / "y.json", {"a": 1})
