"""Metrics and progress of a run: metrics.jsonl, TensorBoard, one progress line."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from lidardistill.atomic import atomic_write
from lidardistill.progress import Bar

log = logging.getLogger(__name__)

# The loader is too slow if the run waits for data for more than this share of its time. The logger gives
# advice once, and not in the first steps, which are not typical.
_SLOW_LOADER = 0.05
_ADVISE_AFTER_STEPS = 20

_PLAIN_EVERY_S = 30.0
"""Seconds between plain progress lines if there is no terminal."""


class MetricsFile:
    """metrics.jsonl: one JSON object per line, each with `step`.

    A killed process loses at most the last line.

    Args:
        path: the file.
        start_step: steps already done; lines of later steps belong to a lost part of the run and are deleted.
    """

    def __init__(self, path: Path, start_step: int = 0) -> None:
        self.path = path
        kept = [line for line in _lines(path) if json.loads(line)["step"] <= start_step]
        data = "".join(line + "\n" for line in kept)
        if not path.exists() or path.read_text() != data:
            with atomic_write(path) as stream:
                stream.write(data.encode())
        self._stream: IO[str] = path.open("a")

    def write(self, values: Mapping[str, Any]) -> None:
        """Append one line and hand it to the operating system. NaN and infinities become null."""
        self._stream.write(json.dumps({name: _finite(value) for name, value in values.items()}) + "\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a metrics.jsonl, in order; empty if there is no file."""
    return [json.loads(line) for line in _lines(path)]


class RunLogger:
    """Logger of the training loop; only rank 0 writes.

    Args:
        run_dir: folder that gets metrics.jsonl and tensorboard/.
        write: False on ranks above 0: all methods do nothing.
        progress: show progress: a live line on a terminal, else a plain line now and then.
        label: first words of the progress line.
        data_wait_advice: advice about a slow loader; logged once, even if `progress` is False.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        write: bool = True,
        progress: bool = True,
        label: str = "pretrain",
        data_wait_advice: str = "raise data.num_workers",
    ) -> None:
        self.run_dir = run_dir
        self._write = write
        self._progress = progress
        self._label = label
        self._advice: str | None = data_wait_advice
        self._start_step = 0
        self._metrics: MetricsFile | None = None
        self._events: Any = None
        self._bar: Bar | None = None
        self._loss: float | None = None

    def start(self, start_step: int, total_steps: int) -> None:
        """Open the logs and delete lines of steps after `start_step`; the loop calls this once."""
        if not self._write:
            return
        self._start_step = start_step
        self._metrics = MetricsFile(self.run_dir / "metrics.jsonl", start_step)
        from torch.utils.tensorboard import SummaryWriter

        self._events = SummaryWriter(
            str(self.run_dir / "tensorboard"), purge_step=start_step + 1 if start_step else None
        )
        if self._progress:
            self._bar = Bar(self._label, total_steps, done=start_step, plain_every_s=_PLAIN_EVERY_S)
            earlier = read_metrics(self._metrics.path)
            self._loss = earlier[-1].get("loss") if earlier else None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record the values of one step."""
        if self._metrics is not None:
            self._metrics.write({"step": step, **values})
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)
            self._events.flush()
        self._loss = values.get("loss", self._loss)

    def advance(self, step: int, data_wait_share: float) -> None:
        """Update the progress line; cheap, the loop calls it at every step.

        Args:
            step: number of steps done.
            data_wait_share: share of time spent waiting for batches since the (re)start, without the first
                step.
        """
        if (
            self._write
            and self._advice is not None
            and data_wait_share > _SLOW_LOADER
            and step - self._start_step >= _ADVISE_AFTER_STEPS
        ):
            log.warning(
                "data wait is %.0f %%, above %.0f %%: %s",
                100 * data_wait_share,
                100 * _SLOW_LOADER,
                self._advice,
            )
            self._advice = None
        if self._bar is not None:
            loss = "" if self._loss is None else f"loss {self._loss:.3f}  "
            slow = " (slow loader)" if data_wait_share > _SLOW_LOADER else ""
            self._bar.update(step, note=f"{loss}data wait {data_wait_share:.0%}{slow}")

    def close(self) -> None:
        for part in (self._bar, self._metrics, self._events):
            if part is not None:
                part.close()
        self._bar = self._metrics = self._events = None


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines(path: Path) -> list[str]:
    """Complete lines of a JSON-lines file; drops a last line that a kill cut short."""
    if not path.exists():
        return []
    lines = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        try:
            known = isinstance(json.loads(line), dict)
        except ValueError:
            known = False
        if known:
            lines.append(line)
        else:
            log.warning("%s line %d was cut short when the run was killed; it is left out", path, number)
    return lines
