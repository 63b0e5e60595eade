"""Nothing that starts processes leaves one behind, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from lidardistill.child_processes import Leash, end_with_parent
from lidardistill.demo.parallel_arms import _in_processes
from lidardistill.synthetic.write.dataset import write_world
from lidardistill.synthetic.write.noise import record_noise
from tests.support.orphans import left_behind

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def busy(mark: str | Path | None = None) -> None:
    """Say that this process works, and go on for long."""
    if mark is None:
        print("ready", flush=True)
    else:
        Path(mark).touch()
    time.sleep(600)


def play(folder: Path) -> None:
    busy()


def record_slowly(name: str, seed: int, **options: object) -> None:
    busy()


def read_slowly(path: Path) -> None:
    busy()


def fail_or_wait(fail: bool, mark: str) -> None:
    if not fail:
        busy(mark)
    while not Path(mark).exists():
        time.sleep(0.05)
    raise KeyError("the first job")


def die_or_wait(die: bool, mark: str) -> None:
    if not die:
        busy(mark)
    while not Path(mark).exists():
        time.sleep(0.05)
    os._exit(3)


PARENTS = {
    "arms of the demo": """
from lidardistill.demo.parallel_arms import _in_processes
from tests.test_child_processes import busy
_in_processes(busy, [(), ()], 2, print)
""",
    "rehearsal of the demo": """
import time
from lidardistill.demo import rehearsal
from tests.test_child_processes import play
rehearsal.rehearse = play
with rehearsal.rehearsal():
    time.sleep(600)
""",
    "synth": """
import sys
from lidardistill.synthetic.write.dataset import write_world
from tests.test_child_processes import record_slowly
write_world(sys.argv[1] + "/world", keyframes=1, workers=2, record=record_slowly)
""",
    "superpixels": """
import sys
from pathlib import Path
from lidardistill.regions.superpixels.precompute import precompute
from lidardistill.regions.superpixels.store import SuperpixelStore
from tests.test_child_processes import read_slowly
images = [(str(number), Path(str(number))) for number in range(4)]
precompute(images, SuperpixelStore(sys.argv[1], "recipe"), read_image=read_slowly, workers=2)
""",
}


@pytest.mark.parametrize("kind", PARENTS)
def test_children_end_with_a_parent_that_is_killed(kind, tmp_path):
    guarded = "if __name__ == '__main__':\n" + "".join(
        f"    {line}\n" for line in PARENTS[kind].strip().splitlines()
    )
    script = tmp_path / "parent.py"
    script.write_text(guarded)
    run = (
        f"import runpy, sys; sys.argv[0] = {str(script)!r}; "
        f"runpy.run_path({str(script)!r}, run_name='__main__')"
    )
    assert left_behind(run, tmp_path) == 0


def test_sigterm_ends_the_children_too(tmp_path):
    assert left_behind(PARENTS["arms of the demo"], number=signal.SIGTERM) == 0


def test_an_error_ends_the_other_jobs_at_once(tmp_path):
    with pytest.raises(KeyError, match="the first job"):
        _in_processes(fail_or_wait, [(True, str(tmp_path / "on")), (False, str(tmp_path / "on"))], 2, print)


def test_a_job_that_dies_is_an_error_in_words(tmp_path):
    with pytest.raises(RuntimeError, match="a process of the demo died"):
        _in_processes(die_or_wait, [(True, str(tmp_path / "on")), (False, str(tmp_path / "on"))], 2, print)


def record_or_fail(name: str, seed: int, **options: object) -> object:
    if name == "scene-0061":
        return record_noise(name, seed, **options)  # type: ignore[arg-type]
    raise ValueError(f"{name} cannot be rendered")


def test_a_world_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="cannot be rendered"):
        write_world(
            tmp_path / "world",
            train_scenes=3,
            val_scenes=0,
            keyframes=1,
            image_size=(9, 16),
            workers=2,
            record=record_or_fail,
        )
    assert list(tmp_path.iterdir()) == []


def hold(held: object, mark: str) -> None:
    end_with_parent(held)  # type: ignore[arg-type]
    busy(mark)


def test_a_leash_that_is_cut_ends_its_holder(tmp_path):
    context = multiprocessing.get_context("spawn")
    with Leash(context) as leash:
        child = context.Process(target=hold, args=(leash.held, str(tmp_path / "on")), daemon=True)
        child.start()
        while not (tmp_path / "on").exists():
            assert child.is_alive()
            time.sleep(0.05)
        leash.cut()
        child.join(60)
        assert child.exitcode == 1


def test_the_main_process_is_no_child():
    before = signal.getsignal(signal.SIGINT)
    end_with_parent()
    assert signal.getsignal(signal.SIGINT) is before
