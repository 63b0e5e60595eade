"""One line of `lidardistill doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        level: `error` makes a run fail; `warning` makes a run slower or worse.
        text: the result, and how to fix an error or a warning.
    """

    level: Literal["ok", "warning", "error"]
    text: str

    def __str__(self) -> str:
        return f"{self.level:7s} {' '.join(self.text.split())}"
