"""Places for kernels, indexes and batches."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidardistill.config.io import load_config
from lidardistill.doctor import caches
from lidardistill.doctor.caches import data_cache, kernel_cache, shared_memory
from lidardistill.tasks.pretrain.config import PretrainConfig

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "pretrain" / "demo.yaml"


def test_kernels_go_where_numba_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "new" / "kernels"))
    assert kernel_cache().level == "ok"
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(blocked / "kernels"))
    finding = kernel_cache()
    assert finding.level == "error"
    assert "NUMBA_CACHE_DIR" in finding.text


def test_no_place_for_kernels_names_the_variable(monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(caches, "can_write", lambda folder: False)
    finding = kernel_cache()
    assert finding.level == "error"
    assert "set NUMBA_CACHE_DIR" in finding.text


def test_an_index_goes_to_the_second_place_or_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("LIDARDISTILL_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "root"
    root.mkdir()
    assert str(root / ".lidardistill") in data_cache(root).text
    (root / ".lidardistill").write_text("a file where the folder should be")
    finding = data_cache(root)
    assert finding.level == "ok"
    assert str(tmp_path / "cache") in finding.text
    (tmp_path / "cache").write_text("")
    finding = data_cache(root)
    assert finding.level == "warning"
    assert "LIDARDISTILL_CACHE" in finding.text


@pytest.mark.parametrize(
    ("free_mb", "overrides", "level"),
    [
        (64, ["data.batch_size=16", "data.num_workers=4"], "error"),
        (64, ["data.batch_size=1", "data.num_workers=4"], "ok"),
        (64, ["data.batch_size=16", "data.num_workers=0"], "ok"),
        (250, ["data.batch_size=16", "data.num_workers=4"], "warning"),
        (64_000, ["data.batch_size=16", "data.num_workers=4"], "ok"),
    ],
)
def test_shared_memory_for_a_config(free_mb, overrides, level):
    config = load_config(PretrainConfig, CONFIG, overrides)
    assert shared_memory(config, free_mb * 1_000_000).level == level


def test_shared_memory_for_the_default_sizes():
    finding = shared_memory(None, 64_000_000)
    assert finding.level == "warning"
    assert "--shm-size" in finding.text
    assert shared_memory(None, 64_000_000_000).level == "ok"
