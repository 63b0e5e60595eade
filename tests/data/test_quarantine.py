"""The list of unusable samples: complete on disk, without repetition, limited by the budget."""

from __future__ import annotations

import json
import logging

import pytest

from lidardistill.data.quarantine import Quarantine, Quarantined


def test_each_sample_is_listed_and_logged_once(tmp_path, caplog):
    path = tmp_path / "run" / "quarantine.json"
    quarantine = Quarantine(path, budget=5)
    with caplog.at_level(logging.WARNING):
        assert quarantine.add("one", tmp_path / "scan.bin", "is empty")
        assert not quarantine.add("one", tmp_path / "scan.bin", "is empty")
        assert quarantine.add("two", None, "is gone")
    assert json.loads(path.read_text()) == [
        {"token": "one", "path": str(tmp_path / "scan.bin"), "reason": "is empty"},
        {"token": "two", "path": "", "reason": "is gone"},
    ]
    assert len(caplog.records) == 2
    assert str(tmp_path / "scan.bin") in caplog.text
    assert [file.name for file in path.parent.iterdir()] == ["quarantine.json"]


def test_nothing_bad_writes_nothing(tmp_path):
    Quarantine(tmp_path / "quarantine.json", budget=0)
    assert not list(tmp_path.iterdir())


def test_beyond_the_budget_the_run_stops(tmp_path):
    path = tmp_path / "quarantine.json"
    quarantine = Quarantine(path, budget=3)
    for number in range(3):
        quarantine.add(f"token-{number}", f"scan-{number}.bin", f"reason {number}")
    with pytest.raises(RuntimeError) as raised:
        quarantine.add("token-3", "scan-3.bin", "reason 3")
    message = str(raised.value)
    assert f"4 unusable samples, and the budget is 3. The whole list is in {path}" in message
    for number in range(3):
        assert f"token-{number}  scan-{number}.bin  reason {number}" in message
    assert "token-3" not in message
    assert len(json.loads(path.read_text())) == 4


def test_two_bad_files_of_one_sample_count_once(tmp_path):
    quarantine = Quarantine(tmp_path / "quarantine.json", budget=1)
    assert quarantine.add("one", "front.jpg", "is empty")
    assert quarantine.add("one", "back.jpg", "is empty")
    assert quarantine.num_samples == 1
    with pytest.raises(RuntimeError):
        quarantine.add("two", "front.jpg", "is empty")


def test_a_resumed_run_remembers(tmp_path):
    path = tmp_path / "quarantine.json"
    Quarantine(path, budget=2).add("one", "a", "b")
    again = Quarantine(path, budget=1)
    assert again.entries == (Quarantined("one", "a", "b"),)
    assert not again.add("one", "a", "b")
    with pytest.raises(RuntimeError, match="2 unusable samples"):
        again.add("two", "c", "d")


def test_a_budget_of_none_stops_at_the_first(tmp_path):
    with pytest.raises(RuntimeError, match="1 unusable samples, and the budget is 0"):
        Quarantine(tmp_path / "quarantine.json", budget=0).add("one", "a", "b")


@pytest.mark.parametrize("text", ["", "{}x", '[{"token": "a"}]', "[1]", '{"token": "a"}'])
def test_a_list_that_is_none(tmp_path, text):
    path = tmp_path / "quarantine.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"{path} is not a quarantine list"):
        Quarantine(path, budget=1)


def test_a_negative_budget(tmp_path):
    with pytest.raises(ValueError, match="expected 0 or more unusable samples, got -1"):
        Quarantine(tmp_path / "quarantine.json", budget=-1)


def test_a_failed_write_keeps_the_list_before(tmp_path, monkeypatch):
    path = tmp_path / "quarantine.json"
    quarantine = Quarantine(path, budget=9)
    quarantine.add("one", "a", "b")
    before = path.read_text()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lidardistill.atomic.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        quarantine.add("two", "a", "b")
    assert path.read_text() == before
    assert [file.name for file in tmp_path.iterdir()] == ["quarantine.json"]
