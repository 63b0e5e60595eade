"""A progress bar with an ETA on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_PLAIN_EVERY_S = 10.0


class Bar:
    """One stage of work.

    Args:
        title: what is done.
        total: how many steps; may come with the first `update`.
    """

    def __init__(self, title: str, total: int | None = None) -> None:
        self.title = title
        self.total = total
        self.started = self._printed = time.monotonic()
        self._on_terminal = sys.stderr.isatty()
        self._finished = False
        self._progress = Progress(
            TextColumn("{task.description:12s}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            disable=not self._on_terminal,
        )
        self._task = self._progress.add_task(title, total=total, note="")

    def update(self, done: int, note: str | int = "", total: int | None = None) -> None:
        """Show that `done` steps are through."""
        if isinstance(note, int):  # callers that report (done, total)
            total, note = note, ""
        self.total = self.total if total is None else total
        self._progress.update(self._task, completed=done, total=self.total, note=str(note))
        now = time.monotonic()
        finished = done == self.total
        if not self._on_terminal and (
            now - self._printed > _PLAIN_EVERY_S or (finished and not self._finished)
        ):
            self._printed, self._finished = now, finished
            left = (now - self.started) / max(done, 1) * ((self.total or done) - done)
            print(
                f"{self.title} {done}/{self.total or '?'}  {now - self.started:.0f} s, {left:.0f} s left  {note}",
                file=sys.stderr,
            )

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
