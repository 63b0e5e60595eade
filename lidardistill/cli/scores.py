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


def print_detection_scores(metrics: dict[str, Any], out: Path) -> None:
    """AP and number of boxes of each class, then the errors, mAP and NDS."""
    for name, value in metrics["ap"].items():
        print(f"  {name:22s} {_percent(value)}   {metrics['num_annotations'][name]} boxes")
    errors = ", ".join(
        f"{name} {'-' if value is None else f'{value:.2f}'}" for name, value in metrics["tp_errors"].items()
    )
    print(f"  errors                 {errors}")
    print(f"  {'mAP':22s} {_percent(metrics['map'])}")
    print(f"  {'NDS':22s} {_percent(metrics['nds'])}   {metrics['evaluator']}")
    print(f"metrics: {out / 'metrics.json'}")


def _percent(value: float | None) -> str:
    return "   -" if value is None else f"{100 * value:5.1f}"
