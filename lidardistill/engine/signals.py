"""Signals end a run in order: a step is finished and saved, and anything that blocks is left within
seconds.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

# Exit code of a run that a signal stopped after it saved itself: run the same command again (sysexits.h has
# 64..78).
EXIT_INTERRUPTED = 85

# SIGTERM: schedulers; SIGUSR1: SLURM's --signal before the time limit; SIGINT: Ctrl-C.
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

GRACE_S = 5.0
"""Seconds after a signal in which the step at hand may still get its batch."""


class Interrupted(BaseException):
    """A signal stopped the run; the same command continues it.

    Like KeyboardInterrupt it is no `Exception`, so that no reader takes it for an unreadable file.
    """

    exit_code = EXIT_INTERRUPTED


class StopSignal:
    """While entered, SIGTERM, SIGUSR1 and Ctrl-C set `name` instead of ending the process; a second Ctrl-C
    ends it.

    Inside `waiting()` the process may block for ever, so `Interrupted` is raised there `GRACE_S` seconds
    after the
    signal. A second SIGTERM changes nothing: torchrun passes on the one it gets, and the process group got it
    already. Outside of the main thread Python takes no handlers, and nothing is changed.

    Attributes:
        name: of the signal that came, else None.
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
        """Around a wait without end, such as that for a batch; raises `Interrupted` there once a signal is
        overdue.
        """
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
    """While entered, SIGTERM and SIGUSR1 raise `Interrupted` at once, so that every `finally` has its
    turn.
    """
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
