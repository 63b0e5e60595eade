"""`lidardistill evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from lidardistill.cli.options import OptionalVersion

Task = Literal["lidarseg", "detection", "map"]
TASK_OF_VERB: dict[str, Task] = {
    "probe": "lidarseg",
    "finetune": "lidarseg",
    "detect": "detection",
    "mapseg": "map",
}
"""Verb of a run -> task of its predictions."""


def run(
    split: Annotated[str, typer.Option(help="Split to score, such as val or mini_val.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder for predictions and metrics.json.", show_default=False),
    ],
    run: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Run of probe, finetune, detect or mapseg.", show_default=False),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="lidarseg|detection|map",
            help="Task to score; by default the task of the run.",
            show_default=False,
        ),
    ] = None,
    submission: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File of detections in devkit format, instead of a run.", show_default=False
        ),
    ] = None,
    dataroot: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Other root than the run's; needed by --submission.",
            show_default=False,
        ),
    ] = None,
    version: OptionalVersion = None,
    corruption: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Score corrupted scans too: all, or some of fog,snow,beam-missing,crosstalk,motion-blur,"
            "incomplete-echo,cross-sensor,spoofing.",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Baseline of mCE: a run, or its --out.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the corruptions.", min=0)] = 0,
) -> None:
    """Score a run on a split. nuscenes-devkit scores points and boxes; maps are scored as in BEVFusion."""
    if (run is None) == (submission is None):
        raise ValueError("evaluate: give either --run RUN or --submission FILE")
    if baseline is not None and corruption is None:
        raise ValueError("--baseline works only with --corruption")
    if submission is not None:
        if corruption is not None:
            raise ValueError("--corruption works with --task lidarseg or detection and needs --run")
        if task not in (None, "detection"):
            raise ValueError(f"--task {task}: --submission is a file of detections; remove --task")
        if dataroot is None:
            raise ValueError("--submission needs --dataroot DIR, the nuScenes root with the true boxes")
        _evaluate_submission(submission, dataroot, version or "v1.0-trainval", split, out)
        return
    if corruption is not None and (dataroot is not None or version is not None):
        raise ValueError("--corruption reads the data of the run: remove --dataroot and --version")
    assert run is not None
    known = _task_of(run, task)
    if corruption is None:
        _evaluate_run(run, known, split, out, dataroot, version)
    elif known == "map":
        raise ValueError("--corruption works with --task lidarseg or detection and needs --run")
    else:
        _evaluate_corrupted(run, known, split, out, corruption, baseline, seed)


def _task_of(run: Path, task: str | None) -> Task:
    """Return the task of a run from its config.yaml; raise ValueError for another --task."""
    from lidardistill.engine.run_folder import run_values

    if task is not None and task not in TASK_OF_VERB.values():
        raise ValueError(f"--task {task}: expected lidarseg, detection or map")
    verb = str(run_values(run).get("verb"))
    if verb not in TASK_OF_VERB:
        raise ValueError(
            f"{run} is a {verb} run and predicts nothing: expected a run of {', '.join(TASK_OF_VERB)}"
        )
    found = TASK_OF_VERB[verb]
    if task not in (None, found):
        raise ValueError(f"--task {task}: {run} is a {verb} run, so its task is {found}; remove --task")
    return found


def _evaluate_run(
    run: Path, task: Task, split: str, out: Path, dataroot: Path | None, version: str | None
) -> None:
    if task == "lidarseg":
        from lidardistill.cli.scores import print_scores
        from lidardistill.tasks.segment.run import evaluate

        metrics = evaluate(run, split, out, dataroot=dataroot, version=version)
        print_scores(metrics, out) if metrics else _print_unscored(split, out)
    elif task == "map":
        if dataroot is not None or version is not None:
            raise ValueError(
                "--dataroot, --version: map segmentation is scored on the data of its run; remove them"
            )
        from lidardistill.cli.scores import print_maps
        from lidardistill.tasks.mapseg.run import evaluate_maps

        print_maps(evaluate_maps(run, split, out), out)
    else:
        from lidardistill.cli.scores import print_detection_scores
        from lidardistill.tasks.detect.run import evaluate_detector

        metrics = evaluate_detector(run, split, out, dataroot=dataroot, version=version)
        print_detection_scores(metrics, out) if metrics else _print_unscored(split, out)


def _print_unscored(split: str, out: Path) -> None:
    print(f"predictions: {out}; the split {split} has no labels, so nothing was scored")


def _evaluate_submission(submission: Path, dataroot: Path, version: str, split: str, out: Path) -> None:
    from lidardistill.cli.scores import print_detection_scores
    from lidardistill.tasks.detect.run import evaluate_submission

    print_detection_scores(evaluate_submission(submission, dataroot, version, split, out), out)


def _evaluate_corrupted(
    run: Path,
    task: Literal["lidarseg", "detection"],
    split: str,
    out: Path,
    corruption: str,
    baseline: Path | None,
    seed: int,
) -> None:
    from lidardistill.cli.scores import print_robustness
    from lidardistill.tasks.robustness.run import evaluate_corrupted

    def progress(name: str, severity: int, accuracy: float) -> None:
        print(f"  {name:16s} severity {severity}: {100 * accuracy:5.1f}", file=sys.stderr)

    names = [name.strip() for name in corruption.split(",")]
    result = evaluate_corrupted(
        run, split, out, names, task=task, seed=seed, baseline=baseline, on_score=progress
    )
    print_robustness(result, out)
