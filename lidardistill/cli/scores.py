"""Print what an evaluator said."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def print_scores(metrics: dict[str, Any], out: Path) -> None:
    """A line for each class and one for the mean, in percent."""
    for name, value in metrics["iou"].items():
        print(f"  {name:22s} {'   -' if value is None else f'{100 * value:5.1f}'}")
    print(
        f"  {'mIoU':22s} {100 * metrics['miou']:5.1f}   {metrics['evaluator']}, {metrics['num_points']} points"
    )
    print(f"metrics: {out / 'metrics.json'}")
