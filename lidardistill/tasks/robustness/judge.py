"""Interface of the judges of robustness."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Judged(NamedTuple):
    """Scores of one corruption and severity.

    Attributes:
        accuracy: mIoU or NDS, 0..1.
        by_class: class to IoU or AP; None if undefined.
        success: share of the attacked keyframes in which the attack succeeds; None without an attack.
    """

    accuracy: float
    by_class: dict[str, float | None]
    success: float | None


class Judge(Protocol):
    """A run that can be scored on clean and on corrupted scans.

    Attributes:
        metric: name of the accuracy.
        evaluator: name of the evaluator.
    """

    metric: str
    evaluator: str

    def clean(self) -> float: ...

    def corrupted(self, name: str, severity: int) -> Judged: ...
