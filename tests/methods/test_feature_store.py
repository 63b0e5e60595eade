"""Cached teacher features: whole or absent, and apart by key."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lidardistill.methods.slidr.cached_features import FeatureStore


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, "recipe")
    features = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    count = np.arange(6, dtype=np.float32)
    assert not store.has("token")
    store.put("token", features, count)
    assert store.has("token")
    for got, expected in zip(store.get("token"), (features, count), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_another_recipe_does_not_see_them(tmp_path: Path) -> None:
    FeatureStore(tmp_path, "one").put("token", np.zeros((1, 1)), np.zeros(1))
    with pytest.raises(FileNotFoundError, match=r"token.*run it again"):
        FeatureStore(tmp_path, "two").get("token")


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lidardistill.atomic.os.fsync", full)
    store = FeatureStore(tmp_path, "recipe")
    with pytest.raises(OSError, match="No space left"):
        store.put("token", np.zeros((1, 1)), np.zeros(1))
    assert not store.has("token")
    assert list(store.folder.iterdir()) == []
