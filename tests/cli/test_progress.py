"""The plain form of the progress bar, for log files."""

from __future__ import annotations

import pytest

from lidardistill import progress
from lidardistill.progress import Bar


def test_a_finished_stage_has_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("stage", total=3) as bar:
        for done in (1, 2, 3, 3, 3):
            bar.update(done, note="note")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("stage 3/3 note  ")
    assert lines[0].endswith("it/s  in 0:00")


def test_a_line_every_few_seconds_with_an_eta(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("lidardistill.progress.time.monotonic", lambda: now)
    bar = Bar("stage")
    for done in range(1, 41):
        now += 1.0
        bar.update(done, 100)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["10/100", "20/100", "30/100", "40/100"]
    assert lines[-1] == "stage 40/100 1.00 it/s  ETA 1:00"


def test_bars_on_a_terminal_may_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """rich allows one live display at a time: a bar ends with its last step, whether or not it is closed."""
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    first, second = Bar("first", 2), Bar("second", 2)
    for bar in (first, second):
        for done in (1, 2, 2):
            bar.update(done)
        assert bar._live is None
