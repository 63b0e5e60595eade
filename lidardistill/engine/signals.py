"""A signal asks the run to stop after the step it is in."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

# Exit code of a run that a signal stopped after it saved itself: run the same command again (sysexits.h has 64..78).
EXIT_INTERRUPTED = 85

# SIGTERM: schedulers; SIGUSR1: SLURM's --signal before the time limit; SIGINT: Ctrl-C.
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Interrupted(Exception):
    """A signal stopped a run whose result was still needed; it is saved, and the same command continues it."""

    exit_code = EXIT_INTERRUPTED


class StopSignal:
    """While entered, SIGTERM, SIGUSR1 and Ctrl-C set `name` instead of ending the process; a second Ctrl-C ends it.

    A second SIGTERM is not taken for impatience: torchrun passes on the one it gets, and the group got it already.
    Outside of the main thread Python takes no handlers, and nothing is changed.

    Attributes:
        name: of the signal that came, else None.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if name == self.name == "SIGINT":
            raise KeyboardInterrupt
        self.name = name
