"""Evaluate a run on corrupted scans: Robo3D's protocol, scored by nuscenes-devkit."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from lidardistill.corruptions.table import ATTACKS, SEVERITIES, check_names
from lidardistill.engine.run_folder import write_metrics
from lidardistill.tasks.robustness.judge import Judge, Judged
from lidardistill.tasks.robustness.score import summarize

ROBUSTNESS_FILE = "robustness.json"


def evaluate_corrupted(
    run: Path,
    split: str,
    out: Path,
    corruptions: Sequence[str],
    *,
    task: Literal["lidarseg", "detection"] = "lidarseg",
    seed: int = 0,
    baseline: Path | None = None,
    on_score: Callable[[str, int, float], None] | None = None,
) -> dict[str, Any]:
    """Score a run on clean and on corrupted scans.

    Args:
        run: probe or fine-tuning run, or detection run.
        split: such as val or mini_val.
        out: folder that gets the clean predictions, `metrics.json` and `robustness.json`.
        corruptions: keys of `data.corruptions.SEVERITIES`, or "all" alone.
        task: task of the run.
        seed: seed of all corruptions; the same seed gives all models the same scans.
        baseline: reference of mCE: a run, which is evaluated too, or the `out` of an earlier evaluation.
        on_score: called after each severity with corruption, severity and accuracy.

    Returns:
        Content of `robustness.json`: split, seed, metric, evaluator, clean (accuracy), accuracy (corruption
        to one per severity), by_class (the same by class), rr, mrr, attack_success (attack to one share of
        keyframes per severity), and with a baseline ce, mce and baseline. The means leave out attacks.

    Raises:
        FileNotFoundError: `run` is no run, or has not finished.
        ValueError: an unknown corruption, a run of another task, or a baseline of another split, seed, metric
            or list.
    """
    names = check_names(corruptions)
    judge = _judge(task, run, split, out, seed)
    reference = None
    if baseline is not None:
        if (baseline / ROBUSTNESS_FILE).is_file():
            reference = json.loads((baseline / ROBUSTNESS_FILE).read_text())
        else:
            reference = evaluate_corrupted(baseline, split, out / "baseline", names, task=task, seed=seed)
        _check_comparable(reference, baseline, {"split": split, "seed": seed, "metric": judge.metric}, names)
    clean = judge.clean()
    judged: dict[str, list[Judged]] = {}
    for name in names:
        judged[name] = []
        for severity in range(1, len(SEVERITIES[name]) + 1):
            judged[name].append(judge.corrupted(name, severity))
            if on_score is not None:
                on_score(name, severity, judged[name][-1].accuracy)
    accuracy = {name: [each.accuracy for each in found] for name, found in judged.items()}
    summary = summarize(
        {name: values for name, values in accuracy.items() if name not in ATTACKS},
        clean,
        None if reference is None else reference["accuracy"],
    )
    robustness = {
        "split": split,
        "seed": seed,
        "metric": judge.metric,
        "evaluator": judge.evaluator,
        "clean": clean,
        "accuracy": accuracy,
        **summary,
        "attack_success": {
            name: [each.success for each in found] for name, found in judged.items() if name in ATTACKS
        },
        **({} if reference is None else {"baseline": str(baseline)}),
        "by_class": {name: [each.by_class for each in found] for name, found in judged.items()},
    }
    write_metrics(out / ROBUSTNESS_FILE, robustness)
    return robustness


def _judge(task: str, run: Path, split: str, out: Path, seed: int) -> Judge:
    if task == "detection":
        from lidardistill.tasks.robustness.detection import DetectionJudge

        return DetectionJudge(run, split, out, seed)
    from lidardistill.tasks.robustness.segmentation import SegmentationJudge

    return SegmentationJudge(run, split, out, seed)


def _check_comparable(
    reference: dict[str, Any], baseline: Path, expected: dict[str, Any], names: Sequence[str]
) -> None:
    """Refuse an incomparable baseline before the first prediction."""
    differs = [
        f"{key} {reference.get(key)} and not {value}"
        for key, value in expected.items()
        if reference.get(key) != value
    ]
    if differs:
        raise ValueError(
            f"--baseline {baseline} was evaluated with {', '.join(differs)}: evaluate it again, or name its "
            "run"
        )
    missing = [name for name in names if name not in reference["accuracy"]]
    if missing:
        raise ValueError(
            f"--baseline {baseline} was not evaluated on {', '.join(missing)}; evaluate it on the same "
            "--corruption"
        )
