from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from lidardistill.regions.slic.slic import slic
from lidardistill.regions.superpixels.precompute import precompute
from lidardistill.regions.superpixels.source import SuperpixelSource
from lidardistill.regions.superpixels.store import SuperpixelStore, recipe_key

KEY = recipe_key(20, 6.0, 1.0, "exact")
RECIPE = {"num_superpixels": 20, "compactness": 6.0, "sigma": 1.0}


def write_images(folder: Path, count: int, size: tuple[int, int] = (40, 60)) -> list[tuple[str, Path]]:
    rng = np.random.default_rng(5)
    folder.mkdir(parents=True)
    images = []
    for k in range(count):
        path = folder / f"{k}.npy"
        np.save(path, rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        images.append((f"samples/{k}.jpg", path))
    return images


@pytest.fixture
def images(tmp_path) -> list[tuple[str, Path]]:
    return write_images(tmp_path / "images", 8)


@pytest.fixture
def store(tmp_path) -> SuperpixelStore:
    return SuperpixelStore(tmp_path / "store", KEY)


def check(store: SuperpixelStore, images: list[tuple[str, Path]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for key, path in images:
            np.testing.assert_array_equal(store.get(key), slic(np.load(path), 20, 6.0, 1.0))


@pytest.mark.parametrize("workers", [0, 2])
def test_fills_the_store_and_skips_what_is_there(images, store, workers):
    progress: list[tuple[int, int]] = []
    counts = precompute(
        images[:5],
        store,
        **RECIPE,
        read_image=np.load,
        workers=workers,
        on_progress=lambda *now: progress.append(now),
    )
    assert (counts.computed, counts.skipped, counts.failed) == (5, 0, [])
    assert progress == [(k, 5) for k in range(1, 6)]
    check(store, images[:5])
    stamps = [store.path_of(key).stat().st_mtime_ns for key, _ in images[:5]]
    counts = precompute(images, store, **RECIPE, read_image=np.load, workers=0)
    assert (counts.computed, counts.skipped, counts.done) == (3, 5, 8)
    assert [store.path_of(key).stat().st_mtime_ns for key, _ in images[:5]] == stamps
    assert counts.stored_bytes == sum(store.path_of(key).stat().st_size for key, _ in images[5:])
    assert "8 of 8 images: 3 computed" in str(counts)
    check(store, images)


def test_the_source_finds_what_was_precomputed(images, tmp_path):
    source = SuperpixelSource(20, 6.0, 1.0, scale=2, store=tmp_path / "store")
    precompute(images, source.store, **RECIPE, scale=2, read_image=np.load, workers=0)
    for key, path in images:
        found = source(lambda: pytest.fail("the image is not needed"), key)[0]
        np.testing.assert_array_equal(found, SuperpixelSource(20, 6.0, 1.0, scale=2)(np.load(path), key)[0])


def test_unusable_images_are_listed_and_stop_nothing(images, store):
    images[1][1].unlink()
    images[2][1].write_bytes(images[2][1].read_bytes()[:100])
    np.save(images[3][1], np.zeros((4, 4), np.float32))
    counts = precompute(images, store, **RECIPE, read_image=np.load, workers=0)
    assert counts.computed == 5
    assert {path for path, _ in counts.failed} == {str(path) for _, path in images[1:4]}
    assert counts.done == 8
    for _, path in images[1:4]:
        assert str(path) in str(counts)
    check(store, [images[0], *images[4:]])


def test_a_damaged_entry_is_made_anew(images, store):
    precompute(images, store, **RECIPE, read_image=np.load, workers=0)
    path = store.path_of(images[3][0])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(RuntimeWarning, match=path.name):
        counts = precompute(images, store, **RECIPE, read_image=np.load, workers=0)
    assert (counts.computed, counts.skipped) == (1, 7)
    check(store, images)


@pytest.mark.filterwarnings("ignore:superpixel entry.*Not a directory")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_store_that_cannot_be_written_stops_and_is_named(images, tmp_path, workers):
    (tmp_path / "file").touch()
    store = SuperpixelStore(tmp_path / "file" / "store", KEY)
    with pytest.raises(OSError, match="cannot write the superpixels") as caught:
        precompute(images, store, **RECIPE, read_image=np.load, workers=workers)
    assert str(store.root) in str(caught.value)


def die(path: Path) -> np.ndarray:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError(path)


def test_a_worker_that_dies_is_reported(images, store):
    with pytest.raises(RuntimeError, match=r"a worker process died.*call again to continue"):
        precompute(images, store, **RECIPE, read_image=die, workers=1)


RUN = """
    import sys, time
    from pathlib import Path
    import numpy as np
    from lidardistill.regions.superpixels.store import SuperpixelStore
    from lidardistill.regions.superpixels.precompute import precompute

    def read(path):
        time.sleep(0.03)
        return np.load(path)

    if __name__ == "__main__":
        folder, root, key, workers = sys.argv[1:]
        images = [(f"samples/{path.stem}.jpg", path) for path in Path(folder).glob("*.npy")]
        counts = precompute(
            images, SuperpixelStore(root, key), read_image=read, workers=int(workers),
            num_superpixels=20, compactness=6.0, sigma=1.0,
        )
        print(counts)
"""


def start(tmp_path: Path, store: SuperpixelStore, workers: int) -> subprocess.Popen[str]:
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(RUN))
    command = [sys.executable, str(script), str(tmp_path / "images"), str(store.root), KEY, str(workers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def entries(store: SuperpixelStore) -> int:
    return len(list(store.root.glob("??/*.ldsp")))


def session_members(session: int) -> list[int]:
    """Processes of a session, from /proc; zombies do not count."""
    members = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            members.append(int(status.parent.name))
    return members


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("workers", [0, 2])
def test_kill_9_at_any_time_leaves_whole_entries_and_no_processes(tmp_path, store, workers):
    images = write_images(tmp_path / "images", 40)
    run = start(tmp_path, store, workers)
    deadline = time.monotonic() + 60
    while entries(store) < 4 and time.monotonic() < deadline:
        time.sleep(0.005)
    run.kill()
    run.wait()
    while session_members(run.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert session_members(run.pid) == []  # the workers have noticed
    whole = [image for image in images if store.path_of(image[0]).exists()]
    assert 4 <= len(whole) < 40
    check(store, whole)
    counts = precompute(images, store, **RECIPE, read_image=np.load, workers=0)
    assert (counts.skipped, counts.computed) == (len(whole), 40 - len(whole))
    check(store, images)


def test_two_runs_at_once_do_no_harm(tmp_path, store):
    images = write_images(tmp_path / "images", 12)
    runs = [start(tmp_path, store, 0) for _ in range(2)]
    for run in runs:
        printed, _ = run.communicate(timeout=60)
        assert run.returncode == 0
        assert "12 of 12 images" in printed
        assert "0 failed" in printed
    check(store, images)
    assert entries(store) == 12
    assert list(store.root.glob("??/.*")) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "quick"}, "unknown preset"),
        ({"workers": -1}, "workers must be 0 or more"),
        ({"scale": 0}, "scale must be a whole number"),
        ({"workers": 1, "read_image": lambda path: np.load(path)}, "read_image cannot travel"),
    ],
)
def test_bad_arguments(images, store, change, message):
    with pytest.raises(ValueError, match=message):
        precompute(images, store, **{**RECIPE, "read_image": np.load, "workers": 0, **change})


def test_a_key_that_comes_twice(images, store):
    with pytest.raises(ValueError, match="9 images, but only 8 different keys"):
        precompute([*images, images[0]], store, **RECIPE, read_image=np.load, workers=0)


def test_nothing_to_do(store):
    assert precompute([], store, **RECIPE, read_image=np.load, workers=2).done == 0
