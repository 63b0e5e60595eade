"""How much memory a call needs beyond what its process holds already."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


def peak_extra_mb(call: Callable[[], Any]) -> float | None:
    """Peak of resident memory during a call, less what was resident before it.

    Freed memory that the process still holds would hide part of the peak, so it is returned to the system
    first.

    Args:
        call: what to measure, called once; its result is dropped afterwards.

    Returns:
        Megabytes (1e6 bytes), or None where the system does not tell (it takes Linux).
    """
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM back to what is resident now
        before = _resident_mb("VmRSS")
    except OSError:
        return None
    call()
    return _resident_mb("VmHWM") - before


def _resident_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"/proc/self/status has no {field}")
