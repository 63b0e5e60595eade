"""The progress bar of every command: a live bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import math
import sys
import time
from types import TracebackType
from typing import Any

PLAIN_EVERY_S = 10.0


class Bar:
    """Progress of one stage of work, on stderr.

    The bar appears at the first `update` and ends at the last one, so stages can follow each other. Rate and
    ETA leave out the first step, because kernels compile and workers start in it.

    Args:
        title: name of the stage.
        total: steps of the stage; `update` may change it.
        done: steps that earlier processes have done.
        plain_every_s: seconds between plain lines if stderr is no terminal; None for `PLAIN_EVERY_S`.
    """

    def __init__(
        self, title: str, total: int | None = None, *, done: int = 0, plain_every_s: float | None = None
    ) -> None:
        self.title, self.total, self.done, self.note = title, total, done, ""
        self._plain_every_s = PLAIN_EVERY_S if plain_every_s is None else plain_every_s
        self._started = self._last_plain = time.monotonic()
        self._warm: tuple[int, float] | None = None
        self._finished = False
        self._live: Any = None

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Show that `done` steps of `total` are done.

        Args:
            done: steps, counted from the start of the stage.
            total: steps of the stage, None for the number known before.
            note: more words for the line, such as the loss.
        """
        now = time.monotonic()
        self.done, self.note = done, note
        self.total = self.total if total is None else total
        self._warm = self._warm or (done, now)
        ends = done == self.total and not self._finished
        if sys.stderr.isatty():
            self._show(self._text(now))
        elif ends or now - self._last_plain >= self._plain_every_s:
            self._last_plain = now
            print(f"{self.title} {done}/{self.total or '?'} {self._text(now)}", file=sys.stderr, flush=True)
        if ends:
            self._finished = True
            self.close()

    def close(self) -> None:
        """End the live bar, if there is one."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _show(self, text: str) -> None:
        if self._live is None:
            if self._finished:
                return
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._live = Progress(
                TextColumn("{task.description:12s}"),
                BarColumn(bar_width=24),
                TextColumn("{task.completed}/{task.total} {task.fields[text]}"),
                console=Console(stderr=True),
                refresh_per_second=4,
            )
            self._task = self._live.add_task(self.title, total=self.total, text="")
            self._live.start()
        self._live.update(self._task, completed=self.done, total=self.total, text=text)

    def _text(self, now: float) -> str:
        """Return the note, the rate, and the remaining time; for a finished stage, its duration."""
        first, since = self._warm or (self.done, now)
        rate = (self.done - first) / max(now - since, 1e-9)
        parts = [self.note] if self.note else []
        if self.done > first:
            parts.append(f"{rate:.2f} it/s")
        if self.done == self.total:
            parts.append(f"in {clock(now - self._started)}")
        else:
            left = ((self.total or math.inf) - self.done) / rate if rate > 0 else math.inf
            parts.append(f"ETA {clock(left)}")
        return "  ".join(parts)


def clock(seconds: float) -> str:
    """Return seconds as m:ss or h:mm:ss."""
    if not math.isfinite(seconds):
        return "-"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
