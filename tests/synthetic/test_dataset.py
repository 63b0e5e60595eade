from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lidardistill.synthetic.write.dataset import scene_seed, write_world

SMALL: dict[str, Any] = {"keyframes": 2, "image_size": (16, 24), "workers": 1}

needs_renderer = pytest.mark.skipif(
    importlib.util.find_spec("lidardistill.synthetic.write.record") is None,
    reason="the renderer is not here yet",
)


@pytest.fixture
def write(recorder: Any) -> Callable[..., Path]:
    return lambda out, **changes: write_world(out, record=recorder, **{**SMALL, **changes})


def names_of(root: Path) -> list[str]:
    return [scene["name"] for scene in json.loads((root / "v1.0-mini/scene.json").read_text())]


def test_scenes_carry_the_names_of_the_official_mini_split(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    splits = pytest.importorskip("nuscenes.utils.splits")
    names = names_of(write(tmp_path / "full", keyframes=1))
    assert names == sorted(splits.mini_train + splits.mini_val)
    names = names_of(write(tmp_path / "small", train_scenes=2, val_scenes=1))
    assert names == sorted(splits.mini_train[:2] + splits.mini_val[:1])


def test_same_arguments_give_the_same_bytes(
    write: Callable[..., Path], tmp_path: Path, tree_digest: Callable[[Path], str]
) -> None:
    digests = [
        tree_digest(write(tmp_path / str(number), train_scenes=2, seed=seed))
        for number, seed in enumerate([7, 7, 8])
    ]
    assert digests[0] == digests[1] != digests[2]


def test_a_scene_does_not_depend_on_how_many_others_there_are(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    few = write(tmp_path / "few", train_scenes=0, val_scenes=1)
    many = write(tmp_path / "many", train_scenes=3, val_scenes=2)
    files = [path.relative_to(few) for path in few.glob("s*/*/*") if path.is_file()]
    assert len(files) == 2 * 7 + 2
    assert all((few / name).read_bytes() == (many / name).read_bytes() for name in files)


def test_scene_seeds_differ() -> None:
    seeds = {scene_seed(seed, f"scene-{number:04d}") for seed in range(20) for number in range(20)}
    assert len(seeds) == 400
    assert scene_seed(0, "scene-0061") == scene_seed(0, "scene-0061") < 2**63


def test_progress_counts_every_keyframe(write: Callable[..., Path], tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    write(tmp_path / "w", train_scenes=1, val_scenes=1, on_progress=lambda *step: seen.append(step))
    assert seen == [(1, 4, "scene-0061"), (2, 4, "scene-0061"), (3, 4, "scene-0103"), (4, 4, "scene-0103")]


def test_a_finished_world_is_left_as_it_is(write: Callable[..., Path], tmp_path: Path) -> None:
    out = write(tmp_path / "w", train_scenes=1)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    seen: list[Any] = []
    assert write(out, train_scenes=1, workers=2, on_progress=lambda *step: seen.append(step)) == out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert seen == []


def test_a_folder_with_something_else_is_refused(write: Callable[..., Path], tmp_path: Path) -> None:
    out = write(tmp_path / "w", train_scenes=1)
    with pytest.raises(ValueError, match="another world: seed is 0 there and 1 here"):
        write(out, train_scenes=1, seed=1)
    (out / "world.json").write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        write(out, train_scenes=1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"no world\.json"):
        write(tmp_path / "other")
    with pytest.raises(ValueError, match=r"no world\.json"):
        write(tmp_path / "other" / "thesis.txt")
    assert (tmp_path / "other" / "thesis.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert names_of(write(tmp_path / "empty", train_scenes=1, val_scenes=0)) == ["scene-0061"]


def test_nothing_is_left_of_a_world_that_failed(recorder: Any, tmp_path: Path) -> None:
    def failing(name: str, seed: int, **arguments: Any) -> Any:
        if name == "scene-0553":
            raise OSError(28, "No space left on device")
        return recorder(name, seed, **arguments)

    with pytest.raises(OSError, match="No space left"):
        write_world(tmp_path / "w", record=failing, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_others_may_read_the_world(write: Callable[..., Path], tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        assert write(tmp_path / "w", train_scenes=1).stat().st_mode & 0o777 == 0o755
    finally:
        os.umask(mask)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train_scenes": 9}, r"train_scenes must be 0\.\.8.*mini_train.*got 9"),
        ({"val_scenes": 3}, r"val_scenes must be 0\.\.2.*mini_val.*got 3"),
        ({"train_scenes": 0, "val_scenes": 0}, "at least one scene"),
        ({"keyframes": 0}, "keyframes must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"image_size": (0, 800)}, "image_size must be height and width"),
    ],
)
def test_arguments_out_of_range_are_refused(
    write: Callable[..., Path], tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "w", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_no_torch_is_loaded() -> None:
    code = "import sys, lidardistill.synthetic.write.dataset; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


WORKERS = """
import os
import time
from dataclasses import replace
from pathlib import Path

from fake_recorder import fake_record

def dying(name, seed, **arguments):
    if name == "scene-0553":
        os._exit(9)
    return fake_record(name, seed, **arguments)

def failing(name, seed, **arguments):
    if name == "scene-0553":
        raise OSError(28, "No space left on device")
    return fake_record(name, seed, **arguments)

def counting_threads(name, seed, **arguments):
    if os.environ["OMP_NUM_THREADS"] != "1":
        raise ValueError("more than one thread")
    return fake_record(name, seed, **arguments)

def first_slowly(name, seed, **arguments):
    marker = Path(__file__).with_name("first_keyframe")
    recording = fake_record(name, seed, **arguments)
    if name != "scene-0061":
        if not marker.exists():
            raise ValueError(f"{name} began before the first keyframe was there")
        return recording
    def keyframes():
        time.sleep(1.0)
        marker.touch()
        yield from recording.keyframes
    return replace(recording, keyframes=keyframes())
"""


@pytest.fixture
def workers(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Recorders that a fresh process can import."""
    folder = tmp_path_factory.mktemp("modules")
    shutil.copy(Path(__file__).with_name("conftest.py"), folder / "fake_recorder.py")
    (folder / "worker_recorders.py").write_text(WORKERS)
    monkeypatch.syspath_prepend(folder)
    yield importlib.import_module("worker_recorders")
    del sys.modules["worker_recorders"], sys.modules["fake_recorder"]


def test_workers_change_nothing_but_the_time(
    workers: Any, tmp_path: Path, tree_digest: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    arguments: dict[str, Any] = {**SMALL, "train_scenes": 2, "val_scenes": 1}
    seen: list[tuple[int, int, str]] = []
    here = write_world(tmp_path / "here", **arguments, record=workers.fake_record)
    arguments |= {"workers": 2, "on_progress": lambda *step: seen.append(step)}
    there = write_world(tmp_path / "there", **arguments, record=workers.counting_threads)
    assert tree_digest(here) == tree_digest(there)
    assert [step[:2] for step in seen] == [(done, 6) for done in range(1, 7)]
    assert {step[2] for step in seen} == {"scene-0061", "scene-0103", "scene-0553"}
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_the_others_wait_until_the_first_has_compiled(workers: Any, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {**SMALL, "train_scenes": 2, "val_scenes": 0, "workers": 2}
    write_world(tmp_path / "w", **arguments, record=workers.first_slowly)


def test_a_failure_in_a_worker_reaches_the_caller(workers: Any, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        write_world(tmp_path / "w", **{**SMALL, "workers": 2}, record=workers.failing)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError, match=r"died.*fewer workers"):
        write_world(tmp_path / "w", **{**SMALL, "workers": 2}, record=workers.dying)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow  # the kernels are compiled where no run before has done it
@needs_renderer
def test_the_embedded_world_is_written(tmp_path: Path, tree_digest: Callable[[Path], str]) -> None:
    arguments: dict[str, Any] = {"train_scenes": 0, "val_scenes": 1, "keyframes": 1, "image_size": (27, 48)}
    first = write_world(tmp_path / "a", workers=1, **arguments)
    second = write_world(tmp_path / "b", workers=1, **arguments)
    assert tree_digest(first) == tree_digest(second)
    assert names_of(first) == ["scene-0103"]
