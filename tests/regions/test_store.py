from __future__ import annotations

import os
import pickle
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

from lidardistill.regions.slic.slic import PRESETS
from lidardistill.regions.superpixels.store import SuperpixelStore, fingerprint, recipe_key

RECIPE = recipe_key(150, 6.0, 3.0, "reference")
NAME = "samples/CAM_FRONT/x.jpg"


@pytest.fixture
def store(tmp_path) -> SuperpixelStore:
    return SuperpixelStore(tmp_path / "store", RECIPE)


@pytest.fixture
def labels(rng) -> np.ndarray:
    return np.sort(rng.integers(0, 400, (20, 30)).astype(np.int32), axis=1)


def files(store: SuperpixelStore) -> list[Path]:
    return sorted(path for path in store.root.rglob("*") if path.is_file())


def test_put_and_get(store, labels):
    assert store.get(NAME) is None
    assert not store.has(NAME)
    path = store.put(NAME, labels)
    assert store.has(NAME)
    out = store.get(Path(NAME))
    assert out.dtype == np.int32
    np.testing.assert_array_equal(out, labels)
    assert files(store) == [path] == [store.path_of(NAME)]
    store.put(NAME, labels + 1)
    np.testing.assert_array_equal(store.get(NAME), labels + 1)
    assert files(store) == [path]


def test_each_parameter_and_image_has_its_own_entry(store):
    recipes = [
        RECIPE,
        recipe_key(151, 6.0, 3.0, "reference"),
        recipe_key(150, 6.5, 3.0, "reference"),
        recipe_key(150, 6.0, 3.5, "reference"),
        *(recipe_key(150, 6.0, 3.0, preset) for preset in PRESETS if preset != "reference"),
        recipe_key(150, 6.0, 3.0, "reference", scale=2),
    ]
    paths = {SuperpixelStore(store.root, recipe).path_of(NAME) for recipe in recipes}
    paths.add(store.path_of("samples/CAM_FRONT/y.jpg"))
    assert len(paths) == len(recipes) + 1
    assert recipe_key(150, 6, 3, "reference") == RECIPE


def test_entries_are_spread_over_256_folders(store):
    folders = {store.path_of(f"{k}.jpg").parent.name for k in range(4000)}
    assert folders == {f"{k:02x}" for k in range(256)}


def test_another_version_of_the_codec_has_other_entries(store, labels, monkeypatch):
    before = store.put(NAME, labels)
    monkeypatch.setattr("lidardistill.regions.superpixels.store.CODEC_VERSION", 99)
    assert store.path_of(NAME) != before
    assert store.get(NAME) is None


def test_a_truncated_entry_is_missing_and_named(store, labels):
    path = store.put(NAME, labels)
    whole = path.read_bytes()
    for length in (*range(0, 40), len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.warns(RuntimeWarning, match=f"{path.name}.*truncated"):
            assert store.get(NAME) is None
        with pytest.warns(RuntimeWarning, match=path.name):
            assert not store.has(NAME)
    store.put(NAME, labels)
    np.testing.assert_array_equal(store.get(NAME), labels)


def test_any_flipped_bit_is_missing(store, labels):
    path = store.put(NAME, labels)
    whole = path.read_bytes()
    for place in (*range(64), *range(64, len(whole), 7)):
        bad = bytearray(whole)
        bad[place] ^= 1 << (place % 8)
        path.write_bytes(bytes(bad))
        with pytest.warns(RuntimeWarning, match="damaged"):
            assert store.get(NAME) is None


def test_an_entry_in_the_wrong_place_is_missing(store, labels):
    source = store.put(NAME, labels)
    target = store.path_of("other.jpg")
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(source.read_bytes())
    with pytest.warns(RuntimeWarning, match="belongs to another image or recipe"):
        assert store.get("other.jpg") is None


def test_an_entry_of_another_image_under_the_same_name_is_missing(store, labels, rng):
    image, other = rng.integers(0, 256, (2, 40, 60, 3), dtype=np.uint8)
    store.put(NAME, labels, made_from=fingerprint(image))
    np.testing.assert_array_equal(store.get(NAME, made_from=fingerprint(image.copy())), labels)
    np.testing.assert_array_equal(store.get(NAME), labels)
    for wrong in (other, image[:20], image[:, :48]):
        with pytest.warns(RuntimeWarning, match="made from another image"):
            assert store.get(NAME, made_from=fingerprint(wrong)) is None
    store.put(NAME, labels)  # nothing known: nothing to compare
    np.testing.assert_array_equal(store.get(NAME, made_from=fingerprint(other)), labels)


def test_a_write_that_is_killed_leaves_no_entry(store, labels, tmp_path):
    script = f"""
        import os, signal, numpy as np
        from lidardistill.regions.superpixels import store
        store.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        store.SuperpixelStore({str(store.root)!r}, {RECIPE!r}).put({NAME!r}, np.zeros((20, 30), np.int32))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    (left,) = files(store)
    assert left.suffix == ".tmp"
    assert store.get(NAME) is None
    assert store.remove_temporary() == 0  # it is young: its writer may be at work
    os.utime(left, (0, 0))
    assert store.remove_temporary() == 1
    store.put(NAME, labels)
    assert files(store) == [store.path_of(NAME)]


def test_a_full_disk_names_the_path_and_leaves_nothing(store, rng):
    labels = rng.integers(0, 1000, (60, 80)).astype(np.int32)
    store.put("before.jpg", labels)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # A limit on the file size fails in the same call as a full disk, with EFBIG instead of ENOSPC.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="free some space") as caught:
            store.put(NAME, labels)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert caught.value.filename == str(store.path_of(NAME))
    assert NAME in str(caught.value)
    assert files(store) == [store.path_of("before.jpg")]
    np.testing.assert_array_equal(store.get("before.jpg"), labels)
    assert store.get(NAME) is None


def test_reading_needs_no_right_to_write(store, labels, monkeypatch):
    store.put(NAME, labels)

    def refuse(*_args, **_options):
        raise PermissionError(30, "Read-only file system")

    for name in ("mkdir", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr(os, "replace", refuse)
    np.testing.assert_array_equal(store.get(NAME), labels)
    assert store.get("other.jpg") is None
    with pytest.raises(OSError, match="Read-only file system") as caught:
        store.put(NAME, labels)
    assert caught.value.filename == str(store.path_of(NAME))
    np.testing.assert_array_equal(store.get(NAME), labels)


def test_no_folder_is_an_empty_store(tmp_path):
    store = SuperpixelStore(tmp_path / "none", RECIPE)
    assert store.get(NAME) is None
    assert store.remove_temporary() == 0
    assert not store.root.exists()


def test_readers_never_see_half_an_entry(store):
    maps = [np.full((200, 300), k, np.int32) + np.arange(300, dtype=np.int32) // (k + 1) for k in range(4)]
    store.put(NAME, maps[0])
    stop = threading.Event()

    def write() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            store.put(NAME, maps[turn % 4])

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for _ in range(100):
                out = store.get(NAME)
                assert any(np.array_equal(out, one) for one in maps)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert files(store) == [store.path_of(NAME)]


def test_a_store_travels_to_other_processes(store, labels):
    store.put(NAME, labels)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(store)).get(NAME), labels)
