"""Print the scores of the evaluators."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def print_scores(metrics: dict[str, Any], out: Path) -> None:
    """Print a line for each class and one for the mean, in percent."""
    for name, value in metrics["iou"].items():
        print(f"  {name:22s} {'   -' if value is None else f'{100 * value:5.1f}'}")
    judged = f"{metrics['evaluator']}, {metrics['num_points']} points"
    print(f"  {'mIoU':22s} {100 * metrics['miou']:5.1f}   {judged}")
    print(f"metrics: {out / 'metrics.json'}")


def print_robustness(result: dict[str, Any], out: Path) -> None:
    """Print mIoU or NDS by severity, CE and RR of each corruption, and their means; all in percent."""
    errors = result.get("ce", {})
    print(f"  {result['metric']:16s} {'light':>6s} {'moder.':>6s} {'heavy':>6s} {'CE':>7s} {'RR':>6s}")
    for name, values in result["accuracy"].items():
        cells = " ".join(f"{100 * value:6.1f}" for value in values)
        error = f"{100 * errors[name]:7.1f}" if name in errors else f"{'-':>7s}"
        rate = f"{100 * result['rr'][name]:6.1f}" if name in result["rr"] else f"{'-':>6s}"
        print(f"  {name:16s} {cells} {error} {rate}")
    for name, rates in result["attack_success"].items():
        cells = " ".join(f"{100 * rate:6.1f}" for rate in rates)
        print(f"  {name + ' success':16s} {cells}   % of the keyframes")
    means = [f"clean {100 * result['clean']:.1f}"]
    means += [f"mCE {100 * result['mce']:.1f}"] if result.get("mce") is not None else []
    means += [f"mRR {100 * result['mrr']:.1f}"] if result["mrr"] is not None else []
    print(f"  {', '.join(means)}   {result['evaluator']}")
    print(f"robustness: {out / 'robustness.json'}")


def print_maps(metrics: dict[str, Any], out: Path) -> None:
    """Print a line for each class with its best IoU and threshold, and one for the mean, in percent."""
    for name, value in metrics["iou"].items():
        cell = "   -" if value is None else f"{100 * value:5.1f}   at {metrics['threshold'][name]:.2f}"
        print(f"  {name:16s} {cell}")
    judged = f"{metrics['evaluator']}, {metrics['num_keyframes']} keyframes"
    print(f"  {'mIoU':16s} {100 * metrics['miou']:5.1f}   {judged}")
    print(f"metrics: {out / 'metrics.json'}")


def print_detection_scores(metrics: dict[str, Any], out: Path) -> None:
    """Print AP and number of boxes of each class, then the errors, mAP and NDS."""
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
