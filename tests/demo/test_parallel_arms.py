"""Arm processes start with all imports done and on one thread."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lidardistill.demo.parallel_arms import _in_processes, start_process_server


def _what_is_here() -> tuple[bool, str | None]:
    return "torch._dynamo" in sys.modules, os.environ.get("OMP_NUM_THREADS")


def start_and_look() -> None:
    """Run in a separate process: a process has one fork server, and another test may have started it."""
    os.environ["OMP_NUM_THREADS"] = "7"
    start_process_server()
    assert _in_processes(_what_is_here, [(), ()], 2, lambda message: None) == [(True, "1")] * 2
    assert os.environ["OMP_NUM_THREADS"] == "7"


@pytest.mark.skipif(sys.platform == "win32", reason="processes are spawned there")
def test_what_arms_import_is_there_and_one_thread_is_asked_for() -> None:
    code = f"from {__name__} import start_and_look; start_and_look()"
    child = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr


def test_one_thread_is_asked_for_whoever_started_the_server() -> None:
    assert [found[1] for found in _in_processes(_what_is_here, [(), ()], 2, lambda message: None)] == [
        "1"
    ] * 2
