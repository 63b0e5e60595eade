"""The plain form of the progress bar, as it stands in a log file."""

from __future__ import annotations

import pytest

from lidardistill.progress import Bar


def test_a_finished_stage_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("stage", total=3) as bar:
        for done in (1, 2, 3, 3, 3):
            bar.update(done, "note")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("stage 3/3")
    assert lines[0].endswith("note")
