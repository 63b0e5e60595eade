"""numba gets a writable folder, or a message names the variable to set. No other place is changed."""

from __future__ import annotations

import logging
import os
import stat

import pytest

import lidardistill


@pytest.fixture
def nothing_can_be_written(monkeypatch, tmp_path):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("numba.config.CACHE_DIR", "")
    monkeypatch.setattr(lidardistill, "_can_write", lambda folder: False)
    yield
    os.environ.pop("NUMBA_CACHE_DIR", None)


def test_a_folder_that_can_be_written_is_left_alone(monkeypatch, caplog):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    for writable in ("__pycache__", "numba"):
        monkeypatch.setattr(lidardistill, "_can_write", lambda folder, name=writable: folder.endswith(name))
        lidardistill._give_kernels_a_folder()
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/mine")
    monkeypatch.setattr(lidardistill, "_can_write", lambda folder: False)
    lidardistill._give_kernels_a_folder()
    assert os.environ["NUMBA_CACHE_DIR"] == "/mine"
    assert caplog.text == ""


def test_a_private_temporary_folder_takes_their_place(nothing_can_be_written, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    for _ in range(2):  # the second process finds it there
        os.environ.pop("NUMBA_CACHE_DIR", None)
        lidardistill._give_kernels_a_folder()
        folder = os.environ["NUMBA_CACHE_DIR"]
        assert folder == str(tmp_path / f"lidardistill-numba-{os.getuid()}")
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert "set NUMBA_CACHE_DIR to a folder of your own" in caplog.text


def test_a_folder_of_somebody_else_is_not_used(nothing_can_be_written, tmp_path):
    expected = tmp_path / f"lidardistill-numba-{os.getuid()}"
    expected.mkdir()
    expected.chmod(0o777)
    lidardistill._give_kernels_a_folder()
    assert os.environ["NUMBA_CACHE_DIR"] != str(expected)


def test_without_any_place_the_variable_is_named(nothing_can_be_written, monkeypatch, caplog):
    def fail() -> str:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr("tempfile.gettempdir", fail)
    lidardistill._give_kernels_a_folder()
    assert "no temporary folder can be written either" in caplog.text
    assert "NUMBA_CACHE_DIR" in caplog.text


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root can write everywhere")
def test_what_can_be_written(tmp_path):
    tmp_path.chmod(0o500)
    assert not lidardistill._can_write(str(tmp_path / "new" / "folder"))
    tmp_path.chmod(0o700)
    assert lidardistill._can_write(str(tmp_path / "new" / "folder"))
