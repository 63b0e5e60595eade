"""Signals stop a run cleanly: the loop finishes and saves the step, and leaves waits within seconds."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

# Exit code of a run that saved a checkpoint and stopped at a signal: run the same command again. sysexits.h
# uses 64..78.
EXIT_INTERRUPTED = 85

# Schedulers send SIGTERM; SLURM's --signal sends SIGUSR1 before the time limit; Ctrl-C sends SIGINT.
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

GRACE_S = 5.0
"""Grace period after a signal, in seconds, in which the current step may still get its batch."""


class Interrupted(BaseException):
    """A signal stopped the run; the same command continues it.

    Not an `Exception`, like KeyboardInterrupt, so that no data reader treats it as an unreadable file.
    """

    exit_code = EXIT_INTERRUPTED


class StopSignal:
    """Context manager: SIGTERM, SIGUSR1 and Ctrl-C set `name` instead of ending the process.

    A second Ctrl-C ends the process. The process may block forever inside `waiting()`, so `Interrupted` is
    raised there `GRACE_S` seconds after the signal. A second SIGTERM has no effect, because torchrun forwards
    a signal that the process group has already received. Outside the main thread Python allows no signal
    handlers, and the context manager does nothing.

    Attributes:
        name: name of the received signal, else None.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._waiting = self._overdue = False

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
            self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._on_alarm)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Enter around a wait that may block, such as for a batch; raises `Interrupted` after `GRACE_S`."""
        self._waiting = True
        try:
            if self._overdue:
                raise Interrupted(f"stopped by {self.name} while waiting")
            yield
        finally:
            self._waiting = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if name == self.name == "SIGINT":
            raise KeyboardInterrupt
        if self.name is None:
            signal.setitimer(signal.ITIMER_REAL, GRACE_S)
        self.name = name

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        self._overdue = True
        if self._waiting:
            raise Interrupted(f"stopped by {self.name} while waiting")


@contextmanager
def interruptible() -> Iterator[None]:
    """Context manager: SIGTERM and SIGUSR1 raise `Interrupted` at once, so that every `finally` runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(f"stopped by {signal.Signals(number).name}")

    before: dict[signal.Signals, Callable | int | None] = {
        number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGUSR1)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
