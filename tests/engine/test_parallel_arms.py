"""Processes of arms begin with their imports done and on one thread."""

from __future__ import annotations

import os
import sys

import pytest

from lidardistill.engine.parallel_arms import _in_processes, start_process_server


def _what_is_here() -> tuple[bool, str]:
    return "torch._dynamo" in sys.modules, os.environ["OMP_NUM_THREADS"]


@pytest.mark.skipif(sys.platform == "win32", reason="processes are spawned there")
def test_what_arms_import_is_there_and_one_thread_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    start_process_server()
    assert _in_processes(_what_is_here, [(), ()], 2, lambda message: None) == [(True, "1")] * 2
    assert os.environ["OMP_NUM_THREADS"] == "7"
