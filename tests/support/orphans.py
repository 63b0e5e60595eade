"""Kill a parent with SIGKILL and find its remaining child processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def in_session(session: int) -> list[int]:
    """Return the process ids of a session, without zombies."""
    listed = subprocess.run(["ps", "-eo", "pid=,sid=,stat="], capture_output=True, text=True, check=True)
    rows = [line.split() for line in listed.stdout.splitlines()]
    return [int(pid) for pid, sid, state in rows if int(sid) == session and not state.startswith("Z")]


def left_behind(code: str, *arguments: object, number: int = signal.SIGKILL, within_s: float = 30.0) -> int:
    """Processes that a parent leaves behind.

    Args:
        code: Python of the parent. It prints "ready" once its children work, and would go on for long.
        arguments: of the parent.
        number: signal that ends the parent.
        within_s: the children have this long to end.

    Returns:
        How many children still live then; all of them are ended.
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert parent.stdout is not None
        for line in parent.stdout:
            if line.strip() == "ready":
                break
        else:
            raise AssertionError(f"the parent ended with {parent.wait()}")
        assert len(in_session(parent.pid)) > 1, "there are no children"
        parent.send_signal(number)
        parent.wait(60)
        end = time.monotonic() + within_s
        while (left := in_session(parent.pid)) and time.monotonic() < end:
            time.sleep(0.1)
        return len(left)
    finally:
        for pid in in_session(parent.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        parent.wait()
