"""One line of `lidardistill doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """What was looked at and what was found.

    Attributes:
        level: `error` is what a run would fail on, `warning` what it would suffer from.
        text: what, and what to do where something is to be done.
    """

    level: Literal["ok", "warning", "error"]
    text: str

    def __str__(self) -> str:
        return f"{self.level:7s} {' '.join(self.text.split())}"
