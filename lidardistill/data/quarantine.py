"""The list of unreadable samples: every one is reported, and too many of them stop the run."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import NamedTuple

from lidardistill.atomic import write_json_atomic

log = logging.getLogger(__name__)


class Quarantined(NamedTuple):
    """One unusable sample: its token, the faulty file ("" if unknown), and the reason."""

    token: str
    path: str
    reason: str


class Quarantine:
    """Unusable samples of a run; each is written to disk at once.

    Args:
        path: JSON file of the list; entries from earlier parts of the run are read from it and count.
        budget: allowed number of unusable samples; with 0, the first one stops the run.

    Raises:
        ValueError: the budget is negative, or the file on disk is no quarantine list.
    """

    def __init__(self, path: Path | str, budget: int) -> None:
        if budget < 0:
            raise ValueError(f"quarantine budget: expected 0 or more unusable samples, got {budget}")
        self.path = Path(path)
        self.budget = budget
        self._entries: dict[tuple[str, str], Quarantined] = {}
        if self.path.exists():
            for entry in _read(self.path):
                self._entries[entry.token, entry.path] = entry

    @property
    def entries(self) -> tuple[Quarantined, ...]:
        """All entries, in the order of their reports."""
        return tuple(self._entries.values())

    @property
    def num_samples(self) -> int:
        """Number of different samples on the list; the budget limits this number."""
        return len({entry.token for entry in self._entries.values()})

    def add(self, token: str, path: Path | str | None, reason: str) -> bool:
        """Put a sample on the list; a second report of the same sample and file changes nothing.

        Args:
            token: sample token.
            path: the unusable file, None if unknown.
            reason: the reason, in one line.

        Returns:
            True if the entry is new.

        Raises:
            RuntimeError: more samples are unusable than the budget allows; the list on disk is complete.
        """
        entry = Quarantined(token, "" if path is None else str(path), reason)
        key = (entry.token, entry.path)
        if key in self._entries:
            return False
        self._entries[key] = entry
        log.warning(
            "sample %s cannot be used and is replaced: %s (%s)", token, reason, entry.path or "no file named"
        )
        self._write()
        if self.num_samples > self.budget:
            first = "\n".join(f"  {e.token}  {e.path}  {e.reason}" for e in self.entries[:3])
            raise RuntimeError(
                f"{self.num_samples} unusable samples, and the budget is {self.budget}. The whole list "
                f"is in {self.path}; the first of them:\n{first}\n"
                "Repair or remove these files, or raise the budget."
            )
        return True

    def _write(self) -> None:
        write_json_atomic(self.path, [entry._asdict() for entry in self._entries.values()])


def _read(path: Path) -> list[Quarantined]:
    try:
        return [
            Quarantined(str(row["token"]), str(row["path"]), str(row["reason"]))
            for row in json.loads(path.read_text())
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} is not a quarantine list: expected a JSON list of token, path, reason, got {error!r}. "
            f"Move the file away and start again."
        ) from error
